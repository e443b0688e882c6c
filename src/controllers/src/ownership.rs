//! Who made what: by UID only, since names and labels can be forged.
//!
//! ```text
//! pod ─▶ Job ─▶ CronJob ─▶ policy
//! ```
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kube::{Resource, ResourceExt};

/// Whether `owner` controls `object`.
pub fn controls(owner: &impl Resource, object: &impl Resource) -> bool {
    let uid = owner.meta().uid.as_deref().filter(|uid| !uid.is_empty());
    uid.is_some() && controller_uid(object) == uid
}

/// The pods that really are of a Job.
pub fn pods_of<'a>(job: &Job, pods: &'a [Pod]) -> Vec<&'a Pod> {
    pods.iter().filter(|pod| controls(job, *pod)).collect()
}

/// Whether a Job came from the CronJob of a policy.
pub fn is_run_of(policy: &impl Resource, cronjob: Option<&CronJob>, job: &Job) -> bool {
    cronjob.is_some_and(|cronjob| controls(policy, cronjob) && controls(cronjob, job))
}

/// Name of the object of a kind that controls `object`.
pub fn controller_name(object: &impl Resource, kind: &str) -> Option<String> {
    let owners = object.owner_references().iter();
    let found = owners.filter(|owner| owner.controller == Some(true)).find(|owner| owner.kind == kind);
    found.map(|owner| owner.name.clone())
}

fn controller_uid(object: &impl Resource) -> Option<&str> {
    let owners = object.meta().owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}
