//! MetadataRestore: puts one backup onto a volume of this cluster.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use model::Violation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{host_path, names, rule};

/// Puts one backup onto a volume of this cluster. This version of kubedr answers `Unsupported`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "kubedr.catalogicsoftware.com",
    version = "v1alpha1",
    kind = "MetadataRestore",
    plural = "metadatarestores",
    shortname = "mr",
    category = "kubedr",
    doc = "Puts one backup onto a volume of this cluster. This version of kubedr answers `Unsupported`.",
    namespaced,
    cel,
    status = "MetadataRestoreStatus",
    derive = "PartialEq",
    derive = "Default",
    validation = rule::name_at_most(names::MAX_RESTORE, "<name>-mr fits 63"),
    printcolumn(name = "Record", type_ = "string", json_path = ".spec.mbrName"),
    printcolumn(name = "Volume", type_ = "string", json_path = ".spec.pvcName"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.restoreStatus"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MetadataRestoreSpec {
    /// Name of the MetadataBackupRecord to restore. Example: `mbr-9a9808ce`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::object_name())]
    pub mbr_name: String,

    /// Name of the `PersistentVolumeClaim`, in the same namespace, to restore to.
    /// Example: `restore-target`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rule::object_name())]
    pub pvc_name: String,

    /// What to restore: `Etcd` (the snapshot's file), `Certificates` (certificates and other files
    /// of the node) or `All`. Default: `All`.
    #[serde(default)]
    pub what: RestoreWhat,

    /// Folder of the volume to restore into; it is made if it is missing. Default: none, the root
    /// of the volume. Example: `cluster-a/2030-01-01`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = rule::relative_path())]
    pub sub_path: Option<String>,

    /// Whether files that are there already may be replaced. Default: `false`.
    #[serde(default)]
    pub overwrite: bool,
}

/// What to restore of a backup.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestoreWhat {
    /// Everything.
    #[default]
    All,
    /// The snapshot's file.
    Etcd,
    /// Certificates and other files of the node.
    Certificates,
}

/// What was last seen of a MetadataRestore.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetadataRestoreStatus {
    /// `Initializing`, `Running`, `Completed` or `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub restore_status: Option<String>,

    /// When `restoreStatus` was last found out, RFC 3339 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub restore_time: Option<String>,

    /// What went wrong, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub restore_error_message: Option<String>,

    /// The `metadata.generation` that this status describes; -1 while nobody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// How much is restored so far, bytes. Not filled in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<i64>,

    /// How much there is to restore, bytes. Not filled in this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,

    /// `Ready` and `Complete`; `Reconciling` or `Stalled` while something is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::conditions::schema")]
    pub conditions: Vec<Condition>,
}

impl MetadataRestore {
    /// Finds everything wrong that the schema cannot say, and what an older schema let through.
    pub fn validate(&self) -> Vec<Violation> {
        let sub_path = self.spec.sub_path.as_deref().filter(|path| !path.is_empty());
        let sub_path = sub_path.and_then(|path| {
            let problem = host_path::relative_flaw(path.strip_suffix('/').unwrap_or(path))?;
            Some(Violation::new("spec.subPath", format!("{path:?} {problem}")))
        });
        let names = [
            names::length(&self.metadata, names::MAX_RESTORE),
            names::object("spec.mbrName", &self.spec.mbr_name),
            names::object("spec.pvcName", &self.spec.pvc_name),
        ];
        names.into_iter().chain([sub_path]).flatten().collect()
    }
}
