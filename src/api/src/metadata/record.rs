//! MetadataBackupRecord: one backup that is in the repository.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use model::Violation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{names, rule};

/// One backup that is in the repository.
///
/// Records mirror the repository: kubedr makes them, a lost one comes back, and deleting
/// one deletes no stored byte.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "kubedr.catalogicsoftware.com",
    version = "v1alpha1",
    kind = "MetadataBackupRecord",
    plural = "metadatabackuprecords",
    shortname = "mbr",
    category = "kubedr",
    doc = "One backup that is in the repository. Made by kubedr.",
    namespaced,
    cel,
    status = "MetadataBackupRecordStatus",
    derive = "PartialEq",
    derive = "Default",
    selectable = ".spec.policy",
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy"),
    printcolumn(name = "Time", type_ = "string", json_path = ".status.time"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.etcd.revision"),
    printcolumn(name = "Size", type_ = "integer", json_path = ".status.sizeBytes"),
    printcolumn(name = "Added", type_ = "integer", json_path = ".status.addedBytes"),
    printcolumn(name = "Proof", type_ = "string", json_path = ".status.proof"),
    printcolumn(
        name = "Complete",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Complete")].status"#
    ),
    printcolumn(name = "Location", type_ = "string", json_path = ".spec.backuploc", priority = 1),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = rule::pinned("policy"))]
#[x_kube(validation = rule::pinned("snapshotId"))]
#[x_kube(validation = rule::pinned("backuploc"))]
#[serde(rename_all = "camelCase")]
pub struct MetadataBackupRecordSpec {
    /// Name of the policy that made the backup; `unknown` for one that another program made.
    /// Example: `test-backup`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::object_name())]
    pub policy: String,

    /// Short id of its snapshot of etcd, as restic prints it. Example: `9a9808ce`.
    #[schemars(length(min = 8, max = 64), regex(pattern = r"^[0-9a-f]+$"))]
    pub snapshot_id: String,

    /// Name of the BackupLocation with the repository. Where it is absent, that of the policy is
    /// written here once. Example: `local-minio`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::object_name())]
    pub backuploc: Option<String>,
}

/// What is known of a stored backup. What is not known is absent, never zero.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetadataBackupRecordStatus {
    /// The `metadata.generation` that this status describes; -1 while nobody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Full id of the snapshot of etcd, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub snapshot_id_full: Option<String>,

    /// Full id of the snapshot with certificates and other files, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub files_snapshot_id_full: Option<String>,

    /// restic's id of the repository, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub repository_id: Option<String>,

    /// When the snapshot of etcd began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,

    /// Node that it was made on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,

    /// uid of the namespace kube-system of the cluster that was backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub cluster_uid: Option<String>,

    /// The history that the backup belongs to, 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub lineage: Option<String>,

    /// The etcd member that the snapshot came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<RecordEtcd>,

    /// Kubernetes objects in the snapshot; absent where they could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<RecordObjects>,

    /// Size of everything in the backup, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,

    /// What the backup added to the repository, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_bytes: Option<i64>,

    /// How long it took, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<i64>,

    /// What was proven of it: `Unproven`, `Hashed` (its bytes were compared on the way and its
    /// parts seen in the bucket), `Read` (read back whole) or `Drilled` (restored into an etcd).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,

    /// When `proof` was last established. Not filled in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven_time: Option<Time>,

    /// How long the drill's restore took, seconds. Not filled in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_seconds: Option<i64>,

    /// What retention says of it. Not filled in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<RecordRetention>,

    /// `Ready`, `Stored`, `Complete` and `Proven`; `Reconciling` or `Stalled` while something is
    /// wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::conditions::schema")]
    pub conditions: Vec<Condition>,
}

/// The etcd member that a snapshot came from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RecordEtcd {
    /// Version of the server. Example: `3.6.16`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub version: Option<String>,

    /// Id of the etcd cluster, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cluster_id: Option<String>,

    /// Id of the member, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub member_id: Option<String>,

    /// Revision of the snapshot: the count of the store's changes, which an etcd has that is restored from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// Raft index: the count of the log's entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raft_index: Option<i64>,

    /// Raft term: the count of elections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raft_term: Option<i64>,

    /// Number of keys; absent where they could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<i64>,

    /// Size of the snapshot's file, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_size_bytes: Option<i64>,

    /// SHA-256 of the snapshot's file as etcd sent it, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,
}

/// Kubernetes objects in a snapshot.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RecordObjects {
    /// How many there are, without events, which Kubernetes deletes within an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,

    /// Whether there are fewer than the policy's `shrinkGuard` allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<bool>,
}

/// What was proven of a backup, each more than the one before.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Nothing yet.
    #[default]
    Unproven,
    /// Its bytes were compared on the way, its parts seen in the bucket.
    Hashed,
    /// Read back whole.
    Read,
    /// Restored into an etcd.
    Drilled,
}

/// What retention says of a backup.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RecordRetention {
    /// Whether it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<bool>,

    /// Which rule keeps it. Example: `last, daily`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
}

impl MetadataBackupRecord {
    /// The field by which the API server is asked for the records of one policy.
    pub const POLICY_FIELD: &str = "spec.policy";

    /// Finds everything wrong that the schema cannot say, and what an older schema let through.
    pub fn validate(&self) -> Vec<Violation> {
        let spec = &self.spec;
        let location = spec.backuploc.as_deref();
        let found = [
            names::object("spec.policy", &spec.policy),
            snapshot_id_violation(&spec.snapshot_id),
            location.and_then(|name| names::object("spec.backuploc", name)),
        ];
        found.into_iter().flatten().collect()
    }

    /// Finds what a change would make of a record that it was not: it names one stored backup, and nothing
    /// else can be learnt of that from anywhere. The location may be filled in once.
    pub fn validate_change(&self, old: &Self) -> Vec<Violation> {
        let (new, old) = (&self.spec, &old.spec);
        let location = old.backuploc.as_deref();
        let pinned = [
            ("spec.policy", Some(old.policy.as_str()), Some(new.policy.as_str())),
            ("spec.snapshotId", Some(old.snapshot_id.as_str()), Some(new.snapshot_id.as_str())),
            ("spec.backuploc", location, new.backuploc.as_deref().filter(|_| location.is_some())),
        ];
        let changed = pinned.into_iter().filter(|(_, old, new)| old != new);
        changed.map(|(field, old, new)| Violation::new(field, changed_to(old, new))).collect()
    }
}

fn snapshot_id_violation(id: &str) -> Option<Violation> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    let fits = (8..=64).contains(&id.len()) && id.bytes().all(is_digit);
    let problem = || format!("{id:?} is not the id of a snapshot: 8 to 64 digits of 0-9a-f");
    (!fits).then(|| Violation::new("spec.snapshotId", problem()))
}

fn changed_to(old: Option<&str>, new: Option<&str>) -> String {
    let shown = |text: Option<&str>| text.map_or("nothing".to_owned(), |text| format!("{text:?}"));
    format!("cannot become {}: it is {} for good, since a record names one backup", shown(new), shown(old))
}
