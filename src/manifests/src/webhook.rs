//! `config/webhook`: what the API server asks the operator about, and where it finds it.
//!
//! ```text
//! user ─▶ API server: whose request, does it ask for something else? ─▶ Service ─▶ operator: webhooks
//! ```
//!
//! No configuration carries an authority: who keeps the certificate puts it in, and whoever applies these files
//! again takes nothing away.
use api::{
    BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore,
    names::{self, Verb},
};
use kube::Resource;
use serde_json::{Value, json};

use crate::{
    tree::{File, MARK},
    yaml,
};

/// Port of the operator's container where it answers.
pub const PORT: &str = "webhooks";
/// What `--webhook-port` is by default.
pub const PORT_NUMBER: u16 = 9443;
/// Port of the Service: the one that the API server takes where none is said.
const SERVICE_PORT: u16 = 443;

/// When the API server asks, and what becomes of the request where nobody answers.
struct Occasion {
    /// Before the name of the kind, so that each webhook has a name of its own.
    prefix: &'static str,
    operations: &'static [&'static str],
    without_answer: &'static str,
    /// How long a user waits at most.
    seconds: u8,
    /// Whether there is something to compare.
    has_object: bool,
}

/// A wrong one would be taken for backups that are made.
const WRITTEN: Occasion = Occasion {
    prefix: "",
    operations: &["CREATE", "UPDATE"],
    without_answer: "Fail",
    seconds: 5,
    has_object: true,
};

/// It decides nothing (see `webhooks::answer`), so nobody waits for it.
const DEFAULTED: Occasion = Occasion { without_answer: "Ignore", seconds: 1, ..WRITTEN };

/// Nothing is made of these but what the operator judges anyway.
const NOTED: Occasion = Occasion { without_answer: "Ignore", seconds: 2, ..WRITTEN };

/// Nobody keeps an object from going, whether the operator is there or not: a person is told who uses it.
const REMOVED: Occasion =
    Occasion { prefix: "removed.", operations: &["DELETE"], has_object: false, ..NOTED };

/// Both configurations, and the Service.
pub fn files() -> Vec<File> {
    let configurations = format!(
        "{MARK} from src/manifests. Do not edit.\n\n\
         Not asked about the operator's own writing, nor about a change that asks for nothing else than before:\n\
         a label, a finalizer, an annotation such as run-now. So an uninstall, and a namespace's deletion, end\n\
         while nobody answers. A status is never asked about.\n\
         Upstream filled in defaults, which the definitions of the kinds have now: the first configuration changes\n\
         nothing, and nobody waits for it.\n\
         There is no caBundle: who keeps the certificate puts it in, and applying this again leaves it there."
    );
    let service =
        format!("{MARK} from src/manifests. Do not edit.\n\nWhere the API server finds the webhooks.");
    let objects = [mutating(), validating()];
    vec![
        File::new("config/webhook/configurations.yaml", yaml::document(&configurations, &objects)),
        File::new("config/webhook/service.yaml", yaml::document(&service, &[service_of()])),
    ]
}

/// Kinds of both configurations.
pub const CONFIGURATIONS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

fn mutating() -> Value {
    let verb = Verb::Mutate;
    let webhooks =
        [webhook::<BackupLocation>(verb, &DEFAULTED), webhook::<MetadataBackupPolicy>(verb, &DEFAULTED)];
    configuration(CONFIGURATIONS[0], &webhooks)
}

fn validating() -> Value {
    let verb = Verb::Validate;
    let webhooks = [
        webhook::<BackupLocation>(verb, &WRITTEN),
        webhook::<MetadataBackupPolicy>(verb, &WRITTEN),
        webhook::<MetadataBackupRecord>(verb, &NOTED),
        webhook::<MetadataRestore>(verb, &NOTED),
        webhook::<BackupLocation>(verb, &REMOVED),
    ];
    configuration(CONFIGURATIONS[1], &webhooks)
}

fn configuration(kind: &str, webhooks: &[Value]) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": names::DEFAULT_WEBHOOKS, "labels": crate::operator::labels("admission") },
        "webhooks": webhooks,
    })
}

/// Objects of the operator's namespace are asked about: outside of it the API server makes none by itself, and another
/// operator may be asked.
fn webhook<K: Resource<DynamicType = ()>>(verb: Verb, occasion: &Occasion) -> Value {
    let plural = K::plural(&());
    json!({
        "name": format!("{}{plural}.{}", occasion.prefix, api::GROUP),
        "admissionReviewVersions": ["v1"],
        "clientConfig": { "service": {
            "name": names::WEBHOOK_SERVICE,
            "namespace": names::DEFAULT_NAMESPACE,
            "path": names::webhook_path::<K>(verb),
            "port": SERVICE_PORT,
        } },
        "failurePolicy": occasion.without_answer,
        "matchConditions": conditions(occasion),
        "matchPolicy": "Equivalent",
        "namespaceSelector": crate::operator::own_namespace(),
        "rules": [{
            "apiGroups": [api::GROUP],
            "apiVersions": [api::VERSION],
            "operations": occasion.operations,
            "resources": [plural],
            "scope": "Namespaced",
        }],
        "sideEffects": "None",
        "timeoutSeconds": occasion.seconds,
    })
}

fn conditions(occasion: &Occasion) -> Vec<Value> {
    let operator = names::operator_user(names::DEFAULT_NAMESPACE);
    let by_another = format!("request.userInfo.username != '{operator}'");
    let mut conditions = vec![json!({ "name": "by-another-than-the-operator", "expression": by_another })];
    if occasion.has_object {
        conditions.push(json!({ "name": "asks-for-something-else", "expression": ASKS_FOR_SOMETHING_ELSE }));
    }
    conditions
}

