//! Proof that what snapshots refer to is in the bucket.
//!
//! ```text
//! snapshots/<id> ─▶ trees ─▶ blobs ─(index/*)─▶ packs with their sizes ─(list data/)─▶ Presence
//!                     └─▶ the files that must be in it, with their sizes
//! ```
//!
//! restic's own `check` judges the whole repository: one old pack that is gone
//! would fail every backup and name none. This looks at what one backup needs,
//! in the bucket itself and not in restic's cache.
mod packs;
mod tree;

use model::{Reason, SnapshotId, result::Failure};
use packs::Packs;
use serde::Deserialize;
use tokio::task::JoinSet;
use tree::{Needed, Trees, Unseen};

use crate::{
    Bucket, Page, Restic,
    format::{self, Config, Damaged, Id, Index, Key},
};

/// Requests for files that are under way at once.
const AT_ONCE: usize = 4;

/// Most missing packs or files that are named.
const MOST_NAMED: usize = 10;

/// A repository that opened with its password.
#[derive(Debug)]
pub struct Opened {
    id: SnapshotId,
    key: Key,
}

/// A snapshot that must be there, and what must be in it.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its full id.
    pub snapshot: &'a SnapshotId,
    /// Absolute paths of files with their sizes in bytes, where they are known. A file
    /// that is not there is found by its path alone: an empty snapshot lacks no pack.
    pub files: &'a [(&'a str, Option<u64>)],
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
///
/// The bucket is asked first: restic tries for 15 minutes before it says that
/// keys are wrong or a server is down.
pub async fn attach(restic: &Restic, bucket: &Bucket) -> Result<Opened, Failure> {
    let contents = bucket.contents().await?;
    if contents.is_half_made() {
        return Err(absent(Reason::RepositoryHalfMade, "parts of a repository but no config"));
    }
    let Some(config) = bucket.get("config", Config::MOST as u64).await? else {
        return Err(absent(Reason::RepositoryGone, "no repository"));
    };
    let key = Key::parse(&restic.master_key().await?).map_err(|error| damaged("the master key", &error))?;
    let config: Config =
        format::documents(&key, config, Config::MOST).map_err(|error| damaged("config", &error))?;
    if !Config::VERSIONS.contains(&config.version) {
        let message =
            format!("the repository has version {} of restic's format, known are 1 and 2", config.version);
        return Err(Failure::new(Reason::Unsupported, message));
    }
    Ok(Opened::new(config.id, key))
}

impl Opened {
    pub(crate) fn new(id: SnapshotId, key: Key) -> Self {
        Self { id, key }
    }

    /// Opens and parses an unpacked file of the repository.
    pub(crate) fn document<T: for<'a> Deserialize<'a>>(
        &self,
        stored: Vec<u8>,
        most: usize,
    ) -> Result<T, Damaged> {
        format::documents(&self.key, stored, most)
    }

