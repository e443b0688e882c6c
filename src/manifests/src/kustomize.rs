//! `kustomization.yaml` of each folder that is applied as a whole.
use serde_json::{Value, json};

use crate::{
    admission, definitions,
    tree::{File, MARK},
    yaml,
};

/// One per folder of `config/`; samples have none, for they are to be edited first. Overlays have theirs beside
/// what they change.
pub fn files() -> Vec<File> {
    let folder =
        |folder, what, resources: &[&str]| kustomization(folder, what, &json!({ "resources": resources }));
    vec![
        whole("crd", "Definitions of the kinds.", &definitions::files()),
        folder("rbac", "What operator and agents may do.", &["accounts.yaml", "operator.yaml"]),
        folder(
            "manager",
            "The namespace, the operator in it, and the service of its metrics.",
            &["namespace.yaml", "deployment.yaml", "service.yaml"],
        ),
        whole(
            "admission",
            "What the API server refuses by itself, also while no operator answers.",
            &admission::files(),
        ),
        folder(
            "webhook",
            "What the API server asks the operator about. Not by itself: whoever keeps its certificate completes it.",
            &["configurations.yaml", "service.yaml"],
        ),
        folder(
            "default",
            "All of kubedr, which keeps the certificate of its webhooks itself: kubectl apply -k config/default",
            &["../self-signed"],
        ),
    ]
}

/// The file of one folder whose other files are these.
fn whole(folder: &str, what: &str, files: &[File]) -> File {
    let names: Vec<_> = files.iter().filter_map(|file| file.path.file_name()?.to_str()).collect();
    kustomization(folder, what, &json!({ "resources": names }))
}

/// All of kubedr, with webhooks that still lack a certificate: what both overlays begin with.
pub const ALL: [&str; 5] = ["../crd", "../rbac", "../manager", "../admission", "../webhook"];

/// The file of one folder, with what it does to others.
pub fn kustomization(folder: &str, what: &str, fields: &Value) -> File {
    file(folder, what, ("kustomize.config.k8s.io/v1beta1", "Kustomization"), fields)
}

/// The same of one that an overlay of an administrator's own takes up.
pub fn component(folder: &str, what: &str, fields: &Value) -> File {
    file(folder, what, ("kustomize.config.k8s.io/v1alpha1", "Component"), fields)
}

fn file(folder: &str, what: &str, (version, kind): (&str, &str), fields: &Value) -> File {
    let mut object = json!({ "apiVersion": version, "kind": kind });
    for (field, value) in fields.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    let comment = format!("{MARK} from src/manifests. Do not edit.\n\n{what}");
    File::new(format!("config/{folder}/kustomization.yaml"), yaml::document(&comment, &[object]))
}
