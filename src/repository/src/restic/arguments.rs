//! What restic is told in its arguments, which everyone on the node can read.
use std::{ffi::OsString, path::PathBuf};

use model::{BucketLookup, SnapshotId};

use crate::{Access, connection};

/// How long a backup waits for a lock that others hold.
const RETRY_LOCK: &str = "--retry-lock=5m";
/// How long a forget waits: it is tried again soon, and who holds the lock shall be known within a minute.
const RETRY_LOCK_TO_FORGET: &str = "--retry-lock=30s";

/// How a stream is compressed: etcd's pages become as small as by default, in two thirds of the processor time beside
/// etcd (src/README.md has the figures).
const FASTEST: &str = "--compression=fastest";

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

/// The option that says how the bucket is addressed, as our own client does it.
pub(super) fn lookup(access: &Access) -> &'static str {
    match access.store.lookup {
        _ if connection::is_path_style(&access.store) => "s3.bucket-lookup=path",
        BucketLookup::Dns => "s3.bucket-lookup=dns",
        // AWS: restic knows which names cannot be a host's.
        BucketLookup::Auto | BucketLookup::Path => "s3.bucket-lookup=auto",
    }
}

/// Arguments of a backup of a stream.
pub(super) fn stream(request: &StreamBackup<'_>) -> Vec<OsString> {
    let mut arguments = backup(request.host, request.tags);
    arguments.push(FASTEST.into());
    arguments.push(format!("--stdin-filename={}", request.file).into());
    arguments.extend(["--stdin-from-command", "--"].map(OsString::from));
    arguments.extend(request.command.iter().map(OsString::from));
    arguments
}

/// Arguments of a backup of files.
pub(super) fn files(request: &FilesBackup<'_>) -> Vec<OsString> {
    let mut arguments = backup(request.host, request.tags);
    arguments.push("--".into());
    arguments.extend(request.paths.iter().map(OsString::from));
    arguments
}

fn backup(host: &str, tags: &[String]) -> Vec<OsString> {
    // With --force no earlier snapshot is looked for: one that is damaged must not stop a new
    // backup, and every file is read, not believed unchanged for its time and size.
    let mut arguments = ["backup", "--json", "--force", RETRY_LOCK].map(OsString::from).to_vec();
    arguments.push(format!("--host={host}").into());
    arguments.extend(tags.iter().map(|tag| OsString::from(format!("--tag={tag}"))));
    arguments
}

/// Arguments that forget these snapshots.
pub(super) fn forget(ids: &[SnapshotId]) -> Vec<OsString> {
    let mut arguments = ["forget", "--json", RETRY_LOCK_TO_FORGET].map(OsString::from).to_vec();
    arguments.extend(ids.iter().map(|id| OsString::from(id.as_str())));
    arguments
}
