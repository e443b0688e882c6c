//! `config/self-signed`: all of kubedr, which keeps the certificate of its webhooks itself.
use api::{names, rbac::Rule};
use serde_json::{Value, json};

use crate::{
    kustomize::{self, kustomization},
    operator::{self, Change},
    rbac,
    tree::{File, MARK},
    yaml,
};

const FOLDER: &str = "self-signed";
const AUTHORITY: &str = "authority.yaml";

/// The overlay.
pub fn files() -> Vec<File> {
    let what = "All of kubedr, with webhooks whose authority the operator makes and keeps:\n\
                kubectl apply -k config/self-signed";
    let resources = [&kustomize::ALL[..], &[AUTHORITY]].concat();
    let fields = json!({ "resources": resources, "patches": [operator::patch()] });
    vec![
        kustomization(FOLDER, what, &fields),
        File::new(format!("config/{FOLDER}/{AUTHORITY}"), yaml::document(&comment(), &authority())),
        operator::changes(FOLDER, &change()),
    ]
}

/// What is different about the operator.
pub fn change() -> Change {
    Change { certificates: "self".to_owned(), ..Change::default() }
}

fn comment() -> String {
    format!(
        "{MARK} from the RBAC constants in src/controllers. Do not edit.\n\n\
         The one Secret that the operator may read and write: that of its own authority. It is here without\n\
         data, so that the operator need not make it; applying this again leaves what it wrote."
    )
}

fn authority() -> Vec<Value> {
    let rules: Vec<&Rule> = controllers::AUTHORITY.iter().collect();
    [secret()].into_iter().chain(rbac::roles(names::WEBHOOK_AUTHORITY, &rules)).collect()
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names::WEBHOOK_AUTHORITY,
            "namespace": names::DEFAULT_NAMESPACE,
            "labels": operator::labels("operator"),
        },
        "type": "Opaque",
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;

    use super::*;
    use crate::{typed::is, webhook};

    #[test]
    fn the_secret_has_no_data_and_is_the_one_that_may_be_written() {
        is::<Secret>(&secret());
        assert_eq!((secret().get("data"), secret().get("stringData")), (None, None));
        let [secrets, configurations] = controllers::AUTHORITY else { unreachable!("two rules") };
        assert_eq!((secrets.names, secrets.verbs), (&[names::WEBHOOK_AUTHORITY][..], &["get", "update"][..]));
        let kinds = webhook::CONFIGURATIONS.map(|kind| format!("{}s", kind.to_lowercase()));
        assert_eq!(configurations.resources, kinds);
        assert_eq!(
            (configurations.names, configurations.verbs),
            (&[names::DEFAULT_WEBHOOKS][..], &["get", "patch"][..])
        );
    }
}
