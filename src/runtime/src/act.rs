//! Carries out a plan: the operator's only writer.
use std::time::Duration;

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event as ApiEvent},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    core::{ApiResource, GroupVersionKind, TypeMeta},
};
use model::Reason;
use serde::Serialize;

use crate::{
    CallError, Context, Error, Event, Importance, MetadataPatch, Plan, Target, call,
    conditions::{self, Page, READY, RECONCILING, STALLED, cut, find},
    status_of,
};

/// Longest note of an event, bytes: a limit of the API server.
const MAX_NOTE: usize = 1024;

/// What a reconcile did, for its one log line and the queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// How many objects were written, events included.
    pub writes: usize,
    /// When to look again if nothing changes before.
    pub again: Option<Duration>,
    /// What was applied, and the object whose status was written, as the API server has stored them.
    pub stored: Vec<DynamicObject>,
}

/// Carries out a plan, in the order of its fields.
///
/// Everything may be repeated: an operator that dies between any two writes
/// makes the same plan again. An object that the API server refuses will be refused again, so
/// it must not keep others from being written, nor the rest of the status from being told.
/// But nothing goes then, and no mark is set where an object could not be created: what takes the
/// place of what goes, or what the mark speaks of, may be the very one that was refused.
pub async fn act<K>(ctx: &Context, owner: &K, plan: Plan) -> Result<Done, Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let Written { mut stored, refused, creation_refused } = write_objects(ctx, &plan).await?;
    let status = match &refused {
        None => plan.status.clone(),
        Some(error) => plan.status.as_ref().and_then(|status| admitting(ctx, owner, (status, error))),
    };
    if let Some(status) = &status {
        stored.extend(write_status(ctx, status).await?);
    }
    let unsaid = refused.as_ref().and_then(|_| ready(&plan));
    for event in plan.events.iter().filter(|event| Some(event.word) != unsaid) {
        tell(ctx, &Target::of(owner), event).await;
    }
    if !creation_refused {
        for patch in &plan.patch {
            patch_metadata(ctx, patch).await?;
        }
    }
    if let Some(error) = refused {
        return Err(error);
    }
    let objects = plan.create.len() + plan.apply.len() + plan.delete.len() + plan.patch.len();
    let writes = objects + usize::from(status.is_some()) + plan.events.len();
    Ok(Done { writes, again: plan.again, stored })
}

/// What `Ready` was to say. Where it says what was refused instead, it is still news the next time, and told once it
/// is said.
fn ready(plan: &Plan) -> Option<Reason> {
    let told = conditions::of(&plan.status.as_ref()?.data["status"]);
    find(&told, READY)?.reason.parse().ok()
}

/// What came of a plan's objects.
struct Written {
    /// What was applied, as the API server has stored it.
    stored: Vec<DynamicObject>,
    /// What it refused. The one to tell: that of an object which only a person can mend, else the first.
    refused: Option<Error>,
    /// Whether one of the objects that it refused was to be created.
    creation_refused: bool,
}

/// Writes all objects but those that are refused.
async fn write_objects(ctx: &Context, plan: &Plan) -> Result<Written, Error> {
    let (mut stored, mut refusals) = (Vec::new(), Vec::new());
    for object in &plan.create {
        refusals.extend(refusal(create(ctx, object).await)?.err());
    }
    let creation_refused = !refusals.is_empty();
    for object in &plan.apply {
        match refusal(apply(ctx, object).await)? {
            Ok(object) => stored.push(object),
            Err(error) => refusals.push(error),
        }
    }
    if refusals.is_empty() {
        for target in &plan.delete {
            refusals.extend(refusal(delete(ctx, target).await)?.err());
        }
    }
    refusals.sort_by_key(|error| !matches!(error, Error::Refused { .. }));
    Ok(Written { stored, refused: refusals.into_iter().next(), creation_refused })
}

/// What was written, or that it was refused; else why nobody knows.
fn refusal<T>(written: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match written {
        Err(error) if !error.is_refusal() => Err(error),
        written => Ok(written),
    }
}

/// The owner's planned status, but that `Ready` says what was refused.
///
/// A status of another object was to tell of what was refused: there is nothing to tell.
fn admitting<K>(ctx: &Context, owner: &K, (planned, error): (&DynamicObject, &Error)) -> Option<DynamicObject>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    if planned.metadata.uid != owner.meta().uid {
        return None;
    }
    let stored = serde_json::to_value(owner).expect("Kubernetes types serialise");
    let previous = conditions::of(&stored["status"]);
    let page = Page { previous: &previous, generation: owner.meta().generation, now: ctx.now() };
    let told = conditions::of(&planned.data["status"]);
    let types = told.iter().map(|condition| condition.type_.as_str());
    let types: Vec<&str> = types.filter(|type_| ![RECONCILING, STALLED].contains(type_)).collect();
    let status = conditions::failed(&page, &planned.data["status"], &types, error);
    status_of(owner, &status)
}

async fn create(ctx: &Context, object: &DynamicObject) -> Result<(), Error> {
    match call(api(ctx, object).create(&PostParams::default(), object)).await {
        Err(error) if error.is_already_exists() => adopt(ctx, object).await,
        result => result.map(drop).map_err(|source| not_written(object, source)),
    }
}

