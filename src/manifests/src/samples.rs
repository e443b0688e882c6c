//! `config/samples`: one manifest of each kind that a user writes, every field explained.
use api::samples;
use kube::CustomResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    tree::{File, MARK},
    yaml,
};

/// Width of the explanations, indentation aside.
const WIDTH: usize = 90;

/// One file per kind, named like its module.
pub fn files() -> Vec<File> {
    vec![
        sample("backup-location", &samples::location()),
        sample("metadata-policy", &samples::policy()),
        sample("metadata-restore", &samples::restore()),
    ]
}

fn sample<Kind: CustomResourceExt + Serialize>(name: &str, object: &Kind) -> File {
    let crd = api::crds().into_iter().find(|crd| crd.metadata.name.as_deref() == Some(Kind::crd_name()));
    let crd = json!(crd.expect("every sample is of a kind of ours"));
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let object = json!(object);
    let head = json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": { "name": object["metadata"]["name"], "namespace": api::names::DEFAULT_NAMESPACE },
    });
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let comment = format!(
        "{MARK} from src/api/src/samples.rs. Do not edit; copy.\n\n{}\n\
         What is commented out is the default. More: kubectl explain {kind}.spec --recursive",
        yaml::wrapped(text(schema, "description"), WIDTH),
    );
    let spec = fields(&schema["properties"]["spec"], &object["spec"]);
    File::new(
        format!("config/samples/{name}.yaml"),
        format!("{}{}spec:\n{spec}", yaml::commented(&comment), yaml::block(&head)),
    )
}

/// The fields of a spec: required ones first, then those that are set, then defaults.
fn fields(schema: &Value, spec: &Value) -> String {
    let properties: Vec<(&String, &Value)> = schema["properties"].as_object().into_iter().flatten().collect();
    let required =
        |name: &str| schema["required"].as_array().into_iter().flatten().any(|required| required == name);
    let mut shown: Vec<(u8, &String, &Value, &Value)> = Vec::new();
    for (name, property) in properties {
        let Some(value) = spec.get(name) else { continue };
        let default = property.get("default") == Some(value);
        let rank = if required(name) { 0 } else { 1 + u8::from(default) };
        shown.push((rank, name, property, value));
    }
    shown.sort_by_key(|(rank, name, ..)| (*rank, *name));
    let shown: Vec<String> = shown
        .into_iter()
        .map(|(rank, name, property, value)| field(rank == 2, name, property, value))
        .collect();
    shown.join("\n")
}

fn field(is_default: bool, name: &str, property: &Value, value: &Value) -> String {
    let why = yaml::commented(&yaml::wrapped(text(property, "description"), WIDTH));
    let what = yaml::block(&json!({ name: value }));
    let what = if is_default { yaml::commented(&what) } else { what };
    indented(&format!("{why}{what}"))
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n") + "\n"
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_says_what_the_value_says_once_defaults_are_in() {
        let rendered: Vec<Value> =
            files().iter().map(|file| serde_saphyr::from_str(&file.content).expect("YAML")).collect();
        let location: api::BackupLocation = serde_json::from_value(rendered[0].clone()).expect("a location");
        let policy: api::MetadataBackupPolicy =
            serde_json::from_value(rendered[1].clone()).expect("a policy");
        let restore: api::MetadataRestore = serde_json::from_value(rendered[2].clone()).expect("a restore");
        assert_eq!(location.spec, samples::location().spec);
        assert_eq!(policy.spec, samples::policy().spec);
        assert_eq!(restore.spec, samples::restore().spec);
    }

    #[test]
    fn what_is_commented_out_can_be_put_in() {
        for file in files() {
            let with_defaults = file.content.replace("\n  # ", "\n  ");
            let lines = with_defaults.lines().filter(|line| line.starts_with("  ") && line.contains(": "));
            assert!(lines.count() > 3, "{with_defaults}");
        }
    }
}
