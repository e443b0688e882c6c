//! Manifests of the policy controller. Pure and infallible.
mod forget;

use std::collections::BTreeMap;

use api::{
    BackupLocation, ExtraHostPath, HostPathType, MetadataBackupPolicy,
    names::{self, Work},
};
use k8s_openapi::{
    api::{
        batch::v1::{
            CronJob, CronJobSpec, Job, JobSpec, JobTemplateSpec, PodFailurePolicy,
            PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
            PodFailurePolicyRule,
        },
        core::v1::{EnvVar, HostPathVolumeSource, PodSpec, Volume, VolumeMount},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt};
use model::{Schedule, SnapshotId, environment, result::Failure};
use runtime::fingerprint;

pub use forget::{forget_job, forget_job_name};

use crate::{
    Settings,
    agent_pod::{AgentPod, CONTAINER, FINAL, Needs, from_pod, read_only, secret, variable},
    marks,
    nodes::NodeLabels,
    placement::Place,
};

/// Volume of the Secret with etcd's client certificate.
const ETCD_CREDENTIALS: &str = "etcd-creds";
/// Volume of `certsDir`.
const CERTIFICATES: &str = "certificates";
/// Volumes of `extraHostPaths`; their index follows.
const EXTRA: &str = "host-";
/// What an agent may find wrong in the spec of the location.
const FIELDS_OF_LOCATION: [&str; 5] =
    ["spec.bucketName", "spec.caBundle", "spec.credentials", "spec.region", "spec.url"];
/// How late a run may start: a slot that the controller-manager missed for longer is lost.
const START_DEADLINE: i64 = 600;
/// Jobs that stay, so that a result is not tidied away before it was seen.
const HISTORY: i32 = 10;
/// Pods that one run may take.
const RETRIES: i32 = 2;
/// Tells the CronJob controller that a person asked.
pub const MANUAL: (&str, &str) = ("cronjob.kubernetes.io/instantiate", "manual");

/// What a policy's backups are made of.
pub struct Way<'a> {
    /// The policy.
    pub policy: &'a MetadataBackupPolicy,
    /// Where they go.
    pub location: &'a BackupLocation,
    /// Where they run.
    pub place: Place,
    /// What an administrator decided.
    pub settings: &'a Settings,
    /// The snapshot of the backup whose shrinking a person accepted.
    pub accepted_shrink: Option<SnapshotId>,
}

