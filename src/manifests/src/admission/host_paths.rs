//! A policy names no path of the node but what an administrator allows.
//!
//! ```text
//! object, as it was ─▶ fresh: paths that it did not name before ─▶ unclean? ─▶ outside of the list?
//! ```
use api::{AllowedHostPaths, MetadataBackupPolicy, samples};
use kube::CustomResourceExt;
use model::Violation;

use super::{Policy, Validation, said, spec_schema};
use crate::{operator::own_namespace, tree::File};

/// Name of the policy, without the namespace.
pub const NAME: &str = "host-paths";
/// The variable with the list. Between its first two quotes is all of it, so that kustomize can put in another.
pub const ALLOWED: &str = "allowed";
/// The variable with paths that do not mean exactly one place.
const UNCLEAN: &str = "unclean";
/// The variable with paths that are under none of the list.
const OUTSIDE: &str = "outside";
/// Whether a path is a folder of the list or below it. The list is as an administrator wrote it: the operator, too,
/// takes a folder with a slash at its end for the same.
const IS_UNDER: &str = "(path + '/').startsWith(root.endsWith('/') ? root : root + '/')";
/// What divides the list. No path that is asked for this way may have it.
const DIVIDER: &str = ",";

/// A path that is clean and allowed nowhere, in words that are taken from `api`.
const FOUND: &str = "/FOUND";
const CERTIFICATES: &str = "spec.certsDir";

/// The policy and its binding.
pub fn file() -> File {
    let why = "A host path is read as the node's root. The list is the operator's default; whoever gives the\n\
               operator another by --allowed-host-path does so for both: config/allowed-host-paths.\n\
               A change is refused for the paths that it adds: one that has become forbidden does not keep its\n\
               policy from being suspended, corrected or removed.";
    policy().file(why)
}

pub(super) fn policy() -> Policy {
    Policy {
        what: NAME,
        operations: &["CREATE", "UPDATE"],
        // Another operator has a list of its own.
        namespaces: own_namespace(),
        resources: vec![MetadataBackupPolicy::api_resource().plural],
        variables: variables(),
        validations: vec![validation(UNCLEAN, &unclean()), validation(OUTSIDE, &outside())],
    }
}

fn variables() -> Vec<(&'static str, String)> {
    let list = AllowedHostPaths::DEFAULT.join(DIVIDER);
    vec![
        (ALLOWED, format!("'{list}'.split('{DIVIDER}')")),
        ("certificates", certificates("object")),
        ("further", further("object")),
        ("before", format!("oldObject == null ? [] : [{}] + ({})", certificates("oldObject"), further("oldObject"))),
        (
            "fresh",
            "([variables.certificates] + variables.further).filter(path, path != '' && !(path in variables.before))"
                .to_owned(),
        ),
        (UNCLEAN, format!("variables.fresh.filter(path, !({}))", clean("rule").replace("self", "path"))),
        (OUTSIDE, format!("variables.fresh.filter(path, !variables.{ALLOWED}.exists(root, {IS_UNDER}))")),
    ]
}

/// The folder with certificates; empty for none, as in the kind itself.
fn certificates(object: &str) -> String {
    format!("has({object}.spec.certsDir) ? {object}.spec.certsDir : ''")
}

/// All other paths.
fn further(object: &str) -> String {
    let list = format!("{object}.spec.extraHostPaths");
    format!("has({list}) ? {list}.map(extra, extra.path) : []")
}

/// Says the first path of a variable, where there is one.
fn validation(wrong: &str, violation: &Violation) -> Validation {
    let first = format!("string(variables.{wrong}[0])");
    let index = format!("string(variables.further.indexOf(variables.{wrong}[0]))");
    let field = format!(
        "(variables.{wrong}[0] == variables.certificates ? '{CERTIFICATES}' : 'spec.extraHostPaths[' + {index} + '].path')"
    );
    let list = AllowedHostPaths::default().to_string();
    let allowed = format!("variables.{ALLOWED}.join(', ')");
    let blanks = [(CERTIFICATES, field.as_str()), (FOUND, &first), (&list, &allowed)];
    Validation {
        expression: format!("size(variables.{wrong}) == 0"),
        message: said(violation, &blanks),
        plainly: format!(
            "{}: {CERTIFICATES} or spec.extraHostPaths: a path is {wrong}",
            api::reason(violation)
        ),
    }
}

/// What is said of a path that the kind's own rule refuses.
fn unclean() -> Violation {
    Violation::new(CERTIFICATES, format!("{FOUND:?} {}", clean("message")))
}

/// What is said of a path that is allowed nowhere.
fn outside() -> Violation {
    let mut policy = samples::policy();
    policy.spec.certs_dir = Some(FOUND.to_owned());
    let found = policy.validate(&AllowedHostPaths::default());
    found.into_iter().next().expect("the path is allowed nowhere")
}

/// A part of the rule that the kind's own definition has for a path: its CEL, or its words.
fn clean(part: &str) -> String {
    let spec = spec_schema::<MetadataBackupPolicy>();
    let rule = &spec["properties"]["certsDir"]["x-kubernetes-validations"][0];
    rule[part].as_str().expect("a path has a rule").to_owned()
}
