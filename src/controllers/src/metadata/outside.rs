//! Objects outside of the operator's namespace: nothing is done for them, and they say so.
//!
//! ```text
//! watch ─▶ seen ─▶ judge ─▶ status, event
//!   └─▶ Outside: how many say so, for metrics
//! ```
//!
//! Silence would be taken for backups that are made. Nothing else than their status is touched.
use std::{fmt::Debug, sync::Arc, time::Duration};

use api::{
    BackupLocation, GROUP, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore,
    names::{self, Work},
    rbac::Rule,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Resource, ResourceExt,
    api::DynamicObject,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::watcher,
};
use model::{Reason, result::Failure};
use runtime::{
    Done, Error, Event, Importance, Plan, Wiring, act,
    conditions::{Page, READY, Verdict, find},
    status_of,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    Context,
    known::Cache,
    metadata::{refusal, text},
    watch,
};

/// Name of the controller, to the API server and in the log.
pub const MANAGER: &str = "kubedr-operator/outside";

/// How long another operator, whose namespace it is, has to look at what is new.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// What the controller may do. It writes only the status of kubedr's own kinds, and events beside them.
pub const RBAC: &[Rule] = &[
    Rule::in_cluster(
        &[GROUP],
        &["backuplocations", "metadatabackuppolicies", "metadatabackuprecords", "metadatarestores"],
        &["get", "list", "watch"],
    ),
    Rule::in_cluster(
        &[GROUP],
        &[
            "backuplocations/status",
            "metadatabackuppolicies/status",
            "metadatabackuprecords/status",
            "metadatarestores/status",
        ],
        &["patch"],
    ),
    // The API server takes an event only in the namespace of what it is about.
    Rule::in_cluster(&["events.k8s.io"], &["events"], &["create"]),
];

/// A kind of kubedr's, whose objects are answered wherever they are.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The event that tells what keeps one from being in force, and what does not happen with it: that it is outside, or
    /// that a look at it failed.
    const EVENT: (&'static str, Work);

    /// Those that are outside.
    fn kept(outside: &Outside) -> &Cache<Self>;

    /// The generation that was looked at, -1 before anyone did, and what was said of it.
    fn told(&self) -> (Option<i64>, &[Condition]);
}

