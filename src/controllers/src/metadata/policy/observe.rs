//! Reads of the policy controller. All of them, and nothing else.
use std::sync::Arc;

use api::{
    BackupLocation, MetadataBackupPolicy, MetadataBackupRecord,
    names::{self, Work, label},
};
use jiff::Timestamp;
use k8s_openapi::{
    Resource as _,
    api::{
        batch::v1::{CronJob, Job},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{ResourceExt, api::DynamicObject};
use runtime::Error;

use crate::{Context, Settings, nodes::NodeLabels, placement::Place, read};

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
    pub nodes: NodeLabels,
    /// What an administrator decided.
    pub settings: Arc<Settings>,
    /// The moment the reconcile began.
    pub now: Timestamp,
}

impl World {
    /// The conditions that are stored.
    pub fn conditions(&self) -> &[Condition] {
        self.policy.status.as_ref().map_or(&[], |status| status.conditions.as_slice())
    }

    /// The repository where the policy's backups go now, where it is known.
    pub fn pinned(&self) -> Option<&str> {
        self.location.as_ref()?.status.as_ref()?.repository_id.as_deref()
    }

    /// The records of this cluster's backups: another cluster's policy of the same name keeps its own.
    pub fn own_records(&self) -> impl Iterator<Item = &MetadataBackupRecord> {
        let own = Some(&self.settings.cluster_uid);
        let uid = |record: &MetadataBackupRecord| record.status.as_ref()?.cluster_uid.clone();
        self.records.iter().filter(move |record| uid(record).as_ref() == own)
    }

    /// Whether the object is as it was read: who wrote it changed nothing.
    pub fn has_read(&self, object: &DynamicObject) -> bool {
        let state = |metadata: &ObjectMeta| (metadata.uid.clone(), metadata.resource_version.clone());
        let cronjob = self.cronjob.as_ref().map(|cronjob| state(&cronjob.metadata));
        [Some(state(&self.policy.metadata)), cronjob].contains(&Some(state(&object.metadata)))
    }

    /// The same once these are stored; none where one of them has another shape than its kind.
    pub fn having(mut self, stored: &[DynamicObject]) -> Option<Self> {
        for object in stored {
            let kind = object.types.as_ref().map(|types| types.kind.as_str());
            if kind == Some(CronJob::KIND) {
                self.cronjob = Some(object.clone().try_parse().ok()?);
            } else {
                self.policy = object.clone().try_parse().ok()?;
            }
        }
        Some(self)
    }
}

/// Reads the [`World`] of one policy.
pub async fn observe(ctx: &Context, policy: &MetadataBackupPolicy) -> Result<World, Error> {
    let (runtime, name, now) = (&ctx.runtime, policy.name_any(), ctx.runtime.now());
    let label = policy.spec.node_label();
    let may_have_run = ctx.traces.may_be_of(&name);
    let Runs { jobs, pods, records } =
        if may_have_run { runs(runtime, &name).await? } else { Runs::default() };
    Ok(World {
        location: ctx.locations.named(runtime, &policy.spec.destination).await?,
        cronjob: read::one(runtime, "cronjobs", &names::backup_cronjob(&name)).await?,
        backups: of_work(&jobs, Work::Backup),
        forgets: of_work(&jobs, Work::Forget),
        troubles: read::troubles(runtime, (&jobs, &pods), now).await?,
        records,
        nodes: ctx.nodes.labels(runtime, |nodes| Place::beside_etcd(nodes, label).is_some()).await?,
        policy: policy.clone(),
        settings: ctx.settings.clone(),
        pods,
        now,
    })
}

/// What came of a policy.
#[derive(Default)]
struct Runs {
    jobs: Vec<Job>,
    pods: Vec<Pod>,
    records: Vec<MetadataBackupRecord>,
}

/// In this order: a Job that has ended has its pods, and one that is marked its record, in what is read afterwards.
async fn runs(ctx: &runtime::Context, policy: &str) -> Result<Runs, Error> {
    let of_policy = format!("{}={policy}", label::POLICY);
    let jobs = read::all(ctx, "jobs", &of_policy).await?;
    let pods = read::all(ctx, "pods", &of_policy).await?;
    let records = read::records_of(ctx, policy).await?;
    Ok(Runs { jobs, pods, records })
}

fn of_work(jobs: &[Job], work: Work) -> Vec<Job> {
    let is_it = |job: &&Job| job.labels().get(label::TYPE).is_some_and(|value| value == work.label());
    jobs.iter().filter(is_it).cloned().collect()
}
