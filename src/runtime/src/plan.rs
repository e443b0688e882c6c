//! What one reconcile decided to do.
use std::{collections::BTreeMap, time::Duration};

use kube::{
    Resource, ResourceExt,
    api::DynamicObject,
    core::{ObjectMeta, TypeMeta},
};
use model::Reason;
use serde::Serialize;
use serde_json::{Value, json};

/// What one reconcile decided to do. [`act`](crate::act) carries it out in the order of the fields.
#[derive(Debug, Default)]
pub struct Plan {
    /// Run-once objects: jobs, records. Created if missing, never changed.
    pub create: Vec<DynamicObject>,
    /// Converging objects. Server-side applied, so they must be complete.
    pub apply: Vec<DynamicObject>,
    /// Objects that go, each pinned by its UID.
    pub delete: Vec<Target>,
    /// The whole status of one object, where it differs from the stored one. Written
    /// after everything that it claims is true; made by [`status_of`].
    pub status: Option<DynamicObject>,
    /// What changed, told once.
    pub events: Vec<Event>,
    /// Annotations that mark something as done, and finalizers that go. Last, because a
    /// mark without the thing it marks would be a lie.
    pub patch: Vec<MetadataPatch>,
    /// When to look again if nothing changes before.
    pub again: Option<Duration>,
}

impl Plan {
    /// Whether everything is as it should be: nothing would be written.
    pub fn writes_nothing(&self) -> bool {
        let Self { create, apply, delete, status, events, patch, again: _ } = self;
        create.is_empty()
            && apply.is_empty()
            && delete.is_empty()
            && status.is_none()
            && events.is_empty()
            && patch.is_empty()
    }
}

/// One existing object: this very one, not a later one of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its `apiVersion` and `kind`.
    pub types: TypeMeta,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, which every write is conditional on.
    pub uid: String,
    /// The version at which it was judged, where a deletion is only right for that very state.
    pub version: Option<String>,
}

impl Target {
    /// The object itself.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            types: TypeMeta::resource::<K>(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            version: None,
        }
    }

    /// The object as long as it is as it was seen.
    pub fn as_seen<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self { version: object.resource_version(), ..Self::of(object) }
    }
}

/// A change to the metadata of one existing object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataPatch {
    /// Which object.
    pub target: Target,
    /// Annotations to set, or to remove where there is no value.
    pub annotations: BTreeMap<String, Option<String>>,
    /// Finalizers that shall remain, and the resource version at which the others were seen.
    pub finalizers: Option<(Vec<String>, String)>,
    /// Fields of the spec to set, where the operator pins what a user left open.
    pub spec: Option<Value>,
}

impl MetadataPatch {
    /// A patch that sets one annotation.
    pub fn annotation(target: Target, key: impl Into<String>, value: impl Into<String>) -> Self {
        let annotations = [(key.into(), Some(value.into()))].into();
        Self { target, annotations, finalizers: None, spec: None }
    }

    /// A patch that leaves only some of the finalizers.
    pub fn finalizers<K: Resource<DynamicType = ()>>(object: &K, remaining: Vec<String>) -> Self {
        let seen = object.resource_version().unwrap_or_default();
        let finalizers = Some((remaining, seen));
        Self { target: Target::of(object), annotations: BTreeMap::new(), finalizers, spec: None }
    }

    /// A patch that sets fields of the spec.
    pub fn spec(target: Target, spec: Value) -> Self {
        Self { target, annotations: BTreeMap::new(), finalizers: None, spec: Some(spec) }
    }

    /// The patch as the API server takes it: conditional on the UID.
    pub(crate) fn body(&self) -> Value {
        let mut metadata = json!({ "uid": self.target.uid });
        if !self.annotations.is_empty() {
            metadata["annotations"] = json!(self.annotations);
        }
        if let Some((remaining, seen)) = &self.finalizers {
            metadata["finalizers"] = json!(remaining);
            metadata["resourceVersion"] = json!(seen);
        }
        let mut body = json!({ "metadata": metadata });
        if let Some(spec) = &self.spec {
            body["spec"] = spec.clone();
        }
        body
    }
}

/// Whether an event is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// As it should be.
    Normal,
    /// Someone should look.
    Warning,
}

/// One transition, told in the words of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it is good news.
    pub importance: Importance,
    /// Upstream's word, for example `BackupFailed`.
    pub reason: &'static str,
    /// The verb that was carried out, for example `backup`.
    pub action: &'static str,
    /// Why, as one word of the closed set. The note begins with it.
    pub word: Reason,
    /// What happened, for a human.
    pub message: String,
}

