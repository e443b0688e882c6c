//! BackupLocation: where backups go.
mod rules;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{names, rule};

/// A restic repository in a bucket of an S3 server, and the keys to it.
///
/// A pod makes the bucket and the repository, or attaches to those that are there already.
/// Deleting a location deletes no stored byte.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "kubedr.catalogicsoftware.com",
    version = "v1alpha1",
    kind = "BackupLocation",
    plural = "backuplocations",
    shortname = "bloc",
    category = "kubedr",
    doc = "A restic repository in a bucket of an S3 server, and the keys to it.",
    namespaced,
    cel,
    status = "BackupLocationStatus",
    derive = "PartialEq",
    derive = "Default",
    validation = rule::name_at_most(names::MAX_LOCATION, "the names of its Jobs fit 63"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".spec.bucketName"),
    printcolumn(name = "Prefix", type_ = "string", json_path = ".spec.prefix", priority = 1),
    printcolumn(name = "Repository", type_ = "string", json_path = ".status.repositoryId", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupLocationSpec {
    /// URL of the S3 server: `http` or `https`, host and optional port, nothing else (one `/` at
    /// the end is ignored). Example: `https://s3.eu-central-1.amazonaws.com`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = rule::server_url())]
    pub url: String,

    /// Name of the bucket, 3 to 63 characters by the rules of S3: lower-case letters, digits, dots
    /// and hyphens. It is made if it is missing. Example: `cluster-backups`.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = rule::bucket_name())]
    pub bucket_name: String,

    /// Name of the Secret, in the same namespace, with the keys `access_key`, `secret_key` and
    /// `restic_repo_password`. Keep a copy of the password outside of this cluster: without it no
    /// backup can be read. Example: `minio-creds`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::object_name())]
    pub credentials: String,

    /// Folder in the bucket, so that several clusters can share one bucket. Default: none, the
    /// root of the bucket. Example: `clusters/production`.
    #[serde(default)]
    #[schemars(length(max = 512))]
    #[x_kube(validation = rule::prefix())]
    pub prefix: String,

    /// Region that requests are signed for. Servers other than AWS mostly ignore it.
    /// Default: `us-east-1`. Example: `eu-central-1`.
    #[serde(default = "default_region")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub region: String,

    /// How the bucket is addressed: `Path` (`https://host/bucket`), `DNS`
    /// (`https://bucket.host`), or `Auto`: DNS for AWS and its like, else path. Default: `Auto`.
    #[serde(default)]
    pub bucket_lookup: BucketLookup,

    /// Certificate authority of the S3 server, where it is a private one. It is added to the
    /// public ones. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,

    /// Name of a Secret like that of `credentials` whose keys may delete; forget and prune use it,
    /// so that the keys for backup need no right to delete. Default: that of `credentials`.
    /// Example: `minio-maintenance-creds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::object_name())]
    pub maintenance_credentials: Option<String>,

    /// When unused data is pruned and stored data is checked. Accepted, but not in effect in this
    /// version.
    #[serde(default)]
    pub maintenance: Maintenance,
}

/// How a bucket is addressed in a request.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BucketLookup {
    /// By host name for AWS and its like, else by path.
    #[default]
    Auto,
    /// `https://host/bucket`.
    Path,
    /// `https://bucket.host`.
    #[serde(rename = "DNS")]
    Dns,
}

/// Where a PEM file with certificate authorities is. Exactly one of the two names is given.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(validation = rule::one_authority())]
#[serde(rename_all = "camelCase")]
pub struct CaBundle {
    /// Name of a `ConfigMap` in the same namespace. Example: `s3-ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::object_name())]
    pub config_map_name: Option<String>,

    /// Name of a Secret in the same namespace. Example: `s3-ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::object_name())]
    pub secret_name: Option<String>,

    /// Key in it. Default: `ca.crt`.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub key: String,
}

/// When unused data is pruned and stored data is checked.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// When it runs, in the grammar of a Kubernetes CronJob. Default: `0 3 * * 0`, Sundays at 3.
    #[serde(default = "default_maintenance_schedule")]
    #[schemars(length(min = 1, max = 256))]
    pub schedule: String,

    /// IANA name of the time zone of `schedule`. Default: that of the controller-manager, mostly
    /// UTC. Example: `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub time_zone: Option<String>,

    /// Whether it is off for now. Default: `false`.
    #[serde(default)]
    pub suspend: bool,

    /// How much unused data may stay, since removing the last of it means rewriting the rest: a
    /// part of all data in percent, a size in bytes with an optional K, M, G or T, or `unlimited`.
    /// Default: `10%`. Example: `500M`.
    #[serde(default = "default_max_unused")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rule::max_unused())]
    pub max_unused: String,

    /// How much of the stored data each check reads back: percent, `n/m` for one part after the
    /// other, or a size with K, M, G or T. Default: `5%`. Example: `1/12`.
    #[serde(default = "default_check_subset")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rule::check_subset())]
    pub check_subset: String,
}

/// What was last seen of a BackupLocation.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupLocationStatus {
    /// `Initializing`, `Completed` or `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub init_status: Option<String>,

    /// When `initStatus` was last found out, RFC 3339 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub init_time: Option<String>,

    /// What went wrong, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub init_error_message: Option<String>,

    /// The `metadata.generation` that this status describes; -1 while nobody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// restic's id of the repository, 64 hexadecimal digits. Pinned at the first success: from
    /// then on no other repository is accepted in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub repository_id: Option<String>,

    /// Number of snapshots in the repository, those of others included. Not filled in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<i64>,

    /// Size of everything stored, bytes. Not filled in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<i64>,

    /// What the last prune and check did. Not filled in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_maintenance: Option<LastMaintenance>,

    /// `Ready`, `RepositoryHealthy` and `Maintained`; `Reconciling` or `Stalled` while something
    /// is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::conditions::schema")]
    pub conditions: Vec<Condition>,
}

/// What the last prune and check did.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LastMaintenance {
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,

    /// Whether unused data was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<bool>,

    /// Size of what was removed, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freed_bytes: Option<i64>,

    /// Whether stored data was read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<bool>,

    /// How it ended, as one word of docs/reasons.md.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub result: Option<String>,
}

impl Default for BackupLocationSpec {
    fn default() -> Self {
        Self {
            url: String::new(),
            bucket_name: String::new(),
            credentials: String::new(),
            prefix: String::new(),
            region: default_region(),
            bucket_lookup: BucketLookup::default(),
            ca_bundle: None,
            maintenance_credentials: None,
            maintenance: Maintenance::default(),
        }
    }
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            schedule: default_maintenance_schedule(),
            time_zone: None,
            suspend: false,
            max_unused: default_max_unused(),
            check_subset: default_check_subset(),
        }
    }
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

fn default_maintenance_schedule() -> String {
    "0 3 * * 0".to_owned()
}

fn default_max_unused() -> String {
    "10%".to_owned()
}

fn default_check_subset() -> String {
    "5%".to_owned()
}
