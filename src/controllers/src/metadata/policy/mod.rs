//! Controller of [`MetadataBackupPolicy`]: a CronJob that makes backups, what came of
//! them, and which of them go.
//!
//! ```text
//! API server ─▶ observe ─▶ World ─▶ decide ─▶ Plan ─▶ act ─▶ API server
//!                 reads              │ │ writes
//!                        history ◀───┘ └──▶ retention
//!                           └─▶ tally: what metrics count
//! ```
pub mod build;
pub mod decide;
pub mod history;
pub mod lineage;
pub mod locations;
pub mod observe;
pub mod retention;
pub mod shrink;
pub mod slots;
pub mod status;
pub mod tally;
pub mod told;
pub mod traces;

use std::{future::ready, sync::Arc, time::Duration};

use api::{
    BackupLocation, GROUP, MetadataBackupPolicy, MetadataBackupRecord, conditions, names::label, rbac::Rule,
};
use futures::{Stream, TryStreamExt};
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kube::{
    Api, Resource, ResourceExt,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        Controller, WatchStreamExt,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use runtime::{Complaint, Done, Error, Plan, Wiring, act};

use self::observe::World;
use crate::{Context, metadata::complaint, nodes, upstream, watch};

/// Name of the controller, to the API server and in the log.
pub const MANAGER: &str = "kubedr-operator/policy";

/// What the controller says on a policy when a look at it fails.
pub const COMPLAINT: Complaint = complaint::<MetadataBackupPolicy>(conditions::OF_POLICY);

/// What the controller may do, besides what all Jobs take.
pub const RBAC: &[Rule] = &[
    Rule::in_namespace(&[GROUP], &["metadatabackuppolicies"], &["get", "list", "patch", "watch"]),
    Rule::in_namespace(&[GROUP], &["metadatabackuppolicies/status"], &["patch"]),
    Rule::in_namespace(&[GROUP], &["backuplocations", "metadatabackuprecords"], &["get", "list", "watch"]),
    Rule::in_namespace(&["batch"], &["cronjobs"], &["create", "delete", "get", "list", "patch", "watch"]),
];

type Guarded = DeserializeGuard<MetadataBackupPolicy>;

/// Runs the controller until it is stopped.
pub async fn run(context: Arc<Context>, wiring: Wiring) {
    let (client, namespace) = (&context.runtime.client, &context.runtime.namespace);
    let policies = Api::<Guarded>::namespaced(client.clone(), namespace);
    let jobs = Api::<PartialObjectMeta<Job>>::namespaced(client.clone(), namespace);
    let pods = Api::<PartialObjectMeta<Pod>>::namespaced(client.clone(), namespace);
    let records = Api::<DeserializeGuard<MetadataBackupRecord>>::namespaced(client.clone(), namespace);
    let locations = Api::<DeserializeGuard<BackupLocation>>::namespaced(client.clone(), namespace);
    let of_a_policy = watcher::Config::default().labels(label::POLICY);
    let policies = watch::held(watch::objects(policies, watcher::Config::default()));
    let (known, changed) = watch::kept(policies, watch::all);
    let jobs = context.traces.jobs.clone().follow(watch::objects(jobs, of_a_policy.clone()), label_of);
    let records =
        context.traces.records.clone().follow(watch::objects(records, watcher::Config::default()), named_by);
    context.known.policies.lend(known.clone());
    let cronjobs = Api::<PartialObjectMeta<CronJob>>::namespaced(client.clone(), namespace);
    let cronjobs = watch::held(watch::objects(cronjobs, of_a_policy.clone())).touched_objects();
    let told = context.clone();
    let controller = Controller::for_stream(news(changed, context.clone()), known.clone())
        .owns_stream(news(cronjobs, context.clone()))
        .watches_stream(jobs, |job| labelled(&job))
        .watches_stream(watch::objects(pods, of_a_policy).touched_objects(), |pod| labelled(&pod))
        .watches_stream(records, |record| policy_of(&record))
        .watches(locations, watcher::Config::default(), move |location| {
            told.locations.changed();
            users_of(&known, &location)
        })
        .reconcile_all_on(nodes::changes(context.clone()));
    runtime::drive(controller, wiring, context, reconcile).await;
}

/// What a watch brings but what a look wrote: it has judged the answer, or failed and comes again.
fn news<K: Resource>(
    objects: impl Stream<Item = watcher::Result<K>>,
    context: Arc<Context>,
) -> impl Stream<Item = watcher::Result<K>> {
    objects.try_filter(move |object| ready(!context.runtime.echoes.is_one(object)))
}

fn label_of(object: &impl Resource) -> Option<&str> {
    object.labels().get(label::POLICY).map(String::as_str)
}

fn labelled(object: &impl Resource) -> Option<ObjectRef<Guarded>> {
    let name = label_of(object)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

fn named_by(record: &DeserializeGuard<MetadataBackupRecord>) -> Option<&str> {
    Some(&record.0.as_ref().ok()?.spec.policy)
}

fn policy_of(record: &DeserializeGuard<MetadataBackupRecord>) -> Option<ObjectRef<Guarded>> {
    let name = named_by(record)?;
    Some(ObjectRef::new(name).within(&record.namespace()?))
}

fn users_of(known: &Store<Guarded>, location: &impl Resource) -> Vec<ObjectRef<Guarded>> {
    let destination = location.name_any();
    let uses =
        |policy: &Guarded| policy.0.as_ref().is_ok_and(|policy| policy.spec.destination == destination);
    known
        .state()
        .into_iter()
        .filter(|policy| uses(policy))
        .map(|policy| ObjectRef::from_obj(&*policy))
        .collect()
}

/// Brings one policy's CronJob, status and backups in line with its spec.
///
/// A run never asks why it was called: it starts from what the API server says now,
/// so a lost event or a restart changes the timing and nothing else.
pub async fn reconcile(policy: Arc<MetadataBackupPolicy>, ctx: Arc<Context>) -> Result<Done, Error> {
    if let Some(plan) = upstream::leave(&*policy) {
        return act(&ctx.runtime, &*policy, plan).await;
    }
    let world = observe::observe(&ctx, &policy).await?;
    let plan = decide::decide(&world);
    let done = act(&ctx.runtime, &*policy, plan).await;
    if may_be_told(&done) {
        ctx.known.count(&world);
    }
    Ok(settled(World { now: ctx.runtime.now(), ..world }, done?))
}

/// Judges what the API server answered as if it had been read: of what was written the watches bring nothing new.
fn settled(world: World, done: Done) -> Done {
    if done.stored.iter().all(|object| world.has_read(object)) {
        return done;
    }
    let judged = world.having(&done.stored).filter(|world| upstream::leave(&world.policy).is_none());
    let left = judged.map(|world| decide::decide(&world));
    let again = left.filter(Plan::writes_nothing).map_or(Some(Duration::ZERO), |left| left.again);
    Done { again, ..done }
}

/// Whether the status tells of what there was to see: what it does not tell of another leader would count again.
///
/// Where the API server refuses an object it tells all the same, and may do so for days.
fn may_be_told(done: &Result<Done, Error>) -> bool {
    done.as_ref().err().is_none_or(Error::is_refusal)
}

#[cfg(test)]
mod tests;
