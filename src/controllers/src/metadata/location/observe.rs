//! Reads of the location controller. All of them, and nothing else.
use std::sync::Arc;

use api::{
    BackupLocation, MetadataBackupPolicy,
    names::{self, Work, label},
};
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt;
use runtime::Error;

use super::look;
use crate::{Context, Settings, nodes::NodeLabels, placement::Place, read};

/// Everything the decision may depend on.
#[derive(Clone, Debug)]
pub struct World {
    /// The location under reconcile.
    pub location: BackupLocation,
    /// Policies whose backup did not find their repository: one of this location asks for another look.
    pub policies: Vec<MetadataBackupPolicy>,
    /// The Job of the name of its init Job, whoever made it.
    pub job: Option<Job>,
    /// Pods that say they are of its init Job.
    pub pods: Vec<Pod>,
    /// Mounts that fail, by the pods' UIDs, and a pod that cannot be made, by the Job's.
    pub troubles: Vec<(String, String)>,
    /// Labels of all nodes.
    pub nodes: NodeLabels,
    /// What an administrator decided.
    pub settings: Arc<Settings>,
    /// The moment the reconcile began.
    pub now: Timestamp,
}

/// Reads the [`World`] of one location.
pub async fn observe(ctx: &Context, location: &BackupLocation) -> Result<World, Error> {
    let (runtime, name, now) = (&ctx.runtime, location.name_any(), ctx.runtime.now());
    let labels = format!("{}={},{}={name}", label::TYPE, Work::Init.label(), label::LOCATION);
    let pods: Vec<Pod> = read::all(runtime, "pods", &labels).await?;
    let job: Option<Job> = read::one(runtime, "jobs", &names::init_job(&name)).await?;
    Ok(World {
        policies: read::few(runtime, "policies", look::has_missed).await?,
        troubles: read::troubles(runtime, (job.as_slice(), &pods), now).await?,
        job,
        nodes: ctx.nodes.labels(runtime, |nodes| Place::beside_etcd(nodes, None).is_some()).await?,
        location: location.clone(),
        settings: ctx.settings.clone(),
        pods,
        now,
    })
}
