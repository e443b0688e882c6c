//! Reads of the record controller. All of them, and nothing else.
use api::{
    MetadataBackupPolicy, MetadataBackupRecord,
    names::{Work, label},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kube::{Resource, ResourceExt};
use runtime::Error;

use crate::{Context, marks, ownership::controller_name, read};

/// Everything that the decision on a Job may depend on.
#[derive(Clone, Debug)]
pub struct JobWorld {
    /// The Job under reconcile.
    pub job: Job,
    /// What it says that it is.
    pub work: Work,
    /// The policy that it names, by label.
    pub policy: MetadataBackupPolicy,
    /// The CronJob that it names as its owner.
    pub cronjob: Option<CronJob>,
    /// Pods that say they are of it.
    pub pods: Vec<Pod>,
    /// All records.
    pub records: Vec<MetadataBackupRecord>,
    /// The moment the reconcile began.
    pub now: Timestamp,
}

/// Everything that the decision on a record may depend on.
#[derive(Clone, Debug)]
pub struct World {
    /// The record under reconcile.
    pub record: MetadataBackupRecord,
    /// The policy that it names.
    pub policy: Option<MetadataBackupPolicy>,
    /// The moment the reconcile began.
    pub now: Timestamp,
}

/// Reads the [`JobWorld`] of one Job; nothing where there is no more to do with it.
pub async fn observe_job(ctx: &Context, job: &Job) -> Result<Option<JobWorld>, Error> {
    let is_done = job.annotations().contains_key(marks::RECORD) || job.meta().deletion_timestamp.is_some();
    let (Some(work), false) = (work(job), is_done) else { return Ok(None) };
    let Some(name) = job.labels().get(label::POLICY) else { return Ok(None) };
    let runtime = &ctx.runtime;
    let Some(policy) = read::one(runtime, "policies", name).await? else { return Ok(None) };
    let cronjob = match controller_name(job, "CronJob") {
        Some(name) => read::one(runtime, "cronjobs", &name).await?,
        None => None,
    };
    let pods = format!("{}={},{}={name}", label::TYPE, work.label(), label::POLICY);
    Ok(Some(JobWorld {
        job: job.clone(),
        work,
        policy,
        cronjob,
        pods: read::all(runtime, "pods", &pods).await?,
        records: read::all(runtime, "records", "").await?,
        now: runtime.now(),
    }))
}

fn work(job: &Job) -> Option<Work> {
    let value = job.labels().get(label::TYPE)?;
    [Work::Backup, Work::Forget].into_iter().find(|work| work.label() == value)
}

/// Reads the [`World`] of one record.
pub async fn observe(ctx: &Context, record: &MetadataBackupRecord) -> Result<World, Error> {
    let policy = read::one(&ctx.runtime, "policies", &record.spec.policy).await?;
    Ok(World { record: record.clone(), policy, now: ctx.runtime.now() })
}
