//! What an agent hands to the operator: at most 4 KiB of JSON, without credentials.
//!
//! ```text
//! agent ─▶ container's termination message ─▶ pod status ─▶ operator: parse strictly
//! ```
//!
//! It is data from a node. [`parse`] believes nothing that it does not check:
//! size, version, ids, reasons and durations. Names are refused that are not short and of one line,
//! and what is said is made so: it ends up in conditions, events and logs.
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{BackupId, Reason, SnapshotId, line, lineage::Position};

/// Largest result in bytes: the kubelet's limit for a termination message.
pub const MAX_BYTES: usize = 4096;

/// Longest message of a failure, bytes; the rest of the result must fit beside it.
const MAX_MESSAGE_BYTES: usize = 2048;

/// Longest field or path of a failure, bytes.
const MAX_FIELD_BYTES: usize = 512;

/// Longest paths that a backup tells, bytes, all together.
pub const MAX_PATHS_BYTES: usize = 512;
/// Most paths that it tells.
pub const MAX_PATHS: usize = 4;

/// Longest message of what a backup lacks, bytes.
const MAX_LACK_BYTES: usize = 1024;

/// Longest duration that is believed, seconds: a year, and no Job may take more than a day.
const LONGEST: f64 = 366.0 * 24.0 * 3600.0;

/// Version of the format that this code writes and reads.
const VERSION: u32 = 1;

/// How a verb ended.
pub type Outcome<Success> = Result<Success, Failure>;

/// A verb that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// Why, as one word.
    pub reason: Reason,
    /// What was found, what was expected and what to do. No secret.
    pub message: String,
    /// Field or path that it is about, where there is one.
    pub field: Option<String>,
}

impl Failure {
    /// A failure that is about no single field.
    ///
    /// Whoever said what is said of it, a program, a pod or Kubernetes: of its message that remains which
    /// is one short line.
    pub fn new(reason: Reason, message: impl AsRef<str>) -> Self {
        Self { reason, message: line::of(message.as_ref(), MAX_MESSAGE_BYTES), field: None }
    }

    /// The same failure, about one field or path, of which the same remains.
    #[must_use]
    pub fn at(mut self, field: impl AsRef<str>) -> Self {
        let field = line::of(field.as_ref(), MAX_FIELD_BYTES);
        self.field = Some(field).filter(|field| !field.is_empty());
        self
    }
}

/// Success of `init`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Initialization {
    /// Id of the repository's config.
    pub repository_id: SnapshotId,
    /// Whether it was made now; else it was there and was attached.
    pub created: bool,
}

/// Success of `forget`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forgotten {
    /// Backups that are not in the repository any more, whoever removed them.
    pub forgotten: u32,
}

/// Success of `backup`: both snapshots are stored and every pack of them was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Id that ties the two snapshots together.
    pub backup_id: BackupId,
    /// The snapshot with the etcd stream.
    pub snapshot_id: SnapshotId,
    /// The snapshot with certificates, host files and `kubedr.json`.
    pub files_snapshot_id: SnapshotId,
    /// Id of the repository's config.
    pub repository_id: SnapshotId,
    /// When the etcd stream began, after 1969.
    #[serde(deserialize_with = "time")]
    pub time: Timestamp,
    /// Node that the pod ran on, at most 253 bytes.
    #[serde(deserialize_with = "line::read::<253, _>")]
    pub node: String,
    /// uid of the namespace `kube-system`, at most 128 bytes.
    #[serde(deserialize_with = "line::read::<128, _>")]
    pub cluster_uid: String,
    /// The history that the backup belongs to.
    pub lineage: BackupId,
    /// What etcd said of itself, and what was hashed.
    pub etcd: EtcdFacts,
    /// Captured regular files: the etcd snapshot and those beside it, never `kubedr.json`.
    pub files_new: u64,
    /// Always 0: every file is read anew and compared with no earlier backup.
    pub files_changed: u64,
    /// Bytes that were added to the repository.
    pub data_added: u64,
    /// Bytes that were read.
    pub total_bytes_processed: u64,
    /// Duration of the whole run in seconds, at most a year.
    #[serde(deserialize_with = "duration")]
    pub total_duration_secs: f64,
    /// Kubernetes' objects, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Objects>,
    /// What the backup lacks for a restore, where it lacks something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Lack>,
    /// Files of the node which are in the backup and have keys that its objects are encrypted with: absolute paths, at
    /// most 4 and 512 bytes. Empty where none is needed, none was found, or there is no room for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "paths")]
    pub encryption_configs: Vec<String>,
}

