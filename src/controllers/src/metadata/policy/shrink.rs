//! Backups with far fewer objects than the one before, and which of them a person has accepted.
//!
//! The agent tells, by what is in the repository; here it is only handed on and held.
use api::{MetadataBackupRecord, names::annotation};
use kube::ResourceExt;
use model::SnapshotId;

use super::observe::World;

/// The snapshot of the backup that a person accepted, where there is one.
pub fn accepted(world: &World) -> Option<SnapshotId> {
    record(world)?.status.as_ref()?.snapshot_id_full.as_ref()?.parse().ok()
}

/// What is said from when a person has accepted until the next backup.
pub const ACCEPTED: &str = "That is accepted: the next backup is measured by it.";

/// Whether a person accepted that this backup has shrunk.
pub fn is_accepted(world: &World, record: &MetadataBackupRecord) -> bool {
    named(world) == Some(record.name_any().as_str())
}

/// What to say of an acceptance that names no record.
pub fn unheard(world: &World) -> Option<String> {
    let name = named(world).filter(|_| accepted(world).is_none())?;
    let key = annotation::ACCEPT_SHRINK;
    let shown: String = name.chars().take(80).collect();
    Some(format!("The annotation {key} names {shown:?}, which is no record of this policy."))
}

/// Whether a backup is known to have shrunk.
pub fn has_shrunk(record: &MetadataBackupRecord) -> Option<bool> {
    record.status.as_ref()?.objects.as_ref()?.shrunk
}

fn record(world: &World) -> Option<&MetadataBackupRecord> {
    let name = named(world)?;
    world.own_records().find(|record| record.name_any() == name)
}

fn named(world: &World) -> Option<&str> {
    let name = world.policy.annotations().get(annotation::ACCEPT_SHRINK)?;
    (!name.is_empty()).then_some(name)
}
