//! Objects that tests are told with: the seed's location and policy, their Jobs and pods.
use std::sync::Arc;

use api::{
    BackupLocation, MetadataBackupPolicy, MetadataBackupRecord,
    names::{Work, policy_labels},
    samples,
};
use http::{Request, Response};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kube::{Client, Resource, ResourceExt, client::Body};
use model::result::{Failure, Initialization, render};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Context, Locations, Settings, Traces, agent_pod::CONTAINER, metadata::policy::observe::World,
    nodes::NodeLabels,
};

/// Noon: the moment of every test.
pub const NOW: &str = "2030-01-01T12:00:00Z";
/// The pinned repository.
pub const REPOSITORY: char = 'a';

/// An object, from the manifest that a reader knows.
pub fn object<K: DeserializeOwned>(manifest: Value) -> K {
    serde_json::from_value(manifest).expect("a manifest")
}

pub fn at(time: &str) -> Timestamp {
    time.parse().expect("a timestamp")
}

/// A client of an API server that gives each request this code and object, by its path and query.
pub fn answering(mut answer: impl FnMut(&str) -> (u16, Value) + Send + 'static) -> Client {
    let answer = move |request: Request<Body>| {
        let (code, object) = answer(&request.uri().to_string());
        let response = Response::builder().status(code).body(Body::from(object.to_string().into_bytes()));
        std::future::ready(response)
    };
    Client::new(tower::service_fn(answer), "kubedr-system")
}

/// What an API server says that gives nothing.
pub fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let said =
        json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": "no", "code": code });
    (code, said)
}

/// A context of whoever asks that API server.
pub fn context(client: Client) -> Context {
    let runtime = runtime::Context::new(client, "kubedr-system", "test", || at(NOW));
    let (known, nodes) = (Arc::default(), Arc::default());
    let (locations, traces) = (Locations::default(), Traces::default());
    Context { runtime, settings: settings(), known, nodes, locations, traces }
}

/// A full id of one digit, repeated.
pub fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

pub fn settings() -> Arc<Settings> {
    Arc::new(Settings::new("kubedr/agent:1", "11111111-2222-3333-4444-555555555555"))
}

pub fn control_plane() -> NodeLabels {
    ["node-role.kubernetes.io/control-plane".to_owned()].into()
}

fn stored<K: Resource>(mut object: K, uid: &str) -> K {
    object.meta_mut().namespace = Some("kubedr-system".to_owned());
    object.meta_mut().uid = Some(uid.to_owned());
    object.meta_mut().generation = Some(1);
    object
}

/// The seed's location, never looked at.
pub fn location() -> BackupLocation {
    stored(samples::location(), "location-uid")
}

/// The seed's location with its repository pinned.
pub fn ready_location() -> BackupLocation {
    let condition = condition("Ready", "True", "Ready");
    let status =
        json!({ "observedGeneration": 1, "repositoryId": id(REPOSITORY), "conditions": [condition] });
    BackupLocation { status: Some(object(status)), ..location() }
}

/// A condition that holds since eleven.
pub fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": "as before",
        "observedGeneration": 1, "lastTransitionTime": "2030-01-01T11:00:00Z",
    })
}

/// The seed's policy, never looked at.
pub fn policy() -> MetadataBackupPolicy {
    stored(samples::policy(), "policy-uid")
}

/// The seed's policy, just created, at a location that is ready.
pub fn world() -> World {
    World {
        policy: policy(),
        location: Some(ready_location()),
        cronjob: None,
        backups: Vec::new(),
        forgets: Vec::new(),
        pods: Vec::new(),
        troubles: Vec::new(),
        records: Vec::new(),
        nodes: control_plane(),
        settings: settings(),
        now: at(NOW),
    }
}

fn owner(kind: &str, owner: &impl Resource) -> Value {
    json!([{
        "apiVersion": "v1", "kind": kind, "controller": true,
        "name": owner.meta().name, "uid": owner.meta().uid,
    }])
}

/// A Job that `of` controls, started a minute before `ended` where it did.
pub fn job(name: &str, kind: &str, of: &impl Resource, end: Option<(&str, &str)>) -> Job {
    let condition =
        end.map(|(type_, time)| json!([{ "type": type_, "status": "True", "lastTransitionTime": time }]));
    let started = end.map_or_else(|| at(NOW), |(_, time)| at(time)) - jiff::SignedDuration::from_mins(1);
    object(json!({
        "metadata": {
            "name": name, "namespace": "kubedr-system", "uid": format!("{name}-uid"),
            "creationTimestamp": started.to_string(), "ownerReferences": owner(kind, of),
        },
        "status": { "startTime": started.to_string(), "conditions": condition },
    }))
}

