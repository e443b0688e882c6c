//! `config/crd`: the kinds' definitions.
use api::names;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::{
    tree::{File, MARK},
    yaml,
};

/// One file per kind, named for its plural.
pub fn files() -> Vec<File> {
    api::crds().iter().map(file).collect()
}

fn file(crd: &CustomResourceDefinition) -> File {
    let path = format!("config/crd/{}.yaml", crd.spec.names.plural);
    File::new(path, yaml::document(&format!("{MARK} from src/api. Do not edit."), &[labelled(crd)]))
}

fn labelled(crd: &CustomResourceDefinition) -> Value {
    let mut crd = json!(crd);
    crd["metadata"]["labels"] = json!({ names::label::NAME: names::label::PRODUCT });
    crd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_read_as_it_was_written() {
        for crd in api::crds() {
            let read: CustomResourceDefinition = serde_saphyr::from_str(&file(&crd).content).expect("YAML");
            assert_eq!(json!(read), labelled(&crd));
        }
    }
}
