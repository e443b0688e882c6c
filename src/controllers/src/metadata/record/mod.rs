//! Controller of [`MetadataBackupRecord`]: makes records from results, and removes those
//! whose backups were forgotten.
//!
//! ```text
//! backup Job ─▶ result ─▶ record, its status ─▶ mark on the Job
//! forget Job ─▶ result ─▶ its records go
//! ```
//!
//! Two loops, one of Jobs and one of records, under one name: together they are the only
//! writer of records.
pub mod build;
pub mod decide;
pub mod observe;

use std::sync::Arc;

use api::{
    GROUP, MetadataBackupRecord, conditions,
    names::{Work, label},
    rbac::Rule,
};
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, core::DeserializeGuard, runtime::watcher};
use runtime::{Complaint, Done, Error, Wiring, act};

use crate::{Context, metadata::complaint, upstream, watch};

/// Name of the controller, to the API server and in the log.
pub const MANAGER: &str = "kubedr-operator/record";

/// What the controller says on a record when a look at it fails.
pub const COMPLAINT: Complaint = complaint::<MetadataBackupRecord>(conditions::OF_RECORD);

/// What the controller may do.
pub const RBAC: &[Rule] = &[
    Rule::in_namespace(
        &[GROUP],
        &["metadatabackuprecords"],
        &["create", "delete", "get", "list", "patch", "watch"],
    ),
    Rule::in_namespace(&[GROUP], &["metadatabackuprecords/status"], &["patch"]),
    Rule::in_namespace(&[GROUP], &["metadatabackuppolicies"], &["get"]),
    Rule::in_namespace(&["batch"], &["cronjobs"], &["get"]),
    // A Job is marked once its record is there.
    Rule::in_namespace(&["batch"], &["jobs"], &["get", "list", "patch", "watch"]),
    Rule::in_namespace(&[""], &["pods"], &["list"]),
];

/// Runs the loop of Jobs until it is stopped.
pub async fn run_jobs(context: Arc<Context>, wiring: Wiring) {
    let (client, namespace) = (&context.runtime.client, &context.runtime.namespace);
    let jobs = Api::<DeserializeGuard<Job>>::namespaced(client.clone(), namespace);
    let (backup, forget) = (Work::Backup.label(), Work::Forget.label());
    let ours = watcher::Config::default().labels(&format!("{} in ({backup},{forget})", label::TYPE));
    let controller = watch::controller(jobs, ours, name_alone);
    runtime::drive(controller, wiring, context, reconcile_job).await;
}

/// Of a Job nobody asks the cache for more.
fn name_alone(job: &mut DeserializeGuard<Job>) {
    if let Ok(job) = &mut job.0 {
        (job.spec, job.status) = (None, None);
    }
}

/// Runs the loop of records until it is stopped.
pub async fn run_records(context: Arc<Context>, wiring: Wiring) {
    let (client, namespace) = (&context.runtime.client, &context.runtime.namespace);
    let records = Api::<DeserializeGuard<MetadataBackupRecord>>::namespaced(client.clone(), namespace);
    let controller = watch::controller(records, watcher::Config::default(), watch::all);
    context.known.records.lend(controller.store());
    runtime::drive(controller, wiring, context, reconcile).await;
}

/// Makes the record of a backup Job, or removes those of a forget Job.
///
/// A run never asks why it was called: it starts from what the API server says now,
/// so a lost event or a restart changes the timing and nothing else.
pub async fn reconcile_job(job: Arc<Job>, ctx: Arc<Context>) -> Result<Done, Error> {
    let Some(world) = observe::observe_job(&ctx, &job).await? else { return Ok(Done::default()) };
    let plan = decide::decide_job(&world)?;
    act(&ctx.runtime, &*job, plan).await
}

/// Completes a record that someone else made, and lets go of upstream's.
pub async fn reconcile(record: Arc<MetadataBackupRecord>, ctx: Arc<Context>) -> Result<Done, Error> {
    if let Some(plan) = upstream::leave(&*record) {
        return act(&ctx.runtime, &*record, plan).await;
    }
    let world = observe::observe(&ctx, &record).await?;
    let plan = decide::decide(&world);
    act(&ctx.runtime, &*record, plan).await
}
