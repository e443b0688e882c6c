//! `config/allowed-host-paths`: an administrator's own list, written once, for the operator and for the API server.
//!
//! ```text
//! ConfigMap of an overlay, which is not installed ─┬─▶ the operator's flag
//!                                                  └─▶ the variable of the policy for host paths
//! ```
use api::names;
use serde_json::{Value, json};

use crate::{admission, kustomize, tree::File};

const FOLDER: &str = "allowed-host-paths";
/// The `ConfigMap`, and its key.
const LIST: (&str, &str) = ("kubedr-allowed-host-paths", "paths");
const FLAG: &str = "--allowed-host-path";

/// The component.
pub fn file() -> File {
    let fields = json!({ "patches": [patch()], "replacements": [replacement()] });
    kustomize::component(FOLDER, WHAT, &fields)
}

const WHAT: &str = r#"Your own list of folders that policies may name, instead of the default one. In an overlay of yours:

  resources: [../config/default]
  components: [../config/allowed-host-paths]
  configMapGenerator:
  - name: kubedr-allowed-host-paths
    literals: ["paths=/etc/kubernetes,/srv/kubernetes"]
    options:
      annotations: {config.kubernetes.io/local-config: "true"}  # it is not installed itself

A comma divides the list, so no folder may have one in its name."#;

/// The first argument, whatever else an overlay adds.
fn patch() -> Value {
    let operations = json!([{
        "op": "add",
        "path": "/spec/template/spec/containers/0/args/0",
        "value": format!("{FLAG}=none"),
    }]);
    json!({ "target": { "kind": "Deployment", "name": names::OPERATOR_ACCOUNT }, "patch": operations.to_string() })
}

/// What is behind the flag's first `=`, and what is between the first two quotes of the variable.
fn replacement() -> Value {
    let (name, key) = LIST;
    let flag = json!({
        "select": { "kind": "Deployment", "name": names::OPERATOR_ACCOUNT },
        "fieldPaths": ["spec.template.spec.containers.0.args.0"],
        "options": { "delimiter": "=", "index": 1 },
    });
    let variable = json!({
        "select": { "kind": "ValidatingAdmissionPolicy", "name": admission::host_paths() },
        "fieldPaths": [format!("spec.variables.[name={}].expression", admission::ALLOWED)],
        "options": { "delimiter": "'", "index": 1 },
    });
    json!({
        "source": { "kind": "ConfigMap", "name": name, "fieldPath": format!("data.{key}") },
        "targets": [flag, variable],
    })
}
