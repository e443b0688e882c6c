//! Manifests of the location controller. Pure and infallible.
use api::{
    BackupLocation,
    names::{self, Work, annotation},
};
use k8s_openapi::{
    api::batch::v1::{Job, JobSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt};
use model::environment;

use crate::{
    Settings,
    agent_pod::{AgentPod, Needs, variable},
    marks,
    nodes::NodeLabels,
    placement::Place,
};

/// Seconds that one try may take: a dead server is noticed long before.
const DEADLINE: i64 = 600;

/// The Job that makes or attaches the repository.
pub fn init_job(location: &BackupLocation, settings: &Settings, nodes: &NodeLabels) -> Job {
    let name = location.name_any();
    let labels = names::location_labels(Work::Init, &name);
    let place = Place::by_default(nodes).reaching([location.spec.url.as_str()]);
    let pod = AgentPod {
        settings,
        work: Work::Init,
        location,
        credentials: &location.spec.credentials,
        place: &place,
        deadline: DEADLINE,
        needs: Needs { environment: replacement(location).into_iter().collect(), ..Needs::default() },
    };
    Job {
        metadata: ObjectMeta {
            name: Some(names::init_job(&name)),
            namespace: location.namespace(),
            labels: Some(labels.clone()),
            annotations: Some(
                [
                    (marks::MADE_FOR.to_owned(), made_for(location)),
                    (marks::IMAGE.to_owned(), settings.agent_image.clone()),
                ]
                .into(),
            ),
            owner_references: location.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            active_deadline_seconds: Some(DEADLINE),
            // The pause between tries is ours: it must not grow beyond five minutes.
            backoff_limit: Some(0),
            template: pod.template(labels),
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// What a Job must have been made for to be of use: the spec, and a replacement that is allowed.
pub fn made_for(location: &BackupLocation) -> String {
    let generation = location.metadata.generation.unwrap_or_default();
    match allowed_replacement(location) {
        Some(id) => format!("{generation} {id}"),
        None => generation.to_string(),
    }
}

/// Whether a Job was made for another image than the administrator wants now. Its template may name
/// a third one: admission rewrites images.
pub fn is_of_another_image(job: &Job, settings: &Settings) -> bool {
    job.annotations().get(marks::IMAGE).is_some_and(|image| *image != settings.agent_image)
}

/// The pinned id, where an administrator allowed that it is replaced.
pub fn allowed_replacement(location: &BackupLocation) -> Option<&str> {
    let pinned = location.status.as_ref()?.repository_id.as_deref()?;
    location.annotations().get(annotation::REPLACE_REPOSITORY).map(String::as_str).filter(|id| *id == pinned)
}

fn replacement(location: &BackupLocation) -> Option<k8s_openapi::api::core::v1::EnvVar> {
    allowed_replacement(location).map(|id| variable(environment::REPLACE_REPOSITORY, id))
}