/// The CronJob that makes the policy's backups.
pub fn cronjob(way: &Way) -> CronJob {
    let policy = way.policy;
    let name = policy.name_any();
    let labels = names::policy_labels(Work::Backup, &name);
    let spec = CronJobSpec {
        schedule: policy.spec.schedule.clone(),
        time_zone: policy.spec.time_zone().map(str::to_owned),
        suspend: Some(policy.spec.suspend),
        concurrency_policy: Some("Forbid".to_owned()),
        starting_deadline_seconds: Some(start_deadline(policy)),
        successful_jobs_history_limit: Some(HISTORY),
        failed_jobs_history_limit: Some(HISTORY),
        job_template: template(backup(way), &labels),
    };
    CronJob {
        metadata: ObjectMeta {
            name: Some(names::backup_cronjob(&name)),
            namespace: policy.namespace(),
            labels: Some(labels),
            owner_references: policy.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// How late a run may start. What is due every so often is due from no earlier than that deadline on, and so would
/// never be if its period were longer.
fn start_deadline(policy: &MetadataBackupPolicy) -> i64 {
    let schedule = Schedule::parse(&policy.spec.schedule, None).ok();
    let period = schedule.and_then(|schedule| schedule.period()).map_or(0, |period| period.as_secs());
    START_DEADLINE.saturating_add(period)
}

/// What each Job of the CronJob is made of, and the mark that tells the Jobs of one spec from those
/// of another.
fn template(spec: JobSpec, labels: &BTreeMap<String, String>) -> JobTemplateSpec {
    let metadata = ObjectMeta {
        annotations: Some([(marks::MADE_FOR.to_owned(), fingerprint(&spec))].into()),
        labels: Some(labels.clone()),
        ..ObjectMeta::default()
    };
    JobTemplateSpec { metadata: Some(metadata), spec: Some(spec) }
}

/// Whether a Job was made of what its CronJob is made of now.
pub fn is_up_to_date(cronjob: &CronJob, job: &Job) -> bool {
    let made_for = |object: &ObjectMeta| object.annotations.as_ref()?.get(marks::MADE_FOR).cloned();
    let template = cronjob.spec.as_ref().and_then(|spec| spec.job_template.metadata.as_ref());
    template.and_then(made_for) == made_for(&job.metadata)
}

/// A stored CronJob as it can be applied again: suspended, and else as it was.
pub fn suspended(stored: &CronJob) -> CronJob {
    let ObjectMeta { name, namespace, labels, owner_references, .. } = stored.metadata.clone();
    let spec = stored.spec.clone().map(|spec| CronJobSpec { suspend: Some(true), ..spec });
    CronJob {
        metadata: ObjectMeta { name, namespace, labels, owner_references, ..ObjectMeta::default() },
        spec,
        status: None,
    }
}

/// Whether a CronJob was made by upstream's operator: applying ours would leave its container
/// beside ours. Other containers are no sign of it, since admission may inject some.
pub fn is_upstreams(policy: &MetadataBackupPolicy, cronjob: &CronJob) -> bool {
    let upstreams = format!("{}-kcx-backup", policy.name_any());
    let containers = pod_of(cronjob).map(|pod| pod.containers.as_slice()).unwrap_or_default();
    containers.iter().any(|container| container.name == upstreams)
}

/// The paths of the node that a CronJob's pods are shown.
pub fn host_paths(cronjob: &CronJob) -> impl Iterator<Item = &str> {
    let volumes = pod_of(cronjob).and_then(|pod| pod.volumes.as_deref()).unwrap_or_default();
    volumes.iter().filter_map(|volume| Some(volume.host_path.as_ref()?.path.as_str()))
}

fn pod_of(cronjob: &CronJob) -> Option<&PodSpec> {
    cronjob.spec.as_ref()?.job_template.spec.as_ref()?.template.spec.as_ref()
}

/// Where the policy's backups run; none where no node carries a label that says that etcd is there.
pub fn place(policy: &MetadataBackupPolicy, location: &BackupLocation, nodes: &NodeLabels) -> Option<Place> {
    let endpoints = policy.spec.etcd_endpoints();
    let servers = endpoints.iter().map(String::as_str).chain([location.spec.url.as_str()]);
    Some(Place::beside_etcd(nodes, policy.spec.node_label())?.reaching(servers))
}

fn backup(way: &Way) -> JobSpec {
    let Way { policy, location, place, settings, .. } = way;
    let deadline = policy.spec.deadline_seconds;
    let pod = AgentPod {
        settings,
        work: Work::Backup,
        location,
        credentials: &location.spec.credentials,
        place,
        deadline,
        needs: needs(way),
    };
    JobSpec {
        active_deadline_seconds: Some(deadline),
        backoff_limit: Some(RETRIES),
        pod_failure_policy: Some(failure_policy()),
        template: pod.template(names::policy_labels(Work::Backup, &policy.name_any())),
        ..JobSpec::default()
    }
}

/// What is final fails the run at once; what the cluster did to the pod does not count as a try.
fn failure_policy() -> PodFailurePolicy {
    let disrupted = PodFailurePolicyOnPodConditionsPattern {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
    };
    let ended_for_good = PodFailurePolicyOnExitCodesRequirement {
        container_name: Some(CONTAINER.to_owned()),
        operator: "In".to_owned(),
        values: FINAL.collect(),
    };
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_pod_conditions: Some(vec![disrupted]),
                on_exit_codes: None,
            },
            PodFailurePolicyRule {
                action: "FailJob".to_owned(),
                on_exit_codes: Some(ended_for_good),
                on_pod_conditions: None,
            },
        ],
    }
}

/// Where Kubernetes tells a pod which Job it is of.
const JOB_UID_LABEL: &str = "metadata.labels['batch.kubernetes.io/controller-uid']";

fn needs(Way { policy, accepted_shrink, .. }: &Way) -> Needs {
    let spec = &policy.spec;
    let extra: Vec<&str> = spec.extra_host_paths.iter().map(trimmed).collect();
    let mut environment = of_policy(policy);
    environment.push(from_pod(environment::JOB_UID, JOB_UID_LABEL));
    environment.push(variable(environment::ETCD_ENDPOINTS, json(&spec.etcd_endpoints())));
    environment.push(variable(environment::ETCD_CREDENTIALS_SECRET, spec.etcd_credentials()));
    environment.extend(spec.certs_dir().map(|path| variable(environment::CERTS_DIR, path)));
    if !extra.is_empty() {
        environment.push(variable(environment::EXTRA_HOST_PATHS, json(&extra)));
    }
    environment.extend(spec.max_rate.map(|rate| variable(environment::MAX_RATE, rate.to_string())));
    environment.push(variable(environment::SHRINK_GUARD, spec.shrink_guard.to_string()));
    let accepted =
        accepted_shrink.iter().map(|snapshot| variable(environment::ACCEPT_SHRINK, snapshot.as_str()));
    environment.extend(accepted);

    let mut volumes = vec![secret(ETCD_CREDENTIALS, spec.etcd_credentials())];
    let mut mounts = vec![read_only(ETCD_CREDENTIALS, environment::ETCD_CREDENTIALS_MOUNT)];
    if let Some(path) = spec.certs_dir() {
        mounts.push(read_only(CERTIFICATES, environment::CERTIFICATES_MOUNT));
        volumes.push(host_path(CERTIFICATES.to_owned(), path, HostPathType::Directory));
    }
    for (index, extra) in spec.extra_host_paths.iter().enumerate() {
        let (mount, volume) = extra_host_path(index, extra);
        mounts.push(mount);
        volumes.push(volume);
    }
    Needs { environment, volumes, mounts }
}