impl Backup {
    /// Whether a result can tell these paths.
    pub fn can_tell(paths: &[String]) -> bool {
        let all = paths.join(" ");
        let is_clean = |path: &String| path.starts_with('/') && !path.split('/').any(|part| part == "..");
        paths.len() <= MAX_PATHS && line::of(&all, MAX_PATHS_BYTES) == all && paths.iter().all(is_clean)
    }
}

fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let paths = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    let can_be = Backup::can_tell(&paths);
    can_be.then_some(paths).ok_or_else(|| D::Error::custom("no absolute paths that a result can tell"))
}

/// Sums and statuses are made of it: what no run can have taken would spoil them.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    let is_possible = (0.0..=LONGEST).contains(&seconds);
    is_possible.then_some(seconds).ok_or_else(|| D::Error::custom(format!("no run takes {seconds} seconds")))
}

/// Kubernetes has no way to write a time before the year 1, and would refuse all else with it.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let time = Timestamp::deserialize(deserializer)?;
    let is_possible = time >= Timestamp::UNIX_EPOCH;
    is_possible.then_some(time).ok_or_else(|| D::Error::custom("no backup was made before 1970"))
}

/// Kubernetes' objects in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objects {
    /// How many there are, without events, which are gone within an hour.
    pub count: u64,
    /// Whether they are fewer than `spec.shrinkGuard` allows, measured by the backup before.
    pub shrunk: bool,
}

/// What a backup lacks for a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedLack")]
pub struct Lack {
    /// What it is, as one word.
    pub reason: Reason,
    /// What was found and what to do. No secret, and at most 1,024 bytes in a result.
    pub message: String,
}

#[derive(Deserialize)]
struct UncheckedLack {
    reason: Reason,
    message: String,
}

impl Lack {
    /// What a backup can lack.
    pub const REASONS: [Reason; 5] = [
        Reason::NoQuorum,
        Reason::Shrunk,
        Reason::EncryptionKeyMissing,
        Reason::NeedsKms,
        Reason::Unsupported,
    ];

    /// A lack, of whose message that remains which is one line, and not too long.
    pub fn new(reason: Reason, message: &str) -> Self {
        Self { reason, message: line::of(message, MAX_LACK_BYTES) }
    }
}

impl TryFrom<UncheckedLack> for Lack {
    type Error = String;

    fn try_from(unchecked: UncheckedLack) -> Result<Self, Self::Error> {
        let UncheckedLack { reason, message } = unchecked;
        let is_lack = Self::REASONS.contains(&reason);
        is_lack.then(|| Self::new(reason, &message)).ok_or_else(|| format!("{reason} is nothing to lack"))
    }
}

/// What is known of the etcd member that a snapshot came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdFacts {
    /// Server version, for example `3.6.16`, at most 128 bytes.
    #[serde(deserialize_with = "line::read::<128, _>")]
    pub version: String,
    /// Cluster id and history at the moment before the stream began; the revision is the
    /// snapshot's own, which an etcd has that is restored from it, where it was read.
    #[serde(flatten)]
    pub position: Position,
    /// Member id, hexadecimal as etcdctl prints it, at most 64 bytes.
    #[serde(deserialize_with = "line::read::<64, _>")]
    pub member_id: String,
    /// Keys in the store, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// Size of the stored file in bytes, its SHA-256 trailer included.
    pub db_size_bytes: u64,
    /// SHA-256 of the stored file without its trailer, 64 hexadecimal digits: what the trailer says.
    #[serde(deserialize_with = "sha256")]
    pub sha256: String,
}

/// restic's ids are SHA-256 too.
fn sha256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    SnapshotId::deserialize(deserializer).map(String::from)
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    v: u32,
    verb: String,
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Full<Success> {
    #[serde(flatten)]
    envelope: Envelope,
    #[serde(flatten)]
    success: Success,
}

