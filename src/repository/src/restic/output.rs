//! What restic prints.
use model::{Reason, SnapshotId, result::Failure};
use serde::Deserialize;

/// Oldest restic that knows all that it is told: exit codes of its own since 0.17, `--compression=fastest` since 0.19.
pub(super) const OLDEST: (u32, u32) = (0, 19);

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

/// What is read of every line.
#[derive(Deserialize)]
struct Typed {
    message_type: String,
    #[serde(default)]
    bytes_done: u64,
}

/// Whether a line is one of those that are read: a summary or an id, no progress.
pub(super) fn is_message(line: &[u8]) -> bool {
    let kind = serde_json::from_slice::<Typed>(line).map(|typed| typed.message_type);
    kind.is_ok_and(|kind| kind == "summary" || kind == "initialized")
}

/// Passes on how far a backup is.
pub(super) fn tell_progress(line: &[u8]) {
    if let Some(bytes) = progress(line) {
        tracing::info!(bytes, "read so far");
    }
}

/// Bytes that a backup has read, where a line says so of one that has begun.
pub(super) fn progress(line: &[u8]) -> Option<u64> {
    let Typed { message_type, bytes_done } = serde_json::from_slice(line).ok()?;
    (message_type == "status" && bytes_done > 0).then_some(bytes_done)
}

/// The last line that is not empty.
pub(super) fn last_line(output: &[u8]) -> &[u8] {
    let mut lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.next_back().unwrap_or_default()
}

/// Parses what a verb printed.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(verb: &str, json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        Failure::new(
            Reason::ImageBroken,
            format!("restic {verb} answered what this version does not know: {error}"),
        )
    })
}

/// The version in restic's answer: JSON since 0.17, else a sentence.
pub(super) fn version(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    if let Ok(Version { version }) = serde_json::from_str(text) {
        return Some(version);
    }
    text.strip_prefix("restic ")?.split_whitespace().next().map(str::to_owned)
}

pub(super) fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) >= OLDEST
}
