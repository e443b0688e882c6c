//! A record stays the record of one stored backup.
//!
//! ```text
//! definition of the kind: a rule for each pinned field ─▶ the same CEL, about object and oldObject
//! ```
use api::MetadataBackupRecord;
use kube::CustomResourceExt;
use model::Violation;
use serde_json::Value;

use super::{Policy, Validation, said, spec_schema};
use crate::{operator::own_namespace, tree::File};

/// Stands for what a rule of the definition says.
const SAID: &str = "SAID";

/// The policy and its binding.
pub fn file() -> File {
    let why = "Nothing but its record tells which stored backup an object is about. The definition of the kind has\n\
               the same rules; they hold here also where the definition is an older one or upstream's, which have\n\
               none.";
    policy().file(why)
}

pub(super) fn policy() -> Policy {
    Policy {
        what: "records",
        operations: &["UPDATE"],
        namespaces: own_namespace(),
        resources: vec![MetadataBackupRecord::api_resource().plural],
        variables: Vec::new(),
        validations: rules().iter().map(validation).collect(),
    }
}

/// The rules that the definition has for a spec as a whole: each pins one field.
fn rules() -> Vec<Value> {
    let spec = spec_schema::<MetadataBackupRecord>();
    spec["x-kubernetes-validations"].as_array().cloned().unwrap_or_default()
}

fn validation(rule: &Value) -> Validation {
    let part = |name: &str| rule[name].as_str().expect("each rule of a pinned field has it");
    let field = format!("spec{}", part("fieldPath"));
    let violation = Violation::new(&field, SAID);
    Validation {
        // By another definition a record may have no spec, and its finalizers must go all the same.
        expression: format!("!has(oldObject.spec) || ({})", about_objects(part("rule"))),
        message: said(&violation, &[(SAID, &about_objects(part("messageExpression")))]),
        plainly: format!("{}: {field}: a record names one backup for good", api::reason(&violation)),
    }
}

/// A rule of a definition is about a spec, one of a policy about the whole object.
fn about_objects(expression: &str) -> String {
    expression.replace("oldSelf.", "oldObject.spec.").replace("self.", "object.spec.")
}
