//! What a policy says of its backups.
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    apimachinery::pkg::util::intstr::IntOrString,
};
use model::result::{MAX_PATHS, MAX_PATHS_BYTES};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was last seen of a MetadataBackupPolicy.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetadataBackupPolicyStatus {
    /// When the last backup began, RFC 3339 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub backup_time: Option<String>,

    /// How it stands: `Initializing`, `Completed` or `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub backup_status: Option<String>,

    /// What went wrong, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub backup_error_message: Option<String>,

    /// Files that the backup captured: the snapshot of etcd and each regular file of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_new: Option<i64>,

    /// Always 0: each backup reads all that it captures and compares it with no earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_changed: Option<i64>,

    /// Bytes that the backup added to the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_added: Option<i64>,

    /// Bytes that the backup read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes_processed: Option<i64>,

    /// How long the backup took, seconds: a number, or a quantity such as `12500m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_duration_secs: Option<IntOrString>,

    /// Short id of the snapshot of etcd, 8 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub snapshot_id: Option<String>,

    /// Name of the pod that made the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub backup_pod: Option<String>,

    /// Name of its MetadataBackupRecord.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub mbr_name: Option<String>,

    /// The `metadata.generation` that this status describes; -1 while nobody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// When the newest successful backup began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,

    /// When a backup was last proven. Not filled in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_proven_time: Option<Time>,

    /// When the next backup is due; absent while none is: suspended, or a schedule without `timeZone` where the
    /// controller-manager's clock is not in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,

    /// The accepted history, 16 hexadecimal digits. Whether the newest backup belongs to it is
    /// what `LineageAccepted` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub lineage: Option<String>,

    /// Files of the node which are in the newest backup whose result was seen, and have keys that its objects are
    /// encrypted with at rest: at most 4. Empty where none is needed, none was found, or they are too long to be told.
    /// Example: `["/etc/kubernetes/encryption.yaml"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = MAX_PATHS),
        inner(length(max = MAX_PATHS_BYTES)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub encryption_configs: Vec<String>,

    /// Number of records of this policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<i64>,

    /// `Ready`, `Fresh`, `Complete`, `Proven`, `Retained` and `LineageAccepted`; `Reconciling` or
    /// `Stalled` while something is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::conditions::schema")]
    pub conditions: Vec<Condition>,
}
