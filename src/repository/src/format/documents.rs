//! The JSON documents of a repository that a reader needs, and where they are.
use serde::Deserialize;

use super::{Damaged, Id, Key, unpack};

/// The file `config`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Config {
    /// Version of the format.
    pub(crate) version: u32,
    /// Id of the repository.
    pub(crate) id: model::SnapshotId,
}

/// A file of `snapshots/`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Snapshot {
    /// When the backup began.
    pub(crate) time: jiff::Timestamp,
    /// The root of its files.
    pub(crate) tree: Id,
    /// What it was marked with; absent or null without any.
    #[serde(default)]
    pub(crate) tags: Option<Vec<String>>,
}

/// A tree blob: one folder.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Tree {
    /// What is in it.
    pub(crate) nodes: Vec<Node>,
}

/// A file, folder or other thing in a tree.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Node {
    /// Its name, with what cannot be printed escaped as Go does it.
    pub(crate) name: String,
    /// Size of a file in bytes; absent for an empty one.
    #[serde(default)]
    pub(crate) size: u64,
    /// Data blobs of a file, in their order.
    #[serde(default)]
    pub(crate) content: Option<Vec<Id>>,
    /// The tree of a folder.
    #[serde(default)]
    pub(crate) subtree: Option<Id>,
}

impl Config {
    /// Largest size of the file, bytes.
    pub(crate) const MOST: usize = 1 << 16;

    /// Versions that this reader knows.
    pub(crate) const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
}

impl Snapshot {
    /// Largest size of the file, bytes.
    pub(crate) const MOST: usize = 4 << 20;
}

impl Tree {
    /// Largest size of the blob, bytes: some 100,000 files in one folder.
    pub(crate) const MOST: usize = 64 << 20;
}

/// Opens and parses an unpacked file.
pub(crate) fn documents<T: for<'a> Deserialize<'a>>(
    key: &Key,
    stored: Vec<u8>,
    most: usize,
) -> Result<T, Damaged> {
    parse(&unpack(key.open(stored)?, most)?)
}

pub(super) fn parse<T: for<'a> Deserialize<'a>>(json: &[u8]) -> Result<T, Damaged> {
    serde_json::from_slice(json).map_err(|error| Damaged::new(format!("it is malformed: {error}")))
}
