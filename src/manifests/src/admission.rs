//! `config/admission`: what the API server refuses by itself, also while no operator answers.
//!
//! ```text
//! api: words, list of host paths, rules of definitions ─▶ CEL ─▶ a policy and its binding each
//! ```
//!
//! What no definition of a kind can refuse: in which namespace an object is, and what an administrator allows. And
//! what must hold by whichever definition is installed: that a record stays of one backup.
mod host_paths;
mod namespace;
mod records;

use api::names;
use kube::CustomResourceExt;
use model::Violation;
use serde_json::{Value, json};

use crate::{
    tree::{File, MARK},
    yaml,
};

pub use host_paths::ALLOWED;

const GROUP_VERSION: &str = "admissionregistration.k8s.io/v1";

/// The policies, each with its binding.
pub fn files() -> Vec<File> {
    vec![namespace::file(), host_paths::file(), records::file()]
}

/// Name of the policy with the list of allowed host paths.
pub fn host_paths() -> String {
    host_paths::policy().name()
}

/// The schema that a definition has for the spec of its kind.
fn spec_schema<K: CustomResourceExt>() -> Value {
    let mut crd = json!(K::crd());
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].take()
}

/// What one policy is about.
struct Policy {
    what: &'static str,
    operations: &'static [&'static str],
    /// Of which namespaces objects are looked at: a label selector.
    namespaces: Value,
    resources: Vec<String>,
    variables: Vec<(&'static str, String)>,
    validations: Vec<Validation>,
}

/// What must hold, and what is said where it does not.
struct Validation {
    expression: String,
    /// CEL that makes the message.
    message: String,
    /// What is said where that CEL fails.
    plainly: String,
}

impl Policy {
    /// A status is never looked at, nor is a deletion.
    fn object(&self) -> Value {
        let variable =
            |(name, expression): &(&str, String)| json!({ "name": name, "expression": expression });
        let mut spec = json!({
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": self.namespaces,
                "resourceRules": [{
                    "apiGroups": [api::GROUP],
                    "apiVersions": [api::VERSION],
                    "operations": self.operations,
                    "resources": self.resources,
                    "scope": "Namespaced",
                }],
            },
            "validations": self.validations.iter().map(Validation::object).collect::<Vec<_>>(),
        });
        if !self.variables.is_empty() {
            spec["variables"] = json!(self.variables.iter().map(variable).collect::<Vec<_>>());
        }
        json!({
            "apiVersion": GROUP_VERSION,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": self.metadata(),
            "spec": spec,
        })
    }

    fn binding(&self) -> Value {
        json!({
            "apiVersion": GROUP_VERSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": self.metadata(),
            "spec": { "policyName": self.name(), "validationActions": ["Deny"] },
        })
    }

    fn metadata(&self) -> Value {
        json!({ "name": self.name(), "labels": crate::operator::labels("admission") })
    }

    fn name(&self) -> String {
        names::cluster_wide(self.what, names::DEFAULT_NAMESPACE)
    }

    fn file(&self, why: &str) -> File {
        let comment = format!("{MARK} from src/manifests and src/api. Do not edit.\n\n{why}");
        let objects = [self.object(), self.binding()];
        File::new(format!("config/admission/{}.yaml", self.what), yaml::document(&comment, &objects))
    }
}

impl Validation {
    fn object(&self) -> Value {
        json!({
            "expression": self.expression,
            "reason": "Invalid",
            "message": self.plainly,
            "messageExpression": self.message,
        })
    }
}

/// CEL that says a violation as the webhooks say it, with expressions in the places of some of its words.
fn said(violation: &Violation, blanks: &[(&str, &str)]) -> String {
    let text = format!("{}: {violation}", api::reason(violation));
    let text = format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let filled = blanks
        .iter()
        .fold(text, |text, (word, expression)| text.replace(word, &format!("' + {expression} + '")));
    filled.trim_end_matches(" + ''").to_owned()
}

#[cfg(test)]
mod tests;
