//! `kustomization.yaml` of each folder that is applied as a whole.
use serde_json::json;

use crate::{
    tree::{File, MARK},
    yaml,
};

/// One per folder of `config/`; samples have none, for they are to be edited first.
pub fn files() -> Vec<File> {
    let definitions: Vec<String> =
        api::crds().into_iter().map(|crd| format!("{}.yaml", crd.spec.names.plural)).collect();
    vec![
        kustomization("crd", "Definitions of the kinds.", &definitions),
        kustomization("rbac", "What operator and agents may do.", &["accounts.yaml", "operator.yaml"]),
        kustomization(
            "manager",
            "The namespace, the operator in it, and the service of its metrics.",
            &["namespace.yaml", "deployment.yaml", "service.yaml"],
        ),
        kustomization(
            "default",
            "All of kubedr: kubectl apply -k config/default",
            &["../crd", "../rbac", "../manager"],
        ),
    ]
}

fn kustomization(folder: &str, what: &str, resources: &[impl AsRef<str>]) -> File {
    let resources: Vec<&str> = resources.iter().map(AsRef::as_ref).collect();
    let object = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    });
    let comment = format!("{MARK} from src/manifests. Do not edit.\n\n{what}");
    File::new(format!("config/{folder}/kustomization.yaml"), yaml::document(&comment, &[object]))
}
