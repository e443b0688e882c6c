//! Objects outside of the operator's namespace: nothing is done for them, and they say so.
//!
//! Silence would be taken for backups that are made. Nothing else than their status is touched.
use std::{fmt::Debug, sync::Arc, time::Duration};

use api::{GROUP, rbac::Rule};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Resource, ResourceExt,
    api::DynamicObject,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{Controller, watcher},
};
use model::Reason;
use runtime::{
    Done, Error, Plan, Wiring, act,
    conditions::{Page, READY, Verdict, find},
    status_of,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::Context;

/// Name of the controller, to the API server and in the log.
pub const MANAGER: &str = "kubedr-operator/outside";

/// How long another operator, whose namespace it is, has to look at what is new.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// What the controller may do. It writes only the status of kubedr's own kinds.
pub const RBAC: &[Rule] = &[
    Rule::in_cluster(
        &[GROUP],
        &["backuplocations", "metadatabackuppolicies", "metadatarestores"],
        &["get", "list", "watch"],
    ),
    Rule::in_cluster(
        &[GROUP],
        &["backuplocations/status", "metadatabackuppolicies/status", "metadatarestores/status"],
        &["patch"],
    ),
];

/// Runs the controller of one kind until it is stopped.
pub async fn run<K>(context: Arc<Context>, wiring: Wiring)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let elsewhere = format!("metadata.namespace!={}", context.runtime.namespace);
    let objects = Api::<DeserializeGuard<K>>::all(context.runtime.client.clone());
    let controller = Controller::new(objects, watcher::Config::default().fields(&elsewhere));
    runtime::drive(controller, wiring, context, reconcile::<K>).await;
}

/// Answers one object.
async fn reconcile<K>(object: Arc<K>, ctx: Arc<Context>) -> Result<Done, Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let plan = decide(&*object, &ctx.runtime.namespace, ctx.runtime.now());
    act(&ctx.runtime, &*object, plan).await
}

fn decide<K>(object: &K, namespace: &str, now: Timestamp) -> Plan
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let seen = seen(object);
    match judge(&seen, now) {
        Answer::Leave => Plan::default(),
        Answer::Wait(again) => Plan { again: Some(again), ..Plan::default() },
        Answer::Say => Plan { status: answer(object, &seen, (namespace, now)), ..Plan::default() },
    }
}

/// `Ready` and nothing else: an operator that comes to that namespace later takes over what it writes itself, and
/// could not take away the rest. It is for the object as it was judged, or that operator's first word would be lost.
fn answer<K>(object: &K, seen: &Seen, (namespace, now): (&str, Timestamp)) -> Option<DynamicObject>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let reason = Reason::WrongNamespace;
    let message =
        format!("kubedr works in namespace {namespace:?}. {} {}", reason.meaning(), reason.advice());
    let page = Page { previous: &seen.conditions, generation: seen.generation, now };
    let mut conditions = page.write(&[(READY, Verdict::bad(reason, message))]);
    conditions.retain(|condition| condition.type_ == READY);
    let status = json!({ "observedGeneration": seen.generation, "conditions": conditions });
    let mut write = status_of(object, &status)?;
    write.metadata.resource_version.clone_from(&object.meta().resource_version);
    Some(write)
}

/// What tells whether somebody looks after an object.
#[derive(Clone, Debug)]
struct Seen {
    generation: Option<i64>,
    /// The generation that was looked at; -1 before anyone did.
    observed: Option<i64>,
    conditions: Vec<Condition>,
    created: Option<Timestamp>,
}

fn seen<K: Resource + Serialize>(object: &K) -> Seen {
    let status =
        serde_json::to_value(object).ok().and_then(|mut object| Some(object.get_mut("status")?.take()));
    let status = status.unwrap_or_default();
    let conditions = status.get("conditions").cloned();
    let conditions: Vec<Condition> =
        conditions.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default();
    Seen {
        generation: object.meta().generation,
        observed: status.get("observedGeneration").and_then(serde_json::Value::as_i64),
        conditions,
        created: object.creation_timestamp().map(|time| time.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Somebody looks after it, or it says so already.
    Leave,
    /// Somebody may still come.
    Wait(Duration),
    /// Nobody does.
    Say,
}

/// Another operator may have that namespace for its own: only what nobody has looked at is answered, and what was
/// answered in this way before.
fn judge(seen: &Seen, now: Timestamp) -> Answer {
    let reason = find(&seen.conditions, READY).map(|ready| ready.reason.as_str());
    if reason == Some(Reason::WrongNamespace.as_str()) {
        return if seen.observed == seen.generation { Answer::Leave } else { Answer::Say };
    }
    if seen.observed.is_some_and(|observed| observed >= 0) {
        return Answer::Leave;
    }
    let left = seen.created.map_or(SignedDuration::ZERO, |created| PATIENCE - now.duration_since(created));
    if left.is_positive() { Answer::Wait(left.unsigned_abs()) } else { Answer::Say }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::fixtures::{NOW, at, condition, location};

    fn said(reason: Reason) -> Condition {
        crate::fixtures::object(condition(READY, "False", reason.as_str()))
    }

    fn object(observed: Option<i64>, reason: Option<Reason>, age: i64) -> Seen {
        Seen {
            generation: Some(2),
            observed,
            conditions: reason.map(said).into_iter().collect(),
            created: Some(at(NOW) - SignedDuration::from_secs(age)),
        }
    }

    #[test]
    fn the_answer_has_nothing_that_another_operator_could_not_take_over() {
        let mut object = location();
        object.metadata.resource_version = Some("7".to_owned());
        object.metadata.creation_timestamp = None;
        let plan = decide(&object, "kubedr-system", at(NOW));
        let write = plan.status.expect("an answer");
        assert_eq!(write.metadata.resource_version.as_deref(), Some("7"), "of what was judged");
        let status = write.data["status"].as_object().expect("a status");
        assert_eq!(status.keys().collect::<Vec<_>>(), ["conditions", "observedGeneration"]);
        let types: Vec<_> =
            status["conditions"].as_array().into_iter().flatten().map(|one| &one["type"]).collect();
        assert_eq!(types, ["Ready"]);
        assert!(
            status["conditions"][0]["message"].as_str().is_some_and(|said| said.contains("kubedr-system"))
        );
    }

    #[rstest]
    #[case::that_nobody_looked_at(object(Some(-1), None, 31), Answer::Say)]
    #[case::of_a_version_without_that_mark(object(None, None, 31), Answer::Say)]
    #[case::that_is_new(object(Some(-1), None, 20), Answer::Wait(Duration::from_secs(10)))]
    #[case::of_another_operator(object(Some(1), Some(Reason::Ready), 900), Answer::Leave)]
    #[case::that_another_operator_cannot_help(object(Some(2), Some(Reason::InvalidSpec), 900), Answer::Leave)]
    #[case::that_was_answered(object(Some(2), Some(Reason::WrongNamespace), 900), Answer::Leave)]
    #[case::that_was_answered_and_changed(object(Some(1), Some(Reason::WrongNamespace), 900), Answer::Say)]
    fn an_object_elsewhere(#[case] seen: Seen, #[case] answer: Answer) {
        assert_eq!(judge(&seen, at(NOW)), answer);
    }
}
