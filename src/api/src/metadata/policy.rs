//! MetadataBackupPolicy: what of a cluster is backed up, when, where to, and for how long.
mod rules;
mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{names, rule};

pub use status::MetadataBackupPolicyStatus;

/// etcd's client URL where the policy names none.
pub const DEFAULT_ETCD_ENDPOINT: &str = "https://127.0.0.1:2379";
/// Secret with etcd's client certificate where the policy names none.
pub const DEFAULT_ETCD_CREDENTIALS: &str = "etcd-creds";
/// Number of backups to keep where the policy says nothing, or 0.
pub const DEFAULT_RETAIN: i64 = 120;
/// Most backups that a policy can ask for.
const MAX_RETAIN: i64 = 100_000;
/// The one key of `spec.options`.
pub const OPTION_NODE_LABEL: &str = "master-node-label-name";

/// Backs up etcd and the certificates beside it on a schedule.
///
/// Each slot makes one Job on a control-plane node and, once it succeeds, one
/// MetadataBackupRecord. Deleting a policy stops new backups; stored ones stay.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "kubedr.catalogicsoftware.com",
    version = "v1alpha1",
    kind = "MetadataBackupPolicy",
    plural = "metadatabackuppolicies",
    shortname = "mbp",
    category = "kubedr",
    doc = "Backs up etcd and the certificates beside it on a schedule.",
    namespaced,
    cel,
    status = "MetadataBackupPolicyStatus",
    derive = "PartialEq",
    derive = "Default",
    validation = rule::name_at_most(names::MAX_POLICY, "<name>-backup-cronjob fits 52"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Fresh", type_ = "string", json_path = r#".status.conditions[?(@.type=="Fresh")].reason"#),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Last Status", type_ = "string", json_path = ".status.backupStatus"),
    printcolumn(name = "Last Success", type_ = "date", json_path = ".status.lastSuccessfulTime"),
    printcolumn(name = "Records", type_ = "integer", json_path = ".status.records"),
    printcolumn(name = "Destination", type_ = "string", json_path = ".spec.destination", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MetadataBackupPolicySpec {
    /// Name of the BackupLocation, in the same namespace, that backups go to.
    /// Example: `local-minio`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::object_name())]
    pub destination: String,

    /// When to back up, in the grammar of a Kubernetes CronJob.
    /// Example: `*/10 * * * *`, every ten minutes.
    #[schemars(length(min = 1, max = 256))]
    pub schedule: String,

    /// IANA name of the time zone of `schedule`. Default: that of the controller-manager, mostly
    /// UTC. Example: `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub time_zone: Option<String>,

    /// Folder of the control-plane node with certificates and keys; all of it is backed up. It
    /// must be absolute and lie under one of the operator's `--allowed-host-path`s.
    /// Default: none. Example: `/etc/kubernetes/pki`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = rule::host_path())]
    pub certs_dir: Option<String>,

    /// Further files and folders of that node, at most 16: encryption configuration, static pod
    /// manifests, tokens. The rules are those of `certsDir`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["path"]))]
    pub extra_host_paths: Vec<ExtraHostPath>,

    /// Client URL of etcd. Default: `https://127.0.0.1:2379`. Example: `https://10.0.0.5:2379`.
    #[serde(default = "default_etcd_endpoint")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rule::server_url_or_empty())]
    pub etcd_endpoint: String,

    /// Client URLs of several etcd members, at most 16; the best one is taken each time. Where
    /// there are any, `etcdEndpoint` is not used. Default: none.
    /// Example: `[https://10.0.0.5:2379, https://10.0.0.6:2379]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 2048)),
 extend("x-kubernetes-list-type" = "set")
    )]
    #[x_kube(validation = rule::server_urls())]
    pub etcd_endpoints: Vec<String>,

    /// Name of the Secret, in the same namespace, with the keys `ca.crt`, `client.crt` and
    /// `client.key` of a client that etcd accepts. Default: `etcd-creds`.
    #[serde(default = "default_etcd_creds")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = rule::object_name_or_empty())]
    pub etcd_creds: String,

    /// How many of the newest backups to keep, 0 to 100000. Default: 120; 0 means 120 as well.
    #[serde(default = "default_retain")]
    #[schemars(range(min = 0, max = MAX_RETAIN))]
    pub retain_num_backups: i64,

    /// What to keep besides those of `retainNumBackups`. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionRules>,

    /// From how many percent fewer objects than before a backup is marked as `Shrunk`, events not
    /// counted. The newest backup that has not shrunk is then spared from retention, so that a mass
    /// deletion does not age out the backup that can undo it, until the annotation
    /// `kubedr.catalogicsoftware.com/accept-shrink` names the record of one that has. 0 is off.
    /// Default: `30`.
    #[serde(default = "default_shrink_guard")]
    #[schemars(range(min = 0, max = 100))]
    pub shrink_guard: i64,

    /// When and how backups are proven to be readable. Accepted, but not in effect in this version.
    #[serde(default)]
    pub verify: Verify,

    /// Whether the schedule starts no new backup; one that runs goes on, and one that is asked for by
    /// the annotation `kubedr.catalogicsoftware.com/run-now` starts all the same. Default: `false`.
    #[serde(default)]
    pub suspend: bool,

    /// One key is known: `master-node-label-name`, the label that the nodes with etcd carry, where
    /// none of the usual ones does (etcd, control-plane, master). Default: none.
    /// Example: `{master-node-label-name: example.com/etcd}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "options_schema")]
    #[x_kube(validation = rule::known_option())]
    pub options: BTreeMap<String, String>,

    /// How long one backup may take, retries included, in seconds, 60 to 86400.
    /// Default: `3600`, one hour.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 60, max = 86_400))]
    pub deadline_seconds: i64,

    /// Most bytes per second that are read from etcd, to spare a busy one. Default: no limit.
    /// Example: `10000000`, ten megabytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_rate: Option<i64>,
}

