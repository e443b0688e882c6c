//! Which snapshots there are, read in the bucket itself.
//!
//! ```text
//! list snapshots/ ─▶ each file ─▶ Key::open ─▶ Snapshot, or the id of one that cannot be read
//! ```
//!
//! `restic snapshots` calls a bucket that it could not list an empty one, leaves out without a word what it could not
//! read, and derives its key from the password anew: 0.5 s of a processor beside etcd.
use jiff::Timestamp;
use model::{Reason, SnapshotId, result::Failure};

use crate::{
    Bucket,
    format::{self, Id},
    presence::{Opened, damaged, named, read_each},
};

/// Most snapshots that a message names.
const MOST_NAMED: usize = 10;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Full id.
    pub id: SnapshotId,
    /// When the backup began.
    pub time: Timestamp,
    /// Tags; see [`model::tags`].
    pub tags: Vec<String>,
}

/// What is in the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Snapshots that can be read.
    pub snapshots: Vec<Snapshot>,
    /// Ids of those that cannot.
    pub unreadable: Vec<String>,
}

impl Opened {
    /// Lists every snapshot, or fails: the list is never shorter than the truth.
    pub async fn snapshots(&self, bucket: &Bucket) -> Result<Vec<Snapshot>, Failure> {
        let Listing { snapshots, unreadable } = self.listing(bucket).await?;
        if unreadable.is_empty() {
            return Ok(snapshots);
        }
        let named = unreadable.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let (count, reason) = (unreadable.len(), Reason::RepositoryDamaged);
        Err(Failure::new(reason, format!("{count} snapshots cannot be read: {named}. {}", reason.advice())))
    }

    /// Lists the snapshots that can be read, and names those that cannot.
    ///
    /// Without a lock, so that a running prune cannot hide what is there.
    ///
    /// # Guarantees
    ///
    /// What is in the bucket from the beginning to the end is in the list or named.
    ///
    /// # Errors
    ///
    /// Where the bucket does not answer: that says nothing of a snapshot.
    pub async fn listing(&self, bucket: &Bucket) -> Result<Listing, Failure> {
        let mut listing = Listing::default();
        let names = ids(bucket).await?.into_iter().map(|id| format!("snapshots/{id}")).collect();
        read_each(bucket, names, format::Snapshot::MOST as u64, |name, stored| {
            match stored.and_then(|stored| self.snapshot(name, stored)) {
                Ok(snapshot) => listing.snapshots.push(snapshot),
                Err(failure) if failure.reason == Reason::RepositoryDamaged => {
                    tracing::warn!("{}", failure.message);
                    listing.unreadable.push(name.trim_start_matches("snapshots/").to_owned());
                }
                Err(failure) => return Err(failure),
            }
            Ok(())
        })
        .await?;
        Ok(listing)
    }

    fn snapshot(&self, name: &str, stored: Vec<u8>) -> Result<Snapshot, Failure> {
        let id =
            snapshot_id(name).ok_or_else(|| Failure::new(Reason::Bug, format!("{name} is no snapshot")))?;
        named(name, &stored)?;
        let document = self.document::<format::Snapshot>(stored, format::Snapshot::MOST);
        let format::Snapshot { time, tags, .. } = document.map_err(|error| damaged(name, &error))?;
        Ok(Snapshot { id, time, tags: tags.unwrap_or_default() })
    }
}

/// Ids of the snapshots in the bucket.
pub(crate) async fn ids(bucket: &Bucket) -> Result<Vec<SnapshotId>, Failure> {
    let mut ids = Vec::new();
    bucket
        .list("snapshots/", |page| {
            ids.extend(page.objects.iter().filter_map(|object| snapshot_id(&object.name)));
        })
        .await?;
    Ok(ids)
}

/// The id of a snapshot, if that is the name of one in the bucket.
fn snapshot_id(name: &str) -> Option<SnapshotId> {
    let id = name.strip_prefix("snapshots/")?;
    Id::parse(id)?;
    id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tests::{key, seal};

    fn opened() -> Opened {
        Opened::new("ab".repeat(32).parse().expect("an id"), key())
    }

    fn file(json: &str) -> (String, Vec<u8>) {
        let stored = seal(&key(), json.as_bytes());
        (format!("snapshots/{}", Id::of(&stored)), stored)
    }

    #[test]
    fn a_snapshot_of_restic_is_read() {
        let (name, stored) = file(
            r#"{"time":"2026-11-21T11:18:37.079528465+01:00","tree":"d78fa8776f89af33096ff2689e6e9000b50b6bf3199466c7fc2c1c99ddf584f2","paths":["/data/etcd-snapshot.db"],"hostname":"h","username":"root","tags":["kubedr","a:b","c"],"program_version":"restic 0.19.1"}"#,
        );
        let snapshot = opened().snapshot(&name, stored).expect("as restic writes it");
        assert_eq!(format!("snapshots/{}", snapshot.id), name);
        assert_eq!(snapshot.time.to_string(), "2026-11-21T10:18:37.079528465Z");
        assert_eq!(snapshot.tags, ["kubedr", "a:b", "c"]);
    }

    #[test]
    fn a_snapshot_without_tags_is_one() {
        let (name, stored) = file(
            r#"{"time":"2015-01-02T18:10:50.895208559+01:00","tree":"2da81727b6585232894cfbb8f8bdab8d1eccd3d8f7c92bc934d62e62e618ffdf","paths":["/x"]}"#,
        );
        assert_eq!(opened().snapshot(&name, stored).expect("an old one").tags, Vec::<String>::new());
    }

    #[test]
    fn a_snapshot_that_was_changed_or_cut_off_is_damage() {
        let (name, stored) = file(r#"{"time":"2026-11-21T11:18:37Z"}"#);
        let short = stored[..stored.len() - 1].to_vec();
        for stored in [stored, short, Vec::new()] {
            let failure = opened().snapshot(&name, stored).expect_err("no tree, or not these contents");
            assert_eq!(failure.reason, Reason::RepositoryDamaged, "{failure}");
        }
    }

    #[test]
    fn only_what_has_the_name_of_a_snapshot_is_one() {
        let id = "0f".repeat(32);
        assert_eq!(snapshot_id(&format!("snapshots/{id}")).map(|id| id.to_string()), Some(id.clone()));
        for name in [format!("index/{id}"), "snapshots/.tmp".to_owned(), format!("snapshots/{id}.bak")] {
            assert_eq!(snapshot_id(&name), None);
        }
    }
}