/// Writes the result of a verb, never longer than [`MAX_BYTES`].
pub fn render<Success: Serialize>(verb: &str, outcome: &Outcome<Success>) -> String {
    let envelope =
        |ok| Envelope { v: VERSION, verb: verb.to_owned(), ok, reason: None, message: None, field: None };
    let text = match outcome {
        Ok(success) => serde_json::to_string(&Full { envelope: envelope(true), success }),
        Err(failure) => serde_json::to_string(&Envelope {
            reason: Some(failure.reason.to_string()),
            message: Some(line::of(&failure.message, MAX_MESSAGE_BYTES)),
            field: failure.field.as_deref().map(|field| line::of(field, MAX_FIELD_BYTES)),
            ..envelope(false)
        }),
    };
    text.expect("results hold only text, numbers and truth values")
}

/// Reads the result of `verb`.
///
/// # Errors
///
/// What the agent said went wrong; or `NoResult` for an empty text, and
/// `Unknown` for one that is too long, malformed, of another version or of
/// another verb. Fields that this version does not know are ignored.
pub fn parse<Success: for<'a> Deserialize<'a>>(verb: &str, text: &str) -> Outcome<Success> {
    if text.is_empty() {
        return Err(Failure::new(Reason::NoResult, "the pod ended without leaving a result"));
    }
    if text.len() > MAX_BYTES {
        return Err(unknown(&format!("{} bytes long, at most {MAX_BYTES} are allowed", text.len())));
    }
    let envelope: Envelope = serde_json::from_str(text).map_err(|error| unknown(&error.to_string()))?;
    if envelope.v != VERSION {
        return Err(unknown(&format!("of version {}, expected {VERSION}", envelope.v)));
    }
    if envelope.verb != verb {
        return Err(unknown("of another verb"));
    }
    if !envelope.ok {
        return Err(failure(envelope));
    }
    serde_json::from_str::<Full<Success>>(text)
        .map(|full| full.success)
        .map_err(|error| unknown(&error.to_string()))
}

fn failure(envelope: Envelope) -> Failure {
    let message = envelope.message.unwrap_or_default();
    let word = envelope.reason.unwrap_or_default();
    match word.parse::<Reason>() {
        Ok(reason) if reason.exit_code() != 0 => {
            Failure::new(reason, message).at(envelope.field.unwrap_or_default())
        }
        _ => unknown(&format!("a failure without a known reason: {message}")),
    }
}

fn unknown(what: &str) -> Failure {
    Failure::new(Reason::Unknown, format!("the pod's result is {what}"))
}

