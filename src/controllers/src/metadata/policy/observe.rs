//! Reads of the policy controller. All of them, and nothing else.
use std::sync::Arc;

use api::{
    BackupLocation, MetadataBackupPolicy, MetadataBackupRecord,
    names::{self, Work, label},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::{Event, Pod},
};
use kube::{Api, ResourceExt, api::ListParams};
use runtime::{Error, call};

use crate::{Context, Settings, placement::NodeLabels, read, run};

/// Everything the decision may depend on.
#[derive(Clone, Debug)]
pub struct World {
    /// The policy under reconcile.
    pub policy: MetadataBackupPolicy,
    /// Where its backups go.
    pub location: Option<BackupLocation>,
    /// The CronJob of the name of its CronJob, whoever made it.
    pub cronjob: Option<CronJob>,
    /// Jobs that say they are backups of the policy.
    pub backups: Vec<Job>,
    /// Jobs that say they forget backups of the policy.
    pub forgets: Vec<Job>,
    /// Pods that say they are of either.
    pub pods: Vec<Pod>,
    /// Mounts that fail, by the pods' UIDs, and pods that cannot be made, by the Jobs'.
    pub troubles: Vec<(String, String)>,
    /// Records of the policy, at whatever location.
    pub records: Vec<MetadataBackupRecord>,
    /// Labels of all nodes.
    pub nodes: Vec<NodeLabels>,
    /// What an administrator decided.
    pub settings: Arc<Settings>,
    /// The moment the reconcile began.
    pub now: Timestamp,
}

/// Reads the [`World`] of one policy.
pub async fn observe(ctx: &Context, policy: &MetadataBackupPolicy) -> Result<World, Error> {
    let (runtime, name, now) = (&ctx.runtime, policy.name_any(), ctx.runtime.now());
    let of_policy = format!("{}={name}", label::POLICY);
    let jobs: Vec<Job> = read::all(runtime, "jobs", &of_policy).await?;
    let pods: Vec<Pod> = read::all(runtime, "pods", &of_policy).await?;
    let mut troubles = read::mount_troubles(runtime, &pods, now).await?;
    troubles.extend(refusals(runtime, jobs.iter().filter(|job| run::lacks_a_pod(job, &pods, now))).await?);
    let records: Vec<MetadataBackupRecord> = read::all(runtime, "records", "").await?;
    Ok(World {
        location: read::one(runtime, "locations", &policy.spec.destination).await?,
        cronjob: read::one(runtime, "cronjobs", &names::backup_cronjob(&name)).await?,
        backups: of_work(&jobs, Work::Backup),
        forgets: of_work(&jobs, Work::Forget),
        troubles,
        records: records.into_iter().filter(|record| record.spec.policy == name).collect(),
        nodes: read::nodes(runtime).await?,
        policy: policy.clone(),
        settings: ctx.settings.clone(),
        pods,
        now,
    })
}

/// Why Jobs get no pod, by their UIDs: a quota, an admission or a missing account speaks in
/// events only.
async fn refusals(
    ctx: &runtime::Context,
    jobs: impl Iterator<Item = &Job>,
) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    for uid in jobs.filter_map(ResourceExt::uid) {
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid},reason=FailedCreate"));
        let api = Api::<Event>::namespaced(ctx.client.clone(), &ctx.namespace);
        let events =
            call(api.list(&params)).await.map_err(|source| Error::Read { what: "events", source })?;
        let newest =
            events.items.into_iter().max_by_key(|event| event.last_timestamp.clone().map(|time| time.0));
        found.extend(newest.and_then(|event| event.message).map(|message| (uid, message)));
    }
    Ok(found)
}

fn of_work(jobs: &[Job], work: Work) -> Vec<Job> {
    let is_it = |job: &&Job| job.labels().get(label::TYPE).is_some_and(|value| value == work.label());
    jobs.iter().filter(is_it).cloned().collect()
}
