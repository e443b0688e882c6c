//! restic as a child process.
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::{Reason, SnapshotId, result::Failure};
use serde::Deserialize;
use tokio::sync::watch;

use crate::Access;

/// Becomes a reason when restic is to stop; the failure then has that reason.
pub type Stop = watch::Receiver<Option<Reason>>;

/// Runs restic for one repository.
#[derive(Clone, Debug)]
pub struct Restic {}

/// A backup of what a program writes to its standard output.
#[derive(Clone, Debug)]
pub struct StreamBackup<'a> {
    /// Host name of the snapshot.
    pub host: &'a str,
    /// Tags of the snapshot.
    pub tags: &'a [String],
    /// Path of the stored file.
    pub file: &'a str,
    /// The program and its arguments. No secret: they are seen by everyone on the node.
    pub command: &'a [String],
}

/// A backup of files and folders.
#[derive(Clone, Debug)]
pub struct FilesBackup<'a> {
    /// Host name of the snapshot.
    pub host: &'a str,
    /// Tags of the snapshot.
    pub tags: &'a [String],
    /// What is stored, under these very paths.
    pub paths: &'a [PathBuf],
}

/// What restic says of a backup that it made.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Summary {
    /// Full id of the snapshot.
    pub snapshot_id: SnapshotId,
    /// Files that no earlier snapshot had.
    #[serde(default)]
    pub files_new: u64,
    /// Files that differ from the parent snapshot's.
    #[serde(default)]
    pub files_changed: u64,
    /// Bytes added to the repository, before compression.
    #[serde(default)]
    pub data_added: u64,
    /// Bytes read.
    #[serde(default)]
    pub total_bytes_processed: u64,
    /// Seconds.
    #[serde(default)]
    pub total_duration: f64,
}

/// One snapshot of a listing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Snapshot {
    /// Full id.
    pub id: SnapshotId,
    /// When the backup began.
    pub time: Timestamp,
    /// Tags; see [`model::tags`].
    #[serde(default)]
    pub tags: Vec<String>,
    /// Host name.
    #[serde(default)]
    pub hostname: String,
    /// What was backed up.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Figures; absent before restic 0.17.
    #[serde(default)]
    pub summary: Option<SnapshotSummary>,
}

/// Figures of a stored snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SnapshotSummary {
    /// When it began.
    pub backup_start: Timestamp,
    /// When it ended.
    pub backup_end: Timestamp,
    /// Bytes added to the repository, before compression.
    #[serde(default)]
    pub data_added: u64,
    /// Bytes read.
    #[serde(default)]
    pub total_bytes_processed: u64,
}

impl Restic {
    /// Runs the `restic` of `PATH`, with its cache and home in the folder `work`.
    pub fn new(_access: &Access, _work: &Path) -> Self {
        todo!()
    }

    /// Runs this program instead.
    #[must_use]
    pub fn program(self, _program: PathBuf) -> Self {
        todo!()
    }

    /// Stops restic, so that it removes its lock, as soon as `stop` holds a reason.
    #[must_use]
    pub fn stopped_by(self, _stop: Stop) -> Self {
        todo!()
    }

    /// restic's version; `ImageBroken` if it is missing or too old.
    pub async fn version(&self) -> Result<String, Failure> {
        todo!()
    }

    /// Makes the repository and returns the id of its config.
    pub async fn init(&self) -> Result<SnapshotId, Failure> {
        todo!()
    }

    /// Backs up the standard output of a program; nothing is stored unless it exits with 0.
    pub async fn backup_stream(&self, _request: StreamBackup<'_>) -> Result<Summary, Failure> {
        todo!()
    }

    /// Backs up files and folders.
    pub async fn backup_files(&self, _request: FilesBackup<'_>) -> Result<Summary, Failure> {
        todo!()
    }

    /// Lists every snapshot.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>, Failure> {
        todo!()
    }

    /// Forgets snapshots by their full ids; it is no error if one is gone already.
    pub async fn forget(&self, _ids: &[SnapshotId]) -> Result<(), Failure> {
        todo!()
    }
}