#[cfg(test)]
mod forged;

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn initialization() -> Initialization {
        Initialization { repository_id: "ab".repeat(32).parse().expect("an id"), created: true }
    }

    #[test]
    fn a_success_is_read_as_it_was_written() {
        let text = render("init", &Ok(initialization()));
        assert_eq!(
            text,
            format!(
                r#"{{"v":1,"verb":"init","ok":true,"repositoryId":"{}","created":true}}"#,
                "ab".repeat(32)
            )
        );
        assert_eq!(parse("init", &text), Ok(initialization()));
    }

    #[test]
    fn a_failure_is_read_as_it_was_written() {
        let failure = Failure::new(Reason::WrongPassword, "does not open").at("restic_repo_password");
        let text = render::<Initialization>("init", &Err(failure.clone()));
        assert_eq!(parse::<Initialization>("init", &text), Err(failure));
    }

    #[test]
    fn a_long_message_is_cut_so_that_the_result_fits() {
        for filling in ["x", "\u{1}", "\"", "é", "💥"] {
            let failure = Failure::new(Reason::Bug, filling.repeat(9000)).at(filling.repeat(9000));
            let text = render::<Initialization>("init", &Err(failure));
            assert!(text.len() <= MAX_BYTES, "{} bytes of {filling:?}", text.len());
            assert_eq!(parse::<Initialization>("init", &text).expect_err("failed").reason, Reason::Bug);
        }
    }

    #[test]
    fn the_longest_backup_fits_with_all_that_it_lacks() {
        let mut longest: serde_json::Value =
            serde_json::from_str(include_str!("result/backup.json")).expect("JSON");
        for (field, length) in [("node", 253), ("clusterUid", 128)] {
            longest[field] = "\\".repeat(length / 2).into();
        }
        // One separator between two of them.
        let path = format!("/a{}", "\\".repeat(MAX_PATHS_BYTES / MAX_PATHS / 2 - 2));
        longest["encryptionConfigs"] = vec![path; MAX_PATHS].into();
        for (field, length) in [("version", 128), ("clusterId", 64), ("memberId", 64)] {
            longest["etcd"][field] = "\\".repeat(length / 2).into();
        }
        for field in ["filesNew", "dataAdded", "totalBytesProcessed"] {
            longest[field] = u64::MAX.into();
        }
        let lack = Lack::new(Reason::EncryptionKeyMissing, &"\\".repeat(9000));
        longest["incomplete"] = serde_json::to_value(&lack).expect("JSON");
        let longest: Backup = serde_json::from_value(longest).expect("a backup");
        let text = render("backup", &Ok(longest.clone()));
        assert!(text.len() <= MAX_BYTES, "{} bytes", text.len());
        assert_eq!(parse("backup", &text), Ok(longest));
    }

    #[rstest]
    #[case::nothing("", Reason::NoResult)]
    #[case::no_json("panicked at", Reason::Unknown)]
    #[case::too_long(&format!("{:5000}", render("init", &Ok(initialization()))), Reason::Unknown)]
    #[case::newer_version(r#"{"v":2,"verb":"init","ok":true}"#, Reason::Unknown)]
    #[case::other_verb(r#"{"v":1,"verb":"forget","ok":true,"forgotten":1}"#, Reason::Unknown)]
    #[case::forged_reason(
        r#"{"v":1,"verb":"init","ok":false,"reason":"Hooray","message":""}"#,
        Reason::Unknown
    )]
    #[case::failure_that_calls_itself_fine(
        r#"{"v":1,"verb":"init","ok":false,"reason":"Ready"}"#,
        Reason::Unknown
    )]
    #[case::malformed_id(
        r#"{"v":1,"verb":"init","ok":true,"repositoryId":"../x","created":true}"#,
        Reason::Unknown
    )]
    #[case::lacking_field(r#"{"v":1,"verb":"init","ok":true}"#, Reason::Unknown)]
    fn does_not_believe(#[case] text: &str, #[case] reason: Reason) {
        assert_eq!(parse::<Initialization>("init", text).expect_err("refused").reason, reason);
    }

    #[rstest]
    #[case::a_lack(r#"{"reason":"NeedsKms","message":"vault"}"#, true)]
    #[case::what_is_none(r#"{"reason":"Complete","message":""}"#, false)]
    #[case::a_failure(r#"{"reason":"WrongPassword","message":""}"#, false)]
    #[case::what_nobody_knows(r#"{"reason":"Hooray","message":""}"#, false)]
    #[case::a_word_alone(r#""NeedsKms""#, false)]
    fn a_lack_is_believed_that_is_one(#[case] text: &str, #[case] is_believed: bool) {
        assert_eq!(serde_json::from_str::<Lack>(text).is_ok(), is_believed);
    }

    #[rstest]
    #[case::whole("3600", true)]
    #[case::of_nothing("0", true)]
    #[case::before_it_began("-0.5", false)]
    #[case::of_a_thousand_years("3.2e10", false)]
    #[case::without_an_end("1e308", false)]
    fn a_duration_is_believed_that_a_run_can_have(#[case] text: &str, #[case] is_believed: bool) {
        let read = duration(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(read.is_ok(), is_believed);
    }

    #[test]
    fn a_long_lack_is_cut_by_who_writes_and_who_reads_it() {
        let long = "\u{1}".repeat(9000);
        let text = serde_json::to_string(&Lack::new(Reason::NeedsKms, &long)).expect("JSON");
        assert!(text.len() <= MAX_LACK_BYTES + 60, "{} bytes", text.len());
        let forged = serde_json::json!({ "reason": "NeedsKms", "message": long });
        let read: Lack = serde_json::from_value(forged).expect("a lack");
        assert_eq!(read, Lack::new(Reason::NeedsKms, &long));
    }

    #[test]
    fn fields_of_a_newer_agent_are_ignored() {
        let text = format!(
            r#"{{"v":1,"verb":"init","ok":true,"repositoryId":"{}","created":true,"new":[1]}}"#,
            "ab".repeat(32)
        );
        assert_eq!(parse("init", &text), Ok(initialization()));
    }
}
