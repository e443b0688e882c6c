//! What a snapshot is, found out while it passes: whether it is what etcd hashed, and whether it is a database of etcd's.
use model::{Reason, result::Failure};
use serde::{Deserialize, Serialize};
use snapshot::{Contents, Tally, Unread, Walk};

use super::verifier::Verifier;

/// What was streamed, known only of a whole and undamaged snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamFacts {
    /// Bytes of the file, its trailer included.
    pub bytes: u64,
    /// SHA-256 of the file without its trailer, which is what the trailer says.
    pub sha256: String,
    /// What the database holds; or why that is not known of a file that may be whole.
    pub contents: Result<Contents, String>,
}

impl StreamFacts {
    /// What was counted of keys and objects; or why it was not.
    pub fn tally(&self) -> Result<&Tally, &str> {
        let contents = self.contents.as_ref().map_err(String::as_str)?;
        contents
            .tally
            .as_ref()
            .ok_or("the file has more changes, or kinds of objects, than can be told apart")
    }
}

/// Hashes and reads a snapshot as it passes.
pub struct Inspection {
    verifier: Verifier,
    walk: Walk,
    /// The store's revision when the stream was asked for: an older snapshot is not the member's.
    least_revision: u64,
}

impl Inspection {
    /// An inspection that has seen nothing, of a member that was at `least_revision`.
    pub fn new(least_revision: u64) -> Self {
        Self { verifier: Verifier::new(), walk: Walk::new(), least_revision }
    }

    /// Takes the next bytes, and how many etcd says are still to come.
    pub fn push(&mut self, chunk: &[u8], remaining: u64) {
        self.verifier.push(chunk, remaining);
        self.walk.push(chunk);
    }

    /// Bytes seen so far.
    pub fn bytes(&self) -> u64 {
        self.verifier.bytes()
    }

    /// Judges what was seen, as the whole of a stream that has ended.
    ///
    /// # Errors
    ///
    /// Those of the [`Verifier`]; `SnapshotDamaged` with page and offset for what etcd could not open either, `NotEtcd`
    /// for a database of another program, `RevisionWentBack` for one that is older than what the member said.
    pub fn finish(self) -> Result<StreamFacts, Failure> {
        let (bytes, sha256) = self.verifier.finish()?;
        let contents = match self.walk.finish() {
            Ok(contents) => recent(contents, self.least_revision).map(Ok)?,
            Err(error @ Unread::TooMuch(_)) => Err(error.to_string()),
            Err(Unread::Damaged(damage)) => {
                let message = format!("etcd's database itself is damaged, as it was sent: {damage}");
                return Err(Failure::new(Reason::SnapshotDamaged, message));
            }
            Err(error @ Unread::Foreign) => {
                return Err(Failure::new(Reason::NotEtcd, error.to_string()).at("spec.etcdEndpoint"));
            }
        };
        Ok(StreamFacts { bytes, sha256, contents })
    }
}

/// Several members behind one address may answer one question each.
fn recent(contents: Contents, least: u64) -> Result<Contents, Failure> {
    let revision = contents.opens_at();
    if revision < least {
        let message = format!("the snapshot is of revision {revision}, but its member was at {least} before");
        return Err(Failure::new(Reason::RevisionWentBack, message).at("spec.etcdEndpoint"));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use rstest::rstest;
    use snapshot::fixture;

    use super::*;

    /// What is said of a database that comes with its hash from a member that was at `revision`.
    fn judged(mut file: Vec<u8>, revision: u64) -> Result<StreamFacts, Failure> {
        let hash = digest(&SHA256, &file);
        file.extend_from_slice(hash.as_ref());
        let mut inspection = Inspection::new(revision);
        file.chunks(1000).for_each(|chunk| inspection.push(chunk, 0));
        inspection.finish()
    }

    #[test]
    fn a_whole_snapshot_is_good_and_its_objects_are_counted() {
        let facts = judged(fixture::database(7), 3).expect("whole");
        let contents = facts.contents.expect("few pages");
        assert_eq!(contents.tally.expect("few changes").objects["pods"], 2);
    }

    #[test]
    fn a_database_that_etcd_hashed_but_could_not_open_is_damaged_and_where_is_told() {
        let mut file = fixture::database(7);
        file[5 * fixture::SIZE + 8] = 0x10;
        let failure = judged(file, 3).expect_err("damaged");
        assert_eq!(failure.reason, Reason::SnapshotDamaged);
        assert!(failure.message.contains("page 5 (offset 2560)"), "{failure}");
    }

    #[test]
    fn a_database_of_another_program_is_not_etcd() {
        let mut file = fixture::database(7);
        let name = file.windows(4).position(|bytes| bytes == b"meta").expect("a bucket's name");
        file[name..name + 4].copy_from_slice(b"mets");
        assert_eq!(judged(file, 3).expect_err("another's").reason, Reason::NotEtcd);
    }

    #[rstest]
    #[case::of_that_very_moment(3, None)]
    #[case::newer(2, None)]
    #[case::of_a_member_that_lags_behind(4, Some(Reason::RevisionWentBack))]
    fn a_snapshot_is_as_new_as_its_member_said(#[case] revision: u64, #[case] expected: Option<Reason>) {
        let failure = judged(fixture::database(7), revision).err();
        assert_eq!(failure.map(|failure| failure.reason), expected);
    }
}