/// The policy's CronJob.
pub fn cronjob() -> CronJob {
    object(json!({
        "metadata": {
            "name": "test-backup-backup-cronjob", "namespace": "kubedr-system", "uid": "cronjob-uid",
            "ownerReferences": owner("MetadataBackupPolicy", &policy()),
        },
    }))
}

/// A Job of it that ended like that half a minute ago, and was told where the backup goes and what it is of.
pub fn backup_job(end: &str) -> Job {
    let mut job = job("backup-1", "CronJob", &cronjob(), Some((end, "2030-01-01T11:59:30Z")));
    job.metadata.labels = Some(policy_labels(Work::Backup, "test-backup"));
    job.spec = Some(object(json!({ "template": { "spec": { "containers": [{ "name": CONTAINER, "env": [
        { "name": "KUBEDR_LOCATION_NAME", "value": "local-minio" },
        { "name": "KUBEDR_REPOSITORY_ID", "value": id(REPOSITORY) },
        { "name": "KUBEDR_CLUSTER_UID", "value": settings().cluster_uid },
    ] }] } } })));
    job
}

/// A pod of a Job that ended in `phase` and left `message`.
pub fn ended_pod(job: &Job, phase: &str, (exit_code, message): (i32, &str)) -> Pod {
    let state = json!({ "terminated": { "exitCode": exit_code, "message": message } });
    pod(job, &json!({ "phase": phase, "containerStatuses": [container(&state)] }))
}

/// A pod of a Job with this status, made a minute ago.
pub fn pod(job: &Job, status: &Value) -> Pod {
    object(json!({
        "metadata": {
            "name": format!("{}-pod", job.name_any()), "namespace": "kubedr-system",
            "uid": format!("{}-pod-uid", job.name_any()),
            "creationTimestamp": "2030-01-01T11:59:00Z", "ownerReferences": owner("Job", job),
        },
        "status": status,
    }))
}

/// The status of the agent's container in some state.
pub fn container(state: &Value) -> Value {
    json!({ "name": CONTAINER, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state })
}

pub fn initialized(repository: char) -> String {
    let repository_id = id(repository).parse().expect("an id");
    render("init", &Ok(Initialization { repository_id, created: true }))
}

/// What a backup of `lineage` whose first snapshot is `snapshot` leaves.
pub fn backed_up(snapshot: char, lineage: char) -> String {
    let sample = include_str!("../../model/src/result/backup.json");
    let mut result: Value = serde_json::from_str(sample).expect("JSON");
    for (field, value) in [
        ("/snapshotId", json!(id(snapshot))),
        ("/filesSnapshotId", json!(id('f'))),
        ("/repositoryId", json!(id(REPOSITORY))),
        ("/lineage", json!(lineage.to_string().repeat(16))),
        ("/etcd/sha256", json!(id('d'))),
        ("/filesChanged", json!(1)),
    ] {
        *result.pointer_mut(field).expect("a field") = value;
    }
    result.to_string()
}

pub fn forgotten() -> String {
    json!({ "v": 1, "verb": "forget", "ok": true, "forgotten": 1 }).to_string()
}

pub fn failure(verb: &str, reason: model::Reason) -> String {
    render::<Nothing>(verb, &Err(Failure::new(reason, "it went wrong")))
}

#[derive(Serialize)]
struct Nothing {}

/// The record of a complete backup of the policy, made on this day.
pub fn record(snapshot: char, day: u8) -> MetadataBackupRecord {
    object(json!({
        "metadata": {
            "name": format!("mbr-{}", snapshot.to_string().repeat(8)), "namespace": "kubedr-system",
            "uid": format!("record-{snapshot}"), "generation": 1, "resourceVersion": "7",
            "creationTimestamp": format!("2029-12-{day:02}T00:00:00Z"),
        },
        "spec": { "policy": "test-backup", "snapshotId": snapshot.to_string().repeat(8), "backuploc": "local-minio" },
        "status": {
            "snapshotIdFull": id(snapshot), "filesSnapshotIdFull": id('f'), "repositoryId": id(REPOSITORY),
            "time": format!("2029-12-{day:02}T00:00:00Z"), "lineage": "b".repeat(16),
            "clusterUid": "11111111-2222-3333-4444-555555555555",
            "conditions": [condition("Complete", "True", "Complete")],
        },
    }))
}
