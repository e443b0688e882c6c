//! Types of conditions: what can be said of an object, each with what its `True` promises.
//!
//! `True` is good, so every alert is `status="False"`; but `Reconciling` and
//! `Stalled`, which kstatus wants `True` or absent, and never both.
use schemars::{Schema, SchemaGenerator, json_schema};

/// All kinds: the spec is accepted and in force. A failed night is not its business
/// ([`FRESH`]), or every wait of a deployment tool would hang behind one.
pub const READY: &str = "Ready";
/// All kinds: trying again after a failure that may pass by itself. `True` or absent.
pub const RECONCILING: &str = "Reconciling";
/// All kinds: only a person can end what is wrong. `True` or absent.
pub const STALLED: &str = "Stalled";
/// BackupLocation: the repository answered, opened, and is the pinned one.
pub const REPOSITORY_HEALTHY: &str = "RepositoryHealthy";
/// BackupLocation: prune and check ran on schedule and succeeded.
pub const MAINTAINED: &str = "Maintained";
/// MetadataBackupPolicy: the newest run made a backup. In this version it does not go stale by
/// itself: a run that never starts is not noticed.
pub const FRESH: &str = "Fresh";
/// MetadataBackupPolicy, MetadataBackupRecord: everything that a restore needs is in the backup.
/// MetadataRestore: everything that was asked for is on the volume.
pub const COMPLETE: &str = "Complete";
/// MetadataBackupPolicy, MetadataBackupRecord: the backup was read back or restored.
pub const PROVEN: &str = "Proven";
/// MetadataBackupPolicy: retention did its work.
pub const RETAINED: &str = "Retained";
/// MetadataBackupPolicy: the newest backup continues the accepted history.
pub const LINEAGE_ACCEPTED: &str = "LineageAccepted";
/// MetadataBackupRecord: both snapshots were seen in the repository.
pub const STORED: &str = "Stored";

/// Conditions that a BackupLocation always carries.
pub const OF_LOCATION: &[&str] = &[READY, REPOSITORY_HEALTHY, MAINTAINED];
/// Conditions that a MetadataBackupPolicy always carries.
pub const OF_POLICY: &[&str] = &[READY, FRESH, COMPLETE, PROVEN, RETAINED, LINEAGE_ACCEPTED];
/// Conditions that a MetadataBackupRecord always carries.
pub const OF_RECORD: &[&str] = &[READY, STORED, COMPLETE, PROVEN];
/// Conditions that a MetadataRestore always carries.
pub const OF_RESTORE: &[&str] = &[READY, COMPLETE];

/// Schema of every `status.conditions`: a map keyed by type, so that server-side apply
/// merges by type, with the limits of `meta/v1`.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": { "type": "string", "format": "date-time", "description": "When `status` last changed." },
                "message": { "type": "string", "maxLength": 32768, "description": "What was found, for a person." },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0, "description": "The `metadata.generation` that was judged." },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", "description": "Why, as one word; docs/reasons.md says what each means and what to do." },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds." },
                "type": { "type": "string", "maxLength": 316, "pattern": "^[A-Za-z][A-Za-z0-9]*$", "description": "What it is about." },
            },
        },
    })
}