/// A file or folder of the node.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExtraHostPath {
    /// Where it is on the node: absolute, under an allowed path.
    /// Example: `/etc/kubernetes/encryption.yaml`.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = rule::host_path())]
    pub path: String,

    /// Whether it is a `File` or a `Directory`; the backup does not start if it is the other.
    /// Default: `File`.
    #[serde(default, rename = "type")]
    pub kind: HostPathType,
}

/// What a host path is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostPathType {
    /// A folder, with all in it.
    Directory,
    /// One file.
    #[default]
    File,
}

/// Backups to keep besides the newest ones: the newest of each hour, day, week, month or year.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RetentionRules {
    /// The newest of each of so many hours that have a backup. Default: `0`.
    #[serde(default)]
    #[schemars(range(min = 0, max = MAX_RETAIN))]
    pub hourly: i64,

    /// The newest of each of so many days that have a backup. Default: `0`. Example: `14`.
    #[serde(default)]
    #[schemars(range(min = 0, max = MAX_RETAIN))]
    pub daily: i64,

    /// The newest of each of so many ISO weeks that have a backup. Default: `0`. Example: `8`.
    #[serde(default)]
    #[schemars(range(min = 0, max = MAX_RETAIN))]
    pub weekly: i64,

    /// The newest of each of so many months that have a backup. Default: `0`. Example: `12`.
    #[serde(default)]
    #[schemars(range(min = 0, max = MAX_RETAIN))]
    pub monthly: i64,

    /// The newest of each of so many years that have a backup. Default: `0`. Example: `5`.
    #[serde(default)]
    #[schemars(range(min = 0, max = MAX_RETAIN))]
    pub yearly: i64,

    /// All that are younger than this, counted back from the newest backup: years, months, days
    /// and hours. Default: none. Example: `1y6m14d3h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = rule::within())]
    pub within: Option<String>,
}

/// When and how backups are proven to be readable.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Verify {
    /// When, in the grammar of a Kubernetes CronJob. Default: `0 5 * * *`, daily at 5.
    #[schemars(length(min = 1, max = 256))]
    pub schedule: String,

    /// IANA name of the time zone of `schedule`. Default: that of the controller-manager, mostly
    /// UTC. Example: `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub time_zone: Option<String>,

    /// How: `Read` reads all of the newest backup back and compares hashes; `Drill` restores it
    /// into a throwaway etcd as well. Default: `Read`.
    pub level: VerifyLevel,
}

/// How a backup is proven.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyLevel {
    /// Read back whole, hashes compared.
    #[default]
    Read,
    /// Restored into a throwaway etcd as well.
    Drill,
}

impl Default for MetadataBackupPolicySpec {
    fn default() -> Self {
        Self {
            destination: String::new(),
            schedule: String::new(),
            time_zone: None,
            certs_dir: None,
            extra_host_paths: Vec::new(),
            etcd_endpoint: default_etcd_endpoint(),
            etcd_endpoints: Vec::new(),
            etcd_creds: default_etcd_creds(),
            retain_num_backups: DEFAULT_RETAIN,
            retention: None,
            shrink_guard: default_shrink_guard(),
            verify: Verify::default(),
            suspend: false,
            options: BTreeMap::new(),
            deadline_seconds: default_deadline(),
            max_rate: None,
        }
    }
}

impl Default for Verify {
    fn default() -> Self {
        Self { schedule: "0 5 * * *".to_owned(), time_zone: None, level: VerifyLevel::Read }
    }
}

fn default_etcd_endpoint() -> String {
    DEFAULT_ETCD_ENDPOINT.to_owned()
}

fn default_etcd_creds() -> String {
    DEFAULT_ETCD_CREDENTIALS.to_owned()
}

fn default_retain() -> i64 {
    DEFAULT_RETAIN
}

fn default_shrink_guard() -> i64 {
    30
}

fn default_deadline() -> i64 {
    3600
}

/// Bounded, so that the API server can afford to look at every key.
fn options_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 317 },
    })
}
