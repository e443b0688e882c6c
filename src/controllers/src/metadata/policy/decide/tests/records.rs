//! Records of backups that differ from a usual one in one thing.
use super::*;

pub fn three() -> [MetadataBackupRecord; 3] {
    [record('1', 1), record('2', 2), record('3', 3)]
}

pub fn held(mut record: MetadataBackupRecord) -> MetadataBackupRecord {
    record.annotations_mut().insert(annotation::HOLD.to_owned(), "audit".to_owned());
    record
}

pub fn incomplete(record: MetadataBackupRecord) -> MetadataBackupRecord {
    lacking("NoQuorum", record)
}

pub fn lacking(reason: &str, mut record: MetadataBackupRecord) -> MetadataBackupRecord {
    let lacking = object(json!([condition("Complete", "False", reason)]));
    record.status.as_mut().expect("a status").conditions = lacking;
    record
}

pub fn of_objects(count: i64, shrunk: bool, mut record: MetadataBackupRecord) -> MetadataBackupRecord {
    let objects = object(json!({ "count": count, "shrunk": shrunk }));
    record.status.as_mut().expect("a status").objects = Some(objects);
    if shrunk { lacking("Shrunk", record) } else { record }
}

pub fn elsewhere(mut record: MetadataBackupRecord) -> MetadataBackupRecord {
    record.status.as_mut().expect("a status").repository_id = Some(id('e'));
    record
}

pub fn of(lineage: char, mut record: MetadataBackupRecord) -> MetadataBackupRecord {
    record.status.as_mut().expect("a status").lineage = Some(lineage.to_string().repeat(16));
    record
}

/// At this many entries of etcd's log.
pub fn counted(raft_index: i64, mut record: MetadataBackupRecord) -> MetadataBackupRecord {
    record.status.as_mut().expect("a status").etcd = Some(object(json!({ "raftIndex": raft_index })));
    record
}

pub fn of_another_cluster(mut record: MetadataBackupRecord) -> MetadataBackupRecord {
    record.status.as_mut().expect("a status").cluster_uid = Some("another".to_owned());
    record
}

/// Made on a node whose clock is years ahead.
pub fn ahead(mut record: MetadataBackupRecord) -> MetadataBackupRecord {
    record.status.as_mut().expect("a status").time = Some(object(json!("2035-01-01T00:00:00Z")));
    record
}

pub fn unknown(record: MetadataBackupRecord) -> MetadataBackupRecord {
    MetadataBackupRecord { status: None, ..record }
}