/// A built object with its type beside it, ready to be sent.
pub fn dynamic<T: Serialize>(object: &T) -> DynamicObject {
    let value = serde_json::to_value(object).expect("Kubernetes types serialise");
    serde_json::from_value(value).expect("Kubernetes types are objects")
}

/// Annotation that tells what was applied last: a field that is left out since then would not show otherwise.
const APPLIED: &str = "kubedr.catalogicsoftware.com/applied";

/// The write that brings a stored object to what was built; none where it is there already.
///
/// A value that someone else changed is brought back. What the API server added is left.
pub fn apply_of<K: Resource + Serialize>(built: &K, stored: Option<&K>) -> Option<DynamicObject> {
    let mut object = dynamic(built);
    object.annotations_mut().insert(APPLIED.to_owned(), fingerprint(built));
    let wanted = serde_json::to_value(&object).expect("Kubernetes types serialise");
    let is_there = stored.is_some_and(|stored| {
        holds(&serde_json::to_value(stored).expect("Kubernetes types serialise"), &wanted)
    });
    (!is_there).then_some(object)
}

/// Whether everything in `wanted` is in `stored` with the same value.
fn holds(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().all(|(name, field)| stored.get(name).is_some_and(|found| holds(found, field)))
        }
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len()
                && stored.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted))
        }
        (stored, wanted) => stored == wanted,
    }
}

/// What tells one built object from another, in 16 hex digits: FNV-1a, 64 bits, the same in every
/// version of Rust and of kubedr.
pub fn fingerprint(built: &impl Serialize) -> String {
    let text = serde_json::to_string(built).expect("Kubernetes types serialise");
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The write that brings an object's status to `status`; none where it is there already.
pub fn status_of<K, Status>(object: &K, status: &Status) -> Option<DynamicObject>
where
    K: Resource<DynamicType = ()> + Serialize,
    Status: Serialize,
{
    let stored = serde_json::to_value(object).expect("Kubernetes types serialise");
    let stored = stored.get("status").map_or(Value::Null, without_nulls);
    let wanted = without_nulls(&serde_json::to_value(status).expect("Kubernetes types serialise"));
    (stored != wanted).then(|| status_object(&Target::of(object), &wanted))
}

/// An object that carries a status and nothing else.
pub(crate) fn status_object(target: &Target, status: &Value) -> DynamicObject {
    DynamicObject {
        types: Some(target.types.clone()),
        metadata: ObjectMeta {
            name: Some(target.name.clone()),
            namespace: Some(target.namespace.clone()),
            // A status must not land on a later object of the same name.
            uid: Some(target.uid.clone()).filter(|uid| !uid.is_empty()),
            ..ObjectMeta::default()
        },
        data: json!({ "status": status }),
    }
}

/// What is absent and what is null are the same to the API server.
pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, field)| !field.is_null())
            .map(|(name, field)| (name.clone(), without_nulls(field)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::{Job, JobStatus};

    use super::*;

    fn job(active: Option<i32>) -> Job {
        let metadata = ObjectMeta {
            name: Some("a".to_owned()),
            namespace: Some("backup".to_owned()),
            uid: Some("u".to_owned()),
            ..ObjectMeta::default()
        };
        Job { metadata, status: Some(JobStatus { active, ..JobStatus::default() }), spec: None }
    }

    /// As the API server stores it: with everything it adds.
    fn applied(object: &Job) -> Job {
        let mut stored = serde_json::to_value(apply_of(object, None).expect("not there")).expect("JSON");
        stored["metadata"]["resourceVersion"] = json!("7");
        serde_json::from_value(stored).expect("a Job")
    }

    #[test]
    fn what_is_there_already_is_not_applied_again() {
        assert!(apply_of(&job(None), Some(&applied(&job(None)))).is_none());
    }

    #[test]
    fn what_someone_changed_or_kubedr_left_out_is_applied_again() {
        let mut changed = applied(&job(Some(1)));
        changed.status = Some(JobStatus { active: Some(3), ..JobStatus::default() });
        assert!(apply_of(&job(Some(1)), Some(&changed)).is_some());
        assert!(apply_of(&job(None), Some(&applied(&job(Some(1))))).is_some());
    }

    #[test]
    fn an_equal_status_is_not_written() {
        assert!(status_of(&job(Some(1)), &json!({ "active": 1, "ready": null })).is_none());
    }

    #[test]
    fn another_status_is_written_to_this_very_object() {
        let write = status_of(&job(Some(1)), &json!({ "active": 2 })).expect("it differs");
        assert_eq!(
            json!(write),
            json!({
                "apiVersion": "batch/v1", "kind": "Job",
                "metadata": { "name": "a", "namespace": "backup", "uid": "u" },
                "status": { "active": 2 },
            })
        );
    }
}
