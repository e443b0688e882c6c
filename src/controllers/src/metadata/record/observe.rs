//! Reads of the record controller. All of them, and nothing else.
use api::{
    MetadataBackupPolicy, MetadataBackupRecord,
    names::{self, Work, label},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kube::{Resource, ResourceExt};
use runtime::Error;

use crate::{
    Context, marks,
    ownership::controller_name,
    read,
    run::{self, Ended, Run},
};

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
    /// Records that it may have to do with: those that have a name which its backup's may have, or those of the policy
    /// whose backups it forgets.
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
    let pods: Vec<Pod> = read::all(runtime, "pods", &pods).await?;
    let records = match work {
        Work::Forget => read::records_of(runtime, name).await?,
        _ => namesakes(runtime, (job, &pods)).await?,
    };
    Ok(Some(JobWorld { job: job.clone(), work, policy, cronjob, pods, records, now: runtime.now() }))
}

/// Records of the names that a backup's may have, whoever's they are; none where there is no backup yet.
async fn namesakes(
    ctx: &runtime::Context,
    (job, pods): (&Job, &[Pod]),
) -> Result<Vec<MetadataBackupRecord>, Error> {
    let mut found = Vec::new();
    if let Run::Ended(Ended { outcome: Ok(backup), .. }) = run::judge_backup(job, (pods, &[]), ctx.now()) {
        for name in names::records(&backup.snapshot_id) {
            found.extend(read::one(ctx, "records", &name).await?);
        }
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{
        answering, backed_up, backup_job, context, cronjob, ended_pod, failure, policy, record, refusal,
    };

    /// A namespace with the policy, its CronJob, this pod and two records; nobody may list records.
    fn answer(asked: &str, pod: &Pod) -> (u16, Value) {
        let path = asked.split('?').next().unwrap_or_default();
        match path.rsplit('/').next().unwrap_or_default() {
            "test-backup" => (200, json!(policy())),
            "test-backup-backup-cronjob" => (200, json!(cronjob())),
            "pods" => (200, json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [pod] })),
            "metadatabackuprecords" => refusal(403, "Forbidden"),
            "mbr-11111111" => (200, json!(record('1', 1))),
            "mbr-22222222" => (200, json!(record('2', 2))),
            _ => refusal(404, "NotFound"),
        }
    }

    #[rstest]
    #[case::of_its_own_names("Succeeded", backed_up('1', 'b'), &["mbr-11111111"])]
    #[case::of_none_where_it_failed("Failed", failure("backup", model::Reason::WrongPassword), &[])]
    #[tokio::test]
    async fn a_backup_looks_at_records(#[case] phase: &str, #[case] left: String, #[case] names: &[&str]) {
        let job = backup_job(if phase == "Succeeded" { "Complete" } else { "Failed" });
        let pod = ended_pod(&job, phase, (0, &left));
        let ctx = context(answering(move |asked| answer(asked, &pod)));
        let world = observe_job(&ctx, &job).await.expect("readable").expect("a world");
        assert_eq!(world.records.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), names);
    }
}