/// An object on its way out asks for nothing any more.
const ASKS_FOR_SOMETHING_ELSE: &str = "oldObject == null || (!has(object.metadata.deletionTimestamp) && \
     !(has(object.spec) && has(oldObject.spec) && object.spec == oldObject.spec))";

fn service_of() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names::WEBHOOK_SERVICE,
            "namespace": names::DEFAULT_NAMESPACE,
            "labels": crate::operator::labels("operator"),
        },
        "spec": {
            "selector": crate::operator::labels("operator"),
            "ports": [{ "name": PORT, "port": SERVICE_PORT, "targetPort": PORT }],
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::Service,
    };
    use kube::core::cel::cel::Value as Found;
    use rstest::rstest;

    use super::*;
    use crate::{cel, typed::is};

    fn webhooks() -> Vec<Value> {
        let lists = [mutating(), validating()].map(|mut configuration| configuration["webhooks"].take());
        lists.iter().flat_map(|list| list.as_array().cloned().unwrap_or_default()).collect()
    }

    /// What is asked of whom, in short.
    fn summed(webhook: &Value) -> String {
        let rule = &webhook["rules"][0];
        let operations: Vec<&str> =
            rule["operations"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let path = text(&webhook["clientConfig"]["service"]["path"]);
        format!("{} {} {path}", operations.join(","), text(&webhook["failurePolicy"]))
    }

    #[test]
    fn every_field_is_one_that_kubernetes_knows() {
        is::<MutatingWebhookConfiguration>(&mutating());
        is::<ValidatingWebhookConfiguration>(&validating());
        is::<Service>(&service_of());
    }

    #[test]
    fn only_locations_and_policies_wait_for_an_answer_and_nothing_does_at_its_end() {
        let asked: Vec<String> = webhooks().iter().map(summed).collect();
        let path = "kubedr-catalogicsoftware-com-v1alpha1";
        let expected = [
            format!("CREATE,UPDATE Ignore /mutate-{path}-backuplocation"),
            format!("CREATE,UPDATE Ignore /mutate-{path}-metadatabackuppolicy"),
            format!("CREATE,UPDATE Fail /validate-{path}-backuplocation"),
            format!("CREATE,UPDATE Fail /validate-{path}-metadatabackuppolicy"),
            format!("CREATE,UPDATE Ignore /validate-{path}-metadatabackuprecord"),
            format!("CREATE,UPDATE Ignore /validate-{path}-metadatarestore"),
            format!("DELETE Ignore /validate-{path}-backuplocation"),
        ];
        assert_eq!(asked, expected);
    }

    #[test]
    fn no_webhook_is_asked_about_a_status_or_elsewhere_has_a_side_effect_or_brings_an_authority() {
        for webhook in webhooks() {
            let resources = webhook["rules"][0]["resources"].to_string();
            assert!(!resources.contains(['/', '*']), "{resources}");
            assert_eq!(webhook["sideEffects"], "None");
            assert_eq!(webhook["clientConfig"].get("caBundle"), None);
            let own = json!({ "matchLabels": { "kubernetes.io/metadata.name": names::DEFAULT_NAMESPACE } });
            assert_eq!(webhook["namespaceSelector"], own, "another operator may be asked about others");
            assert!(webhook["timeoutSeconds"].as_u64().is_some_and(|seconds| seconds <= 5));
        }
    }

    #[test]
    fn each_webhook_of_a_configuration_has_a_name_of_its_own() {
        for configuration in [mutating(), validating()] {
            let list = configuration["webhooks"].as_array().expect("a list");
            let names: BTreeSet<String> = list.iter().map(|one| one["name"].to_string()).collect();
            assert_eq!(names.len(), list.len());
        }
    }

    #[rstest]
    #[case::made(Value::Null, json!({"metadata": {}, "spec": {"url": "a"}}), true)]
    #[case::asks_for_something_else(json!({"spec": {"url": "a"}}), json!({"metadata": {}, "spec": {"url": "b"}}), true)]
    #[case::asks_for_nothing_any_more(json!({"spec": {"url": "a"}}), json!({"metadata": {}}), true)]
    #[case::gets_an_annotation(json!({"spec": {"url": "a"}}), json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"url": "a"}}), false)]
    #[case::loses_a_finalizer_on_its_way_out(
        json!({"spec": {"url": "a"}}), json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}, "spec": {"url": "a"}}), false
    )]
    #[case::changes_on_its_way_out(
        json!({"spec": {"url": "a"}}), json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}, "spec": {"url": "b"}}), false
    )]
    fn an_object_that(#[case] old: Value, #[case] new: Value, #[case] is_asked_about: bool) {
        let asked = |user: &str| {
            let request = json!({ "userInfo": { "username": user } });
            let context = cel::context([("object", &new), ("oldObject", &old), ("request", &request)]);
            conditions(&WRITTEN).iter().all(|condition| {
                let expression = condition["expression"].as_str().expect("CEL");
                cel::evaluated(expression, &context) == Found::Bool(true)
            })
        };
        assert_eq!(asked("system:admin"), is_asked_about);
        assert!(!asked("system:serviceaccount:kubedr-system:kubedr-operator"), "it asks itself");
        assert_eq!(asked("system:serviceaccount:elsewhere:kubedr-operator"), is_asked_about);
    }

    /// There is no object then, so that a condition on it would fail.
    #[test]
    fn of_an_object_that_goes_only_the_user_is_looked_at() {
        assert_eq!(conditions(&REMOVED).len(), 1);
    }
}
