//! Proof that what snapshots refer to is in the bucket.
use model::{SnapshotId, result::Failure};

use crate::{Bucket, Restic};

/// A repository that opened with its password.
#[derive(Debug)]
pub struct Opened {
    id: SnapshotId,
}

/// What was found to be in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Packs that the snapshots refer to.
    pub packs: u64,
    /// Their size together.
    pub bytes: u64,
}

/// Opens an existing repository: password, config and key.
pub async fn attach(_restic: &Restic, _bucket: &Bucket) -> Result<Opened, Failure> {
    todo!()
}

impl Opened {
    /// Id of the repository's config.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// Shows that every pack that the snapshots refer to is in the bucket, with its size.
    pub async fn prove_presence(&self, _bucket: &Bucket, _snapshots: &[&SnapshotId]) -> Result<Presence, Failure> {
        todo!()
    }
}
