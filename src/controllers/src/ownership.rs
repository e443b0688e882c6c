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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{job, object, policy};

    fn owner(kind: &str, uid: &str, controller: bool) -> Value {
        json!({ "apiVersion": "v1", "kind": kind, "name": "j", "uid": uid, "controller": controller })
    }

    fn pod(owners: &Value) -> Pod {
        object(
            json!({ "metadata": { "name": "p", "labels": { "job-name": "j" }, "ownerReferences": owners } }),
        )
    }

    #[rstest]
    #[case::its_job(&json!([owner("Job", "j-uid", true)]), true)]
    #[case::its_job_behind_another_owner(&json!([owner("Job", "x", false), owner("Job", "j-uid", true)]), true)]
    #[case::nothing_but_its_labels(&json!([]), false)]
    #[case::a_job_of_that_name_that_is_gone(&json!([owner("Job", "old-uid", true)]), false)]
    #[case::the_name_for_the_uid(&json!([owner("Job", "j", true)]), false)]
    #[case::an_owner_that_does_not_control_it(&json!([owner("Job", "j-uid", false)]), false)]
    #[case::another_that_controls_it(&json!([owner("Job", "j-uid", false), owner("Job", "x", true)]), false)]
    #[case::an_owner_without_a_uid(&json!([owner("Job", "", true)]), false)]
    fn a_pod_is_of_a_job_by(#[case] owners: &Value, #[case] is_its: bool) {
        let job = job("j", "CronJob", &policy(), None);
        assert_eq!(pods_of(&job, &[pod(owners)]).len(), usize::from(is_its));
    }

    #[rstest]
    #[case::unknown(None)]
    #[case::empty(Some(""))]
    fn a_job_whose_uid_is_not_known_has_no_pods(#[case] uid: Option<&str>) {
        let mut job = job("j", "CronJob", &policy(), None);
        job.metadata.uid = uid.map(str::to_owned);
        assert!(pods_of(&job, &[pod(&json!([owner("Job", "", true)]))]).is_empty());
    }

    fn cronjob(uid: &str, of: &str) -> CronJob {
        let owners = json!([owner("MetadataBackupPolicy", of, true)]);
        object(json!({ "metadata": { "name": "c", "uid": uid, "ownerReferences": owners } }))
    }

    #[rstest]
    #[case::the_policys_cronjob(Some(cronjob("c-uid", "policy-uid")), true)]
    #[case::a_cronjob_of_that_name_that_is_gone(Some(cronjob("other-uid", "policy-uid")), false)]
    #[case::a_cronjob_of_another_policy(Some(cronjob("c-uid", "other-uid")), false)]
    #[case::a_cronjob_that_is_gone(None, false)]
    fn a_job_is_a_run_that_came_from(#[case] found: Option<CronJob>, #[case] is_run: bool) {
        let job = job("j", "CronJob", &cronjob("c-uid", "policy-uid"), None);
        assert_eq!(is_run_of(&policy(), found.as_ref(), &job), is_run);
    }
}