    /// Id of the repository's config.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// Shows that every pack that the snapshots refer to is in the bucket, with its
    /// size, and that the expected files are in them.
    ///
    /// # Errors
    ///
    /// `SnapshotMissing` or `PackMissing`, with what is missing; `SnapshotTruncated`
    /// where a file is not in its snapshot; `RepositoryDamaged` where something on
    /// the way cannot be read.
    pub async fn prove_presence(
        &self,
        bucket: &Bucket,
        expected: &[Expected<'_>],
    ) -> Result<Presence, Failure> {
        Box::pin(unless_moved(self.look(bucket, expected), self.look(bucket, expected))).await
    }

    async fn look(&self, bucket: &Bucket, expected: &[Expected<'_>]) -> Result<Presence, Failure> {
        let index = self.index(bucket).await?;
        let trees = Trees { key: &self.key, index: &index, part: |place| packs::part(bucket, place) };
        let mut needed = Needed::default();
        for Expected { snapshot, files } in expected {
            let root = self.root(bucket, snapshot).await?;
            let mut unseen = Unseen::new(files);
            trees.walk(root, &mut needed, &mut unseen).await?;
            unseen.none(snapshot)?;
        }
        packs::presence(bucket, Packs::of(&needed, &index)?).await
    }

    async fn root(&self, bucket: &Bucket, snapshot: &SnapshotId) -> Result<Id, Failure> {
        let name = format!("snapshots/{snapshot}");
        let Some(stored) = bucket.get(&name, format::Snapshot::MOST as u64).await? else {
            let message =
                format!("snapshot {snapshot} is not in the bucket. {}", Reason::SnapshotMissing.advice());
            return Err(Failure::new(Reason::SnapshotMissing, message));
        };
        named(&name, &stored)?;
        let document = self.document::<format::Snapshot>(stored, format::Snapshot::MOST);
        document.map(|snapshot| snapshot.tree).map_err(|error| damaged(&name, &error))
    }

    async fn index(&self, bucket: &Bucket) -> Result<Index, Failure> {
        let mut names = Vec::new();
        bucket.list("index/", |page| names.extend(index_files(page))).await?;
        let mut index = Index::default();
        // One that is gone by now was replaced by another since it was listed, and what only
        // the other knows will be missed below.
        read_each(bucket, names, Index::MOST_STORED as u64, |name, file| {
            let file = file?;
            named(name, &file)?;
            index.add(&self.key, file).map_err(|error| damaged(name, &error))
        })
        .await?;
        index.sort();
        Ok(index)
    }
}

/// Reads files, some at once, and hands on what was read of each. Those that are not there are passed over.
pub(crate) async fn read_each(
    bucket: &Bucket,
    names: Vec<String>,
    most: u64,
    mut each: impl FnMut(&str, Result<Vec<u8>, Failure>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reads = JoinSet::new();
    let mut names = names.into_iter();
    loop {
        while reads.len() < AT_ONCE
            && let Some(name) = names.next()
        {
            let bucket = bucket.clone();
            reads.spawn(async move { (bucket.get(&name, most).await, name) });
        }
        let Some(read) = reads.join_next().await else { return Ok(()) };
        let (file, name) = read.map_err(|error| Failure::new(Reason::Bug, error.to_string()))?;
        if let Some(file) = file.transpose() {
            each(&name, file)?;
        }
    }
}

/// Those of the listed objects that are index files: like restic itself, this passes over
/// whatever else lies there.
fn index_files(page: Page) -> impl Iterator<Item = String> {
    let is_index = |name: &String| name.strip_prefix("index/").and_then(Id::parse).is_some();
    page.objects.into_iter().map(|object| object.name).filter(is_index)
}

/// Looks again before it calls a pack missing: a prune moves what is needed to other
/// packs and then deletes those that an index which was read before it still names.
async fn unless_moved(
    look: impl Future<Output = Result<Presence, Failure>>,
    again: impl Future<Output = Result<Presence, Failure>>,
) -> Result<Presence, Failure> {
    match look.await {
        Err(failure) if failure.reason == Reason::PackMissing => {
            tracing::warn!("looking again: {}", failure.message);
            again.await
        }
        found => found,
    }
}

/// A file's name is the SHA-256 of what is in it.
pub(crate) fn named(name: &str, stored: &[u8]) -> Result<(), Failure> {
    let hash = Id::of(stored);
    if name.rsplit('/').next().and_then(Id::parse) == Some(hash) {
        return Ok(());
    }
    Err(damaged(name, &Damaged::new(format!("its SHA-256 is {hash}"))))
}

pub(crate) fn damaged(what: &str, error: &Damaged) -> Failure {
    let reason = Reason::RepositoryDamaged;
    Failure::new(reason, format!("{what} cannot be read: {error}. {}", reason.advice()))
}

fn absent(reason: Reason, what: &str) -> Failure {
    Failure::new(reason, format!("the bucket's folder holds {what}. {}", reason.advice()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rstest::rstest;

    use super::*;
    use crate::{Object, empty_server, format::tests::key};

    #[rstest]
    #[case::there(&[Ok(())], Ok(()), 1)]
    #[case::moved_by_a_prune(&[Err(Reason::PackMissing), Ok(())], Ok(()), 2)]
    #[case::lost(&[Err(Reason::PackMissing), Err(Reason::PackMissing)], Err(Reason::PackMissing), 2)]
    #[case::no_snapshot(&[Err(Reason::SnapshotMissing)], Err(Reason::SnapshotMissing), 1)]
    #[tokio::test]
    async fn a_missing_pack_is_looked_for_twice(
        #[case] looks: &[Result<(), Reason>],
        #[case] expected: Result<(), Reason>,
        #[case] times: usize,
    ) {
        let looked = Cell::new(0);
        let look = async || {
            let look = looks[looked.replace(looked.get() + 1)];
            look.map(|()| Presence { packs: 1, bytes: 1 }).map_err(|reason| Failure::new(reason, ""))
        };
        let found = unless_moved(look(), look()).await.map(|_| ()).map_err(|failure| failure.reason);
        assert_eq!((found, looked.get()), (expected, times));
    }

    #[tokio::test]
    async fn a_snapshot_that_is_not_in_the_bucket_is_missing() {
        let bucket = Bucket::new(&empty_server::access().await).expect("a client");
        let id: SnapshotId = "ab".repeat(32).parse().expect("an id");
        let expected = [Expected { snapshot: &id, files: &[] }];
        let proven = Opened::new(id.clone(), key()).prove_presence(&bucket, &expected).await;
        assert_eq!(proven.expect_err("nothing is there").reason, Reason::SnapshotMissing);
    }

    #[test]
    fn what_has_not_the_name_of_an_index_is_passed_over() {
        let index = format!("index/{}", Id::of(b"x"));
        let strays = [format!("{index}.partial"), "index/README".to_owned(), format!("index/old/{index}")];
        let names = [&strays[..], std::slice::from_ref(&index)].concat();
        let object = |name| Object { name, size: 1, modified: None };
        let page = Page { objects: names.into_iter().map(object).collect(), answered: None };
        assert_eq!(index_files(page).collect::<Vec<_>>(), [index]);
    }

    #[test]
    fn contents_that_are_not_the_named_ones_are_damage() {
        let name = format!("index/{}", Id::of(b"x"));
        assert!(named(&name, b"x").is_ok());
        assert_eq!(named(&name, b"y").expect_err("changed").reason, Reason::RepositoryDamaged);
    }
}