/// Accepts an existing object if an earlier, interrupted run of ours made it.
async fn adopt(ctx: &Context, object: &DynamicObject) -> Result<(), Error> {
    let found = call(api(ctx, object).get_metadata(&object.name_any())).await;
    let found = found.map_err(|source| Error::Read { what: "existing objects", source })?;
    let (kind, name) = (kind(object), object.name_any());
    if owner_uid(object).is_none() || owner_uid(&found) != owner_uid(object) {
        return Err(Error::NameTaken { kind, name });
    }
    // One that is going away is not the one that was asked for: look again when it is gone.
    if found.meta().deletion_timestamp.is_some() { Err(Error::Leaving { kind, name }) } else { Ok(()) }
}

fn owner_uid(object: &impl Resource) -> Option<&str> {
    let owners = object.meta().owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

async fn apply(ctx: &Context, object: &DynamicObject) -> Result<DynamicObject, Error> {
    let params = PatchParams::apply(ctx.manager).force();
    let result = call(api(ctx, object).patch(&object.name_any(), &params, &Patch::Apply(object))).await;
    // At once: a watch brings it about now.
    result.inspect(|stored| ctx.echoes.expect(stored)).map_err(|source| not_written(object, source))
}

async fn delete(ctx: &Context, target: &Target) -> Result<(), Error> {
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        preconditions: Some(Preconditions {
            uid: Some(target.uid.clone()),
            resource_version: target.version.clone(),
        }),
        ..DeleteParams::default()
    };
    match call(api_of(ctx, &target.types, &target.namespace).delete(&target.name, &params)).await {
        // Gone, changed since, or another object of the same name: what was meant is not there.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        result => result.map(drop).map_err(|source| write_failed(&target.types, &target.name, source)),
    }
}

/// The object as it is stored with its status; none where it is gone.
pub(crate) async fn write_status(
    ctx: &Context,
    object: &DynamicObject,
) -> Result<Option<DynamicObject>, Error> {
    let params = PatchParams::apply(ctx.manager).force();
    match call(api(ctx, object).patch_status(&object.name_any(), &params, &Patch::Apply(object))).await {
        Err(error) if error.is_not_found() => Ok(None),
        result => result.inspect(|stored| ctx.echoes.expect(stored)).map(Some).map_err(|source| {
            Error::Write { kind: format!("{}/status", kind(object)), name: object.name_any(), source }
        }),
    }
}

async fn patch_metadata(ctx: &Context, patch: &MetadataPatch) -> Result<(), Error> {
    let Target { types, namespace, name, .. } = &patch.target;
    let params = PatchParams { field_manager: Some(ctx.manager.to_owned()), ..PatchParams::default() };
    match call(api_of(ctx, types, namespace).patch(name, &params, &Patch::Merge(patch.body()))).await {
        Err(error) if error.is_not_found() => Ok(()),
        result => result.map(drop).map_err(|source| write_failed(types, name, source)),
    }
}

/// Tells what changed, beside the object: the API server takes an event nowhere else. One that is lost is not worth
/// a failed reconcile: the condition says the same.
pub(crate) async fn tell(ctx: &Context, target: &Target, event: &Event) {
    let events = Api::<ApiEvent>::namespaced(ctx.client.clone(), &target.namespace);
    let object = event_object(ctx, target, event);
    if let Err(error) = call(events.create(&PostParams::default(), &object)).await {
        tracing::warn!(reason = event.reason, error = model::chain(&error), "failed to write an event");
    }
}

fn event_object(ctx: &Context, target: &Target, event: &Event) -> ApiEvent {
    let Target { types, namespace, name, uid, .. } = target.clone();
    let importance = match event.importance {
        Importance::Normal => "Normal",
        Importance::Warning => "Warning",
    };
    ApiEvent {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some(event.action.to_owned()),
        event_time: Some(MicroTime(ctx.now())),
        note: Some(cut(&format!("{}: {}", event.word, event.message), MAX_NOTE)),
        reason: Some(event.reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(types.api_version),
            kind: Some(types.kind),
            namespace: Some(namespace),
            name: Some(name),
            uid: Some(uid),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(ctx.manager.to_owned()),
        reporting_instance: Some(cut(&ctx.instance, 128)),
        type_: Some(importance.to_owned()),
        ..ApiEvent::default()
    }
}

fn api(ctx: &Context, object: &DynamicObject) -> Api<DynamicObject> {
    let types = object.types.as_ref().expect("built objects carry their type");
    api_of(ctx, types, object.metadata.namespace.as_deref().unwrap_or(&ctx.namespace))
}

/// Without a namespace: objects of the whole cluster.
pub(crate) fn api_of(ctx: &Context, types: &TypeMeta, namespace: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::try_from(types).expect("built objects carry a valid type");
    let resource = ApiResource::from_gvk(&gvk);
    if namespace.is_empty() {
        return Api::all_with(ctx.client.clone(), &resource);
    }
    Api::namespaced_with(ctx.client.clone(), namespace, &resource)
}

fn not_written(object: &DynamicObject, source: CallError) -> Error {
    if source.is_invalid() {
        return Error::Refused { kind: kind(object), source };
    }
    Error::Write { kind: kind(object), name: object.name_any(), source }
}

fn write_failed(types: &TypeMeta, name: &str, source: CallError) -> Error {
    Error::Write { kind: types.kind.clone(), name: name.to_owned(), source }
}

fn kind(object: &DynamicObject) -> String {
    object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