macro_rules! kinds {
    ($($kept:ident: $kind:ident, $event:literal, $work:ident;)*) => {
        /// The objects outside of the operator's namespace, as their controllers watch them.
        #[derive(Default)]
        pub struct Outside {
            $($kept: Cache<$kind>,)*
        }

        impl Outside {
            /// How many of each kind say that they are in a wrong namespace.
            pub(crate) fn misplaced(&self) -> Vec<(String, i64)> {
                vec![$((<$kind as Resource>::kind(&()).into_owned(), misplaced(&self.$kept)),)*]
            }
        }

        $(impl Kind for $kind {
            const EVENT: (&'static str, Work) = ($event, Work::$work);

            fn kept(outside: &Outside) -> &Cache<Self> {
                &outside.$kept
            }

            fn told(&self) -> (Option<i64>, &[Condition]) {
                let told = self.status.as_ref();
                let conditions = told.map_or(&[][..], |told| &told.conditions);
                (told.and_then(|told| told.observed_generation), conditions)
            }
        })*
    };
}

kinds! {
    locations: BackupLocation, "InitFailed", Init;
    policies: MetadataBackupPolicy, "BackupFailed", Backup;
    records: MetadataBackupRecord, "RestoreFailed", Restore;
    restores: MetadataRestore, "RestoreFailed", Restore;
}

fn misplaced<K: Kind>(kept: &Cache<K>) -> i64 {
    let objects = kept.objects();
    let says_so = |object: &&Arc<DeserializeGuard<K>>| {
        object.0.as_ref().is_ok_and(|object| is_answered(object.told().1))
    };
    i64::try_from(objects.iter().filter(says_so).count()).unwrap_or(i64::MAX)
}

/// Whether it is said already that the namespace is wrong.
fn is_answered(conditions: &[Condition]) -> bool {
    find(conditions, READY).is_some_and(|ready| ready.reason == Reason::WrongNamespace.as_str())
}

/// Runs the controller of one kind until it is stopped.
pub async fn run<K: Kind>(context: Arc<Context>, wiring: Wiring) {
    let elsewhere = format!("metadata.namespace!={}", context.runtime.namespace);
    let objects = Api::<DeserializeGuard<K>>::all(context.runtime.client.clone());
    let controller = watch::controller(objects, watcher::Config::default().fields(&elsewhere), watch::all);
    K::kept(&context.known.outside).lend(controller.store());
    runtime::drive(controller, wiring, context, reconcile::<K>).await;
}

/// Answers one object.
async fn reconcile<K: Kind>(object: Arc<K>, ctx: Arc<Context>) -> Result<Done, Error> {
    let plan = decide(&*object, &ctx.runtime.namespace, ctx.runtime.now());
    act(&ctx.runtime, &*object, plan).await
}

fn decide<K: Kind>(object: &K, namespace: &str, now: Timestamp) -> Plan {
    let found = names::namespace(object.meta(), namespace);
    let Some(wrong) = refusal(found.as_slice()) else { return Plan::default() };
    match judge(&seen(object), now) {
        Answer::Leave => Plan::default(),
        Answer::Wait(again) => Plan { again: Some(again), ..Plan::default() },
        Answer::Say => say(object, &wrong, now),
    }
}

/// What is wrong, in the status and, the first time, as an event.
fn say<K: Kind>(object: &K, wrong: &Failure, now: Timestamp) -> Plan {
    let said = Verdict::bad(wrong.reason, text(wrong));
    let (name, work) = K::EVENT;
    let event = said.is_news(object.told().1, READY).then(|| Event {
        importance: Importance::Warning,
        reason: name,
        action: work.verb(),
        word: wrong.reason,
        message: said.message.clone(),
    });
    Plan { status: answer(object, said, now), events: event.into_iter().collect(), ..Plan::default() }
}

/// `Ready` and nothing else: an operator that comes to that namespace later takes over what it writes itself, and
/// could not take away the rest. It is for the object as it was judged, or that operator's first word would be lost.
fn answer<K: Kind>(object: &K, said: Verdict, now: Timestamp) -> Option<DynamicObject> {
    let generation = object.meta().generation;
    let page = Page { previous: object.told().1, generation, now };
    let mut conditions = page.write(&[(READY, said)]);
    conditions.retain(|condition| condition.type_ == READY);
    let status = json!({ "observedGeneration": generation, "conditions": conditions });
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
    /// Whether it was answered before.
    is_answered: bool,
    created: Option<Timestamp>,
}

fn seen<K: Kind>(object: &K) -> Seen {
    let (observed, conditions) = object.told();
    Seen {
        generation: object.meta().generation,
        observed,
        is_answered: is_answered(conditions),
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
    if seen.is_answered {
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
    use kube::runtime::reflector::store::Writer;
    use rstest::rstest;

    use super::*;
    use crate::fixtures::{NOW, at, condition, location, object, policy, record};

    fn seen_as(observed: Option<i64>, is_answered: bool, age: i64) -> Seen {
        let created = Some(at(NOW) - SignedDuration::from_secs(age));
        Seen { generation: Some(2), observed, is_answered, created }
    }

    /// A location that nobody has looked at, though there was time.
    fn misplaced_location() -> BackupLocation {
        let mut location = location();
        location.metadata.namespace = Some("elsewhere".to_owned());
        location.metadata.resource_version = Some("7".to_owned());
        location.metadata.creation_timestamp = None;
        location
    }

    /// The object with its answer.
    fn answered<K: Kind>(stored: &K, answer: &Plan) -> K {
        let mut manifest = json!(stored);
        manifest["status"] = answer.status.as_ref().expect("an answer").data["status"].clone();
        object(manifest)
    }

    #[test]
    fn the_answer_has_nothing_that_another_operator_could_not_take_over() {
        let plan = decide(&misplaced_location(), "kubedr-system", at(NOW));
        let write = plan.status.expect("an answer");
        assert_eq!(write.metadata.resource_version.as_deref(), Some("7"), "of what was judged");
        let status = write.data["status"].as_object().expect("a status");
        assert_eq!(status.keys().collect::<Vec<_>>(), ["conditions", "observedGeneration"]);
        let types: Vec<_> =
            status["conditions"].as_array().into_iter().flatten().map(|one| &one["type"]).collect();
        assert_eq!(types, ["Ready"]);
        assert!(
            status["conditions"][0]["message"]
                .as_str()
                .is_some_and(|said| said.contains("kubedr works in namespace"))
        );
    }

    #[test]
    fn an_event_tells_of_it_once() {
        let stored = misplaced_location();
        let plan = decide(&stored, "kubedr-system", at(NOW));
        let told: Vec<_> = plan.events.iter().map(|event| (event.reason, event.word)).collect();
        assert_eq!(told, [("InitFailed", Reason::WrongNamespace)]);
        let mut changed = answered(&stored, &plan);
        changed.metadata.generation = Some(2);
        let again = decide(&changed, "kubedr-system", at(NOW));
        assert!(again.status.is_some() && again.events.is_empty(), "{again:?}");
    }

    #[test]
    fn a_record_of_nobody_is_answered_too() {
        let mut misplaced = MetadataBackupRecord { status: None, ..record('1', 1) };
        misplaced.metadata.namespace = Some("elsewhere".to_owned());
        let plan = decide(&misplaced, "kubedr-system", at(NOW));
        assert_eq!(plan.events[0].word, Reason::WrongNamespace);
        assert_eq!(
            answered(&misplaced, &plan).status.expect("a status").conditions[0].reason,
            "WrongNamespace"
        );
    }

    #[test]
    fn those_that_say_so_are_counted_and_no_others() {
        let mut kept = Writer::<DeserializeGuard<MetadataBackupPolicy>>::default();
        let outside = Outside::default();
        outside.policies.lend(kept.as_reader());
        let (mut misplaced, mut of_another) = (policy(), policy());
        misplaced.status =
            Some(object(json!({ "conditions": [condition(READY, "False", "WrongNamespace")] })));
        of_another.metadata.namespace = Some("another".to_owned());
        of_another.status = Some(object(json!({ "conditions": [condition(READY, "False", "NoEtcdNode")] })));
        for policy in [misplaced, of_another] {
            kept.apply_watcher_event(&watcher::Event::Apply(DeserializeGuard(Ok(policy))));
        }
        let some: Vec<_> = outside.misplaced().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(some, [("MetadataBackupPolicy".to_owned(), 1)]);
    }

    #[rstest]
    #[case::that_nobody_looked_at(seen_as(Some(-1), false, 31), Answer::Say)]
    #[case::of_a_version_without_that_mark(seen_as(None, false, 31), Answer::Say)]
    #[case::that_is_new(seen_as(Some(-1), false, 20), Answer::Wait(Duration::from_secs(10)))]
    #[case::of_another_operator(seen_as(Some(1), false, 900), Answer::Leave)]
    #[case::that_was_answered(seen_as(Some(2), true, 900), Answer::Leave)]
    #[case::that_was_answered_and_changed(seen_as(Some(1), true, 900), Answer::Say)]
    fn an_object_elsewhere(#[case] seen: Seen, #[case] answer: Answer) {
        assert_eq!(judge(&seen, at(NOW)), answer);
    }
}
