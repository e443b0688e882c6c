//! What the policies let through and refuse, by the CEL that is installed.
use std::collections::HashMap;

use api::{BackupLocation, MetadataBackupPolicy, MetadataBackupPolicySpec, MetadataBackupRecord, samples};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::core::cel::cel::Value as Found;
use rstest::rstest;

use super::*;
use crate::{cel, typed::is};

fn policies() -> [Policy; 3] {
    [namespace::policy(), host_paths::policy(), records::policy()]
}

/// Evaluates a policy as the API server does: its variables in their order, then what must hold.
///
/// The message of the first validation that does not hold, if any.
fn refusal(policy: &Policy, (old, new): (Value, Value), namespace: &str) -> Option<String> {
    let request = json!({ "namespace": namespace });
    let mut context = cel::context([("object", &new), ("oldObject", &old), ("request", &request)]);
    let mut variables = HashMap::new();
    for (name, expression) in &policy.variables {
        variables.insert((*name).to_owned(), cel::evaluated(expression, &context));
        context.add_variable_from_value("variables", variables.clone());
    }
    let broken = |one: &&Validation| cel::evaluated(&one.expression, &context) != Found::Bool(true);
    let broken = policy.validations.iter().find(broken)?;
    match cel::evaluated(&broken.message, &context) {
        Found::String(message) => Some(message.to_string()),
        other => Some(format!("no message but {other:?}")),
    }
}

/// A policy with these fields besides those that it must have.
fn naming(fields: &Value) -> Value {
    let spec = MetadataBackupPolicySpec { certs_dir: None, ..samples::policy().spec };
    let mut object = json!(MetadataBackupPolicy::new("etcd", spec));
    object["spec"].as_object_mut().expect("a spec").extend(fields.as_object().cloned().unwrap_or_default());
    object
}

/// A record with these fields besides those that it must have; a field that is null is none.
fn record(fields: &Value) -> Value {
    let mut spec = json!({ "policy": "etcd", "snapshotId": "9a9808ce" });
    for (field, value) in fields.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let given = spec.as_object_mut().expect("a spec");
    given.retain(|_, value| !value.is_null());
    json!({
        "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1", "kind": "MetadataBackupRecord",
        "metadata": { "name": "mbr-9a9808ce" }, "spec": spec,
    })
}

fn asked(old: Value, new: Value) -> Option<String> {
    refusal(&host_paths::policy(), (old, new), "anywhere")
}

#[rstest]
#[case::no_path(json!({}))]
#[case::no_path_by_an_empty_word(json!({"certsDir": ""}))]
#[case::a_listed_folder(json!({"certsDir": "/etc/kubernetes"}))]
#[case::below_one_with_a_slash_at_the_end(json!({"certsDir": "/etc/kubernetes/pki/"}))]
#[case::names_with_dots(json!({"certsDir": "/etc/kubernetes/..data/.a/b..c"}))]
#[case::further_ones(json!({"certsDir": "/etc/etcd", "extraHostPaths": [{"path": "/var/lib/rancher/k3s"}, {"path": "/system/secrets"}]}))]
fn a_policy_may_name(#[case] fields: Value) {
    assert_eq!(asked(Value::Null, naming(&fields)), None);
}

#[rstest]
#[case::beside_a_listed_folder(json!({"certsDir": "/etc/kubernetes-old"}), "spec.certsDir", "/etc/kubernetes-old")]
#[case::above_one(json!({"certsDir": "/etc"}), "spec.certsDir", "/etc")]
#[case::a_further_one(
    json!({"certsDir": "/etc/etcd", "extraHostPaths": [{"path": "/etc/etcd/a"}, {"path": "/etc/ssh", "type": "Directory"}]}),
    "spec.extraHostPaths[1].path", "/etc/ssh"
)]
fn a_path_outside_of_the_list_is_refused_as_by_the_webhooks(
    #[case] fields: Value,
    #[case] field: &str,
    #[case] path: &str,
) {
    let policy: MetadataBackupPolicy = serde_json::from_value(naming(&fields)).expect("a policy");
    let violations = policy.validate(&api::AllowedHostPaths::default());
    let said = asked(Value::Null, naming(&fields)).expect("it is refused");
    assert_eq!(said, format!("HostPathNotAllowed: {}", violations[0]));
    assert!(said.starts_with(&format!("HostPathNotAllowed: {field}: {path:?} is not under ")), "{said}");
    assert!(said.ends_with(&api::AllowedHostPaths::DEFAULT.join(", ")), "{said}");
}

#[rstest]
#[case::everything("/")]
#[case::climbs_out("/etc/kubernetes/../shadow")]
#[case::ends_with_two_dots("/etc/kubernetes/..")]
#[case::ends_with_a_dot("/etc/kubernetes/.")]
#[case::two_slashes("/etc/kubernetes//pki")]
#[case::begins_with_two_slashes("//etc/kubernetes")]
#[case::relative("etc/kubernetes")]
#[case::colon("/etc/kubernetes/a:b")]
#[case::line_break("/etc/kubernetes/a\nb")]
fn an_unclear_path_is_refused(#[case] path: &str) {
    let said = |fields| asked(Value::Null, naming(&fields)).expect("it is refused");
    let found = said(json!({ "certsDir": path }));
    assert!(found.starts_with("HostPathNotAllowed: spec.certsDir: "), "{found}");
    assert!(
        found.ends_with("\" must be absolute, without empty parts, '.', '..', colons or control characters"),
        "{found}"
    );
    let found = said(json!({ "extraHostPaths": [{ "path": path }] }));
    assert!(found.starts_with("HostPathNotAllowed: spec.extraHostPaths[0].path: "), "{found}");
}