fn of_policy(policy: &MetadataBackupPolicy) -> Vec<EnvVar> {
    vec![
        variable(environment::POLICY_NAME, policy.name_any()),
        variable(environment::POLICY_NAMESPACE, policy.namespace().unwrap_or_default()),
    ]
}

fn extra_host_path(index: usize, extra: &ExtraHostPath) -> (VolumeMount, Volume) {
    let (name, path) = (format!("{EXTRA}{index}"), trimmed(extra));
    let mount = read_only(&name, format!("{}{path}", environment::HOST_MOUNT));
    (mount, host_path(name, path, extra.kind))
}

/// The failure of a pod, with the field that it is about as a reader of the policy must know it.
///
/// The kubelet names a volume: `MountVolume.SetUp failed for volume "certificates" : …`; the agent a
/// field, but not of which object.
pub fn located(policy: &MetadataBackupPolicy, failure: Failure) -> Failure {
    let volume = failure.message.split_once("for volume \"").and_then(|(_, rest)| rest.split_once('"'));
    let of_volume = volume.and_then(|(volume, _)| field(volume));
    let named = failure.field.map(|field| {
        let is_of_location = FIELDS_OF_LOCATION.contains(&field.as_str());
        if is_of_location { format!("BackupLocation {:?} {field}", policy.spec.destination) } else { field }
    });
    Failure { field: named.or(of_volume), ..failure }
}

fn field(volume: &str) -> Option<String> {
    match volume {
        ETCD_CREDENTIALS => Some("spec.etcdCreds".to_owned()),
        CERTIFICATES => Some("spec.certsDir".to_owned()),
        _ => volume.strip_prefix(EXTRA).map(|index| format!("spec.extraHostPaths[{index}].path")),
    }
}

fn trimmed(extra: &ExtraHostPath) -> &str {
    extra.path.trim_end_matches('/')
}

fn host_path(name: String, path: &str, kind: HostPathType) -> Volume {
    let kind = match kind {
        HostPathType::Directory => "Directory",
        HostPathType::File => "File",
    };
    let source = HostPathVolumeSource { path: path.to_owned(), type_: Some(kind.to_owned()) };
    Volume { name, host_path: Some(source), ..Volume::default() }
}

fn json(list: &[impl serde::Serialize]) -> String {
    serde_json::to_string(list).expect("lists of text serialise")
}

/// Name of the Job that answers a `run-now`: the same tag always has the same.
pub fn manual_job_name(policy: &MetadataBackupPolicy, tag: &str) -> String {
    names::location_job(&policy.name_any(), Work::Backup, tag)
}

/// Name of the Job that takes the place of another one: the same one's always has the same.
fn replacement_name(policy: &MetadataBackupPolicy, replaced: &Job) -> String {
    let what = format!("instead of {}", replaced.uid().unwrap_or_default());
    names::location_job(&policy.name_any(), Work::Backup, &what)
}

/// Whether a person asked for a Job.
pub fn is_manual(job: &Job) -> bool {
    job.annotations().get(MANUAL.0).is_some_and(|value| value == MANUAL.1)
}

/// The Job that a person asked for: as the CronJob would make it.
pub fn manual_job(name: String, (built, stored): (&CronJob, &CronJob)) -> Job {
    let mut job = extra_job(name, (built, stored));
    job.annotations_mut().insert(MANUAL.0.to_owned(), MANUAL.1.to_owned());
    job
}

/// The Job that takes the place of one that cannot begin.
pub fn replacement(policy: &MetadataBackupPolicy, replaced: &Job, cronjobs: (&CronJob, &CronJob)) -> Job {
    let name = replacement_name(policy, replaced);
    if is_manual(replaced) { manual_job(name, cronjobs) } else { extra_job(name, cronjobs) }
}

/// A Job besides those of the schedule: as the CronJob that is built would make it, and of the one
/// that is stored.
fn extra_job(name: String, (built, stored): (&CronJob, &CronJob)) -> Job {
    let template = built.spec.as_ref().map(|spec| spec.job_template.clone()).unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: built.namespace(),
            owner_references: stored.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..metadata
        },
        spec: template.spec,
        status: None,
    }
}
