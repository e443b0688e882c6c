//! Records, from results. Pure and infallible.
use api::{
    MetadataBackupPolicy, MetadataBackupRecord, MetadataBackupRecordSpec, MetadataBackupRecordStatus, Proof,
    RecordEtcd, RecordObjects,
    conditions::{COMPLETE, PROVEN, READY, STORED},
    names::label,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use model::{
    Reason,
    result::{Backup, Objects},
};
use runtime::conditions::{Page, Verdict};

use crate::metadata::policy::status::completeness;

/// The record of one backup, without its status.
///
/// No owner and no finalizer: a record goes when its backup is forgotten, and never
/// with the policy.
pub fn record(
    name: &str,
    policy: &MetadataBackupPolicy,
    backup: &Backup,
    location: Option<&str>,
) -> MetadataBackupRecord {
    let labels = [
        (label::NAME, label::PRODUCT.to_owned()),
        (label::MANAGED_BY, label::PRODUCT.to_owned()),
        (label::POLICY, policy.name_any()),
    ];
    MetadataBackupRecord {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: policy.namespace(),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ObjectMeta::default()
        },
        spec: MetadataBackupRecordSpec {
            policy: policy.name_any(),
            snapshot_id: backup.snapshot_id.short().to_owned(),
            backuploc: location.map(str::to_owned),
        },
        status: None,
    }
}

/// The status of the record of one backup.
pub fn status(record: &MetadataBackupRecord, backup: &Backup, now: Timestamp) -> MetadataBackupRecordStatus {
    // One that is made in the same plan begins with its first generation.
    let generation = record.metadata.generation.or(Some(1));
    let previous = record.status.clone().unwrap_or_default();
    let page = Page { previous: &previous.conditions, generation, now };
    let conditions = page.write(&[
        (READY, Verdict::good(Reason::Ready, "the record tells all that is known of the backup")),
        (STORED, Verdict::good(Reason::Stored, "every part of it was seen in the bucket")),
        (COMPLETE, completeness(backup)),
        (PROVEN, Verdict::pending("hashed on its way; not read back yet")),
    ]);
    MetadataBackupRecordStatus {
        observed_generation: generation,
        snapshot_id_full: Some(backup.snapshot_id.to_string()),
        files_snapshot_id_full: Some(backup.files_snapshot_id.to_string()),
        repository_id: Some(backup.repository_id.to_string()),
        time: Timestamp::from_second(backup.time.as_second()).ok().map(Time),
        node: Some(backup.node.clone()),
        cluster_uid: Some(backup.cluster_uid.clone()),
        lineage: Some(backup.lineage.to_string()),
        etcd: Some(etcd(backup)),
        objects: backup.objects.map(objects),
        size_bytes: i64::try_from(backup.total_bytes_processed).ok(),
        added_bytes: i64::try_from(backup.data_added).ok(),
        duration_seconds: Some(seconds(backup.total_duration_secs)),
        // What streaming proved: its bytes are those that etcd hashed.
        proof: Some(Proof::Hashed),
        conditions,
        ..previous
    }
}

fn objects(objects: Objects) -> RecordObjects {
    RecordObjects { count: i64::try_from(objects.count).ok(), shrunk: Some(objects.shrunk) }
}

fn etcd(backup: &Backup) -> RecordEtcd {
    let facts = &backup.etcd;
    RecordEtcd {
        version: Some(facts.version.clone()),
        cluster_id: Some(facts.position.cluster_id.clone()),
        member_id: Some(facts.member_id.clone()),
        revision: Some(facts.position.revision),
        raft_index: i64::try_from(facts.position.raft_index).ok(),
        raft_term: i64::try_from(facts.position.raft_term).ok(),
        keys: facts.keys.and_then(|keys| i64::try_from(keys).ok()),
        db_size_bytes: i64::try_from(facts.db_size_bytes).ok(),
        sha256: Some(facts.sha256.clone()),
    }
}

/// Whole seconds, rounded up: a backup that took any time took a second.
fn seconds(duration: f64) -> i64 {
    // A float cast saturates, and a duration of a node cannot mislead beyond that.
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let whole = duration.ceil() as i64;
    whole
}