#[rstest]
#[case::stays(json!({"certsDir": "/etc/ssh", "suspend": true}), None)]
#[case::goes(json!({}), None)]
#[case::becomes_another(json!({"certsDir": "/etc/shadow"}), Some("/etc/shadow"))]
#[case::gets_company(json!({"certsDir": "/etc/ssh", "extraHostPaths": [{"path": "/root"}]}), Some("/root"))]
fn a_path_that_was_let_through_before(#[case] fields: Value, #[case] refused: Option<&str>) {
    let said = asked(naming(&json!({"certsDir": "/etc/ssh"})), naming(&fields));
    assert_eq!(said.is_some(), refused.is_some(), "{said:?}");
    assert!(said.unwrap_or_default().contains(refused.unwrap_or_default()));
}

#[test]
fn a_list_of_an_administrators_own_takes_the_place_of_the_default_one() {
    let mut policy = host_paths::policy();
    let (name, expression) = &mut policy.variables[0];
    assert_eq!(*name, ALLOWED);
    // As kustomize does it: what is between the first two quotes.
    let parts: Vec<&str> = expression.split('\'').collect();
    *expression = [&[parts[0], "/srv/pki/,/etc/ssh"], &parts[2..]].concat().join("'");
    let said = |path: &str| refusal(&policy, (Value::Null, naming(&json!({ "certsDir": path }))), "anywhere");
    for path in ["/etc/ssh/keys", "/srv/pki", "/srv/pki/", "/srv/pki/etcd"] {
        assert_eq!(said(path), None);
    }
    for path in ["/etc/kubernetes", "/srv/pki-old", "/srv"] {
        let found = said(path).expect("it is not in that list");
        assert!(found.ends_with("is not under an allowed host path: /srv/pki/, /etc/ssh"), "{found}");
    }
}

#[test]
fn an_object_is_made_in_the_operators_namespace_only() {
    let location: Value = json!(BackupLocation::new("s3", samples::location().spec));
    let said = |namespace| refusal(&namespace::policy(), (Value::Null, location.clone()), namespace);
    assert_eq!(said(names::DEFAULT_NAMESPACE), None);
    let expected = r#"WrongNamespace: metadata.namespace: is "default", and kubedr works in namespace "kubedr-system" only"#;
    assert_eq!(said("default").as_deref(), Some(expected));
}

/// What the definition of a kind lets through is not changed by a policy beside it, in any word.
#[rstest]
#[case::the_same(json!({}), None)]
#[case::another_policy(json!({"policy": "other"}), Some("spec.policy"))]
#[case::another_snapshot(json!({"snapshotId": "12345678"}), Some("spec.snapshotId"))]
#[case::another_location(json!({"backuploc": "other"}), Some("spec.backuploc"))]
#[case::no_location_any_more(json!({"backuploc": null}), Some("spec.backuploc"))]
fn a_record_stays_of_its_backup_in_the_words_of_the_webhooks(
    #[case] change: Value,
    #[case] field: Option<&str>,
) {
    let pinned = json!({"backuploc": "s3"});
    let mut changed = pinned.clone();
    changed.as_object_mut().expect("fields").extend(change.as_object().cloned().unwrap_or_default());
    let (old, new) = (record(&pinned), record(&changed));
    let said = refusal(&records::policy(), (old.clone(), new.clone()), "anywhere");
    let read = |object| serde_json::from_value::<MetadataBackupRecord>(object).expect("a record");
    let violations = read(new).validate_change(&read(old));
    let expected = violations.first().map(|violation| format!("InvalidSpec: {violation}"));
    assert_eq!(said, expected);
    assert_eq!(violations.first().map(|violation| violation.path.as_str()), field);
}

#[test]
fn the_location_of_a_record_may_be_filled_in_once() {
    let filled_in = json!({ "backuploc": "s3" });
    let said = |old: &Value, new: &Value| refusal(&records::policy(), (record(old), record(new)), "anywhere");
    assert_eq!(said(&json!({}), &filled_in), None);
    assert_eq!(said(&filled_in, &filled_in), None);
    assert!(said(&filled_in, &json!({})).is_some());
}

/// By another definition it may be stored, and nobody would get it out of the way.
#[test]
fn a_record_without_a_spec_can_be_freed_of_its_finalizers() {
    let empty = json!({ "metadata": { "name": "mbr-9a9808ce" } });
    assert_eq!(refusal(&records::policy(), (empty.clone(), empty), "anywhere"), None);
}

/// What is deleted, and what is said of an object, concern no policy: both must be possible whatever was stored.
#[test]
fn no_policy_is_asked_about_a_deletion_or_a_status() {
    for policy in policies() {
        assert!(
            !policy.operations.contains(&"DELETE") && !policy.operations.contains(&"*"),
            "{}",
            policy.what
        );
        assert!(policy.resources.iter().all(|name| !name.contains(['/', '*'])), "{:?}", policy.resources);
    }
    assert_eq!(namespace::policy().operations, ["CREATE"], "no change makes a namespace wrong");
    assert_eq!(namespace::policy().resources.len(), api::crds().len());
}

/// An expression could otherwise be shown to a user who did nothing but forget a slash.
#[test]
fn each_refusal_begins_with_its_reason() {
    for policy in policies() {
        for Validation { message, plainly, .. } in &policy.validations {
            let word = plainly.split(':').next().unwrap_or_default();
            assert!(model::Reason::ALL.iter().any(|reason| reason.as_str() == word), "{plainly}");
            assert!(message.starts_with(&format!("'{word}: ")), "{message}");
        }
    }
}

#[test]
fn every_field_is_one_that_kubernetes_knows() {
    for policy in policies() {
        is::<ValidatingAdmissionPolicy>(&policy.object());
        is::<ValidatingAdmissionPolicyBinding>(&policy.binding());
    }
}
