//! The Job that removes backups.
use std::collections::BTreeMap;

use api::{
    BackupLocation, MetadataBackupPolicy,
    names::{self, Work, label},
};
use k8s_openapi::{
    api::batch::v1::{Job, JobSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt};
use model::environment::{self, ForgetList};

use super::of_policy;
use crate::{
    Settings,
    agent_pod::{AgentPod, Needs, variable},
    nodes::NodeLabels,
    placement::Place,
};

/// Seconds that forgetting may take, waiting for locks included.
const FORGET_DEADLINE: i64 = 600;
/// Seconds that a finished forget Job stays to be looked at.
const FORGET_STAYS: i32 = 3600;

/// The Job that removes some backups from the repository.
pub fn forget_job(
    policy: &MetadataBackupPolicy,
    location: &BackupLocation,
    list: &ForgetList,
    (settings, nodes): (&Settings, &NodeLabels),
) -> Job {
    let labels = forget_labels(policy, location);
    let place = Place::by_default(nodes).reaching([location.spec.url.as_str()]);
    let mut environment = of_policy(policy);
    environment.push(variable(environment::FORGET, told(list)));
    let pod = AgentPod {
        settings,
        work: Work::Forget,
        location,
        credentials: location.spec.deleting_credentials(),
        place: &place,
        deadline: FORGET_DEADLINE,
        needs: Needs { environment, ..Needs::default() },
    };
    Job {
        metadata: ObjectMeta {
            name: Some(forget_job_name(policy, location, list)),
            namespace: policy.namespace(),
            labels: Some(labels.clone()),
            owner_references: policy.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            active_deadline_seconds: Some(FORGET_DEADLINE),
            backoff_limit: Some(0),
            ttl_seconds_after_finished: Some(FORGET_STAYS),
            template: pod.template(labels),
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// Name of the Job that forgets these backups of this policy while those stay: another list
/// is another Job, or the survivors of an older one would be looked for.
pub fn forget_job_name(
    policy: &MetadataBackupPolicy,
    location: &BackupLocation,
    list: &ForgetList,
) -> String {
    let what = format!("{} {}", policy.uid().unwrap_or_default(), told(list));
    names::location_job(&location.name_any(), Work::Forget, &what)
}

fn told(list: &ForgetList) -> String {
    serde_json::to_string(list).expect("ids serialise")
}

fn forget_labels(policy: &MetadataBackupPolicy, location: &BackupLocation) -> BTreeMap<String, String> {
    let mut labels = names::location_labels(Work::Forget, &location.name_any());
    labels.insert(label::POLICY.to_owned(), policy.name_any());
    labels
}
