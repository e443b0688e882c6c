//! Controller of [`BackupLocation`]: makes the repository or attaches it, and pins its id.
//!
//! ```text
//! API server ─▶ observe ─▶ World ─▶ decide ─▶ Plan ─▶ act ─▶ API server
//!                 reads              pure              writes
//! ```
pub mod build;
pub mod decide;
mod look;
pub mod observe;

use std::sync::Arc;

use api::{
    BackupLocation, GROUP, MetadataBackupPolicy, conditions,
    names::{Work, label},
    rbac::Rule,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Resource, ResourceExt,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{WatchStreamExt, reflector::ObjectRef, watcher},
};
use runtime::{Complaint, Done, Error, Wiring, act};

use crate::{Context, metadata::complaint, upstream, watch};

/// Name of the controller, to the API server and in the log.
pub const MANAGER: &str = "kubedr-operator/location";

/// What the controller may do, besides what all Jobs take.
pub const RBAC: &[Rule] = &[
    Rule::in_namespace(&[GROUP], &["backuplocations"], &["get", "list", "patch", "watch"]),
    Rule::in_namespace(&[GROUP], &["backuplocations/status"], &["patch"]),
    Rule::in_namespace(&[GROUP], &["metadatabackuppolicies"], &["list", "watch"]),
];

/// Runs the controller until it is stopped.
pub async fn run(context: Arc<Context>, wiring: Wiring) {
    let (client, namespace) = (&context.runtime.client, &context.runtime.namespace);
    let locations = Api::<DeserializeGuard<BackupLocation>>::namespaced(client.clone(), namespace);
    let own = watcher::Config::default().labels(&format!("{}={}", label::TYPE, Work::Init.label()));
    let pods = Api::<PartialObjectMeta<Pod>>::namespaced(client.clone(), namespace);
    let policies = Api::<DeserializeGuard<MetadataBackupPolicy>>::namespaced(client.clone(), namespace);
    let controller = watch::controller(locations, watcher::Config::default(), watch::all);
    context.known.locations.lend(controller.store());
    let policies = watch::objects(policies, watcher::Config::default()).touched_objects();
    let jobs = Api::<PartialObjectMeta<Job>>::namespaced(client.clone(), namespace);
    let controller = controller
        .owns_stream(watch::objects(jobs, own.clone()).touched_objects())
        .watches_stream(watch::objects(pods, own).touched_objects(), |pod| location_of(&pod))
        .watches_stream(policies, |policy| missed_by(&policy));
    runtime::drive(controller, wiring, context, reconcile).await;
}

/// What the controller says on a location when a look at it fails.
pub const COMPLAINT: Complaint = complaint::<BackupLocation>(conditions::OF_LOCATION);

fn location_of(pod: &impl Resource) -> Option<ObjectRef<DeserializeGuard<BackupLocation>>> {
    let name = pod.labels().get(label::LOCATION)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

/// The location whose repository a policy's newest backup did not find. No other change of a policy matters to one.
fn missed_by(
    policy: &DeserializeGuard<MetadataBackupPolicy>,
) -> Option<ObjectRef<DeserializeGuard<BackupLocation>>> {
    let policy = policy.0.as_ref().ok().filter(|policy| look::has_missed(policy))?;
    Some(ObjectRef::new(&policy.spec.destination).within(&policy.namespace()?))
}

/// Brings one location in line with its bucket.
///
/// A run never asks why it was called: it starts from what the API server says now,
/// so a lost event or a restart changes the timing and nothing else.
pub async fn reconcile(location: Arc<BackupLocation>, ctx: Arc<Context>) -> Result<Done, Error> {
    if let Some(plan) = upstream::leave(&*location) {
        return act(&ctx.runtime, &*location, plan).await;
    }
    let world = observe::observe(&ctx, &location).await?;
    let plan = decide::decide(&world);
    act(&ctx.runtime, &*location, plan).await
}
