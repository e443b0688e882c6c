//! Objects of kubedr's kinds are made in the operator's namespace only.
use api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::{Policy, Validation, said};
use crate::tree::File;

/// Stands for what was found, in words that are taken from `api`.
const FOUND: &str = "FOUND";

/// The policy and its binding.
pub fn file() -> File {
    let why = "Where no operator works, nobody would say that no backup is made. Asked at creation only: no\n\
               change makes it wrong, and what was made elsewhere before can be changed and removed. Namespaces\n\
               with the label of ours are let be: there another operator of kubedr may work.";
    policy().file(why)
}

/// Namespaces of no operator: one that another operator of kubedr has for its own carries the same label as ours.
fn elsewhere() -> Value {
    let (key, product) = (names::label::NAME, names::label::PRODUCT);
    json!({ "matchExpressions": [{ "key": key, "operator": "NotIn", "values": [product] }] })
}

pub(super) fn policy() -> Policy {
    let resources = api::crds().into_iter().map(|crd| crd.spec.names.plural).collect();
    let operators = names::DEFAULT_NAMESPACE;
    let metadata = ObjectMeta { namespace: Some(FOUND.to_owned()), ..ObjectMeta::default() };
    let violation = names::namespace(&metadata, operators).expect("the word is no namespace");
    Policy {
        what: "namespace",
        operations: &["CREATE"],
        namespaces: elsewhere(),
        resources,
        variables: Vec::new(),
        validations: vec![Validation {
            expression: format!("request.namespace == '{operators}'"),
            message: said(&violation, &[(FOUND, "request.namespace")]),
            plainly: format!("{}: kubedr works in namespace {operators:?} only", api::reason(&violation)),
        }],
    }
}
