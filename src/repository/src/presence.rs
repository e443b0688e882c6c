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
use std::collections::{BTreeMap, BTreeSet, HashSet};

use model::{Reason, SnapshotId, result::Failure};
use tokio::task::JoinSet;

use crate::{
    Bucket, Restic,
    format::{self, Config, Damaged, Id, Index, Key, Kind, Located},
};

/// Requests for index files that are under way at once.
const AT_ONCE: usize = 4;

/// Most folders that are walked: the rest of the memory bounds.
const MOST_TREES: usize = 1_000_000;

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

/// The snapshot with whatever is in it.
impl<'a> From<&'a SnapshotId> for Expected<'a> {
    fn from(snapshot: &'a SnapshotId) -> Self {
        Self { snapshot, files: &[] }
    }
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
    Ok(Opened { id: config.id, key })
}

impl Opened {
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
    pub async fn prove_presence<'a>(
        &self,
        bucket: &Bucket,
        snapshots: &[impl Into<Expected<'a>> + Copy],
    ) -> Result<Presence, Failure> {
        let expected: Vec<Expected<'a>> = snapshots.iter().map(|snapshot| (*snapshot).into()).collect();
        Box::pin(unless_moved(self.look(bucket, &expected), self.look(bucket, &expected))).await
    }

    async fn look(&self, bucket: &Bucket, expected: &[Expected<'_>]) -> Result<Presence, Failure> {
        let reader = Reader { key: &self.key, bucket, index: self.index(bucket).await? };
        let mut needed = Needed::default();
        for Expected { snapshot, files } in expected {
            let root = reader.root(snapshot).await?;
            let mut unseen = Unseen::new(files);
            reader.walk(root, &mut needed, &mut unseen).await?;
            unseen.none(snapshot)?;
        }
        let stored = stored_packs(bucket, reader.packs(&needed)?).await?;
        let size = |id| {
            let bucket = bucket.clone();
            async move { bucket.size(&pack_name(id)).await }
        };
        stored.presence(size).await
    }

    async fn index(&self, bucket: &Bucket) -> Result<Index, Failure> {
        let mut names = Vec::new();
        bucket
            .list("index/", |page| names.extend(page.objects.into_iter().map(|object| object.name)))
            .await?;
        let mut index = Index::default();
        let mut reads = JoinSet::new();
        let mut names = names.into_iter();
        loop {
            while reads.len() < AT_ONCE
                && let Some(name) = names.next()
            {
                let bucket = bucket.clone();
                reads.spawn(async move { (bucket.get(&name, Index::MOST_STORED as u64).await, name) });
            }
            let Some(read) = reads.join_next().await else { break };
            let (file, name) = read.map_err(|error| Failure::new(Reason::Bug, error.to_string()))?;
            // One that is gone by now was replaced by another since it was listed,
            // and what only the other knows will be missed below.
            if let Some(file) = file? {
                named(&name, &file)?;
                index.add(&self.key, file).map_err(|error| damaged(&name, &error))?;
            }
        }
        index.sort();
        Ok(index)
    }
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

/// Files of a snapshot that were not seen yet.
#[derive(Debug)]
struct Unseen<'a>(BTreeMap<&'a str, Option<u64>>);

impl<'a> Unseen<'a> {
    fn new(files: &[(&'a str, Option<u64>)]) -> Self {
        Self(files.iter().copied().collect())
    }

    /// Whether one of them would be in this folder or below it.
    fn is_below(&self, folder: &str) -> bool {
        let mut files = self.0.range(folder..).map(|(path, _)| *path);
        // Others may sort between the folder's name and what is in it: `/a-b` before `/a/b`.
        let mut alike = files.by_ref().take_while(|path| path.starts_with(folder));
        alike.any(|path| path[folder.len()..].starts_with('/'))
    }

    /// Strikes a file off, if it is as large as it must be.
    fn see(&mut self, path: &str, node: &format::Node) {
        let Some(size) = self.0.get(path) else { return };
        // A folder or link of that name has no contents.
        if node.content.is_some() && size.is_none_or(|size| size == node.size) {
            self.0.remove(path);
        }
    }

    fn none(&self, snapshot: &SnapshotId) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let named = self.0.iter().take(MOST_NAMED).map(|(path, size)| match size {
            Some(size) => format!("{path} with {size} bytes"),
            None => (*path).to_owned(),
        });
        let named = named.collect::<Vec<_>>().join(", ");
        Err(Failure::new(Reason::SnapshotTruncated, format!("snapshot {snapshot} lacks {named}")))
    }
}

/// Blobs that snapshots need.
#[derive(Debug, Default)]
struct Needed {
    trees: HashSet<Id>,
    data: HashSet<Id>,
}

struct Reader<'a> {
    key: &'a Key,
    bucket: &'a Bucket,
    index: Index,
}

impl Reader<'_> {
    async fn root(&self, snapshot: &SnapshotId) -> Result<Id, Failure> {
        let name = format!("snapshots/{snapshot}");
        let Some(stored) = self.bucket.get(&name, format::Snapshot::MOST as u64).await? else {
            let message =
                format!("snapshot {snapshot} is not in the bucket. {}", Reason::SnapshotMissing.advice());
            return Err(Failure::new(Reason::SnapshotMissing, message));
        };
        named(&name, &stored)?;
        let document = format::documents::<format::Snapshot>(self.key, stored, format::Snapshot::MOST);
        document.map(|snapshot| snapshot.tree).map_err(|error| damaged(&name, &error))
    }

    async fn walk(&self, root: Id, needed: &mut Needed, unseen: &mut Unseen<'_>) -> Result<(), Failure> {
        let mut open = vec![(root, String::new())];
        while let Some((id, folder)) = open.pop() {
            // Folders with the same contents are one tree; only for a path it is read again.
            if !needed.trees.insert(id) && !unseen.is_below(&folder) {
                continue;
            }
            if needed.trees.len() > MOST_TREES {
                let message = format!("the snapshots have more than {MOST_TREES} folders");
                return Err(Failure::new(Reason::Unsupported, message));
            }
            for node in self.tree(id).await?.nodes {
                let path = format!("{folder}/{}", node.name);
                unseen.see(&path, &node);
                open.extend(node.subtree.map(|tree| (tree, path)));
                needed.data.extend(node.content.into_iter().flatten());
            }
        }
        Ok(())
    }

    /// Reads a folder from the first of its places that has it.
    async fn tree(&self, id: Id) -> Result<format::Tree, Failure> {
        let mut failure = unindexed(Kind::Tree, id);
        for place in self.index.find(Kind::Tree, id) {
            match self.tree_at(&place, id).await {
                Ok(tree) => return Ok(tree),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn tree_at(&self, place: &Located, id: Id) -> Result<format::Tree, Failure> {
        let name = pack_name(place.pack.id);
        if place.length as usize > format::Tree::MOST {
            return Err(damaged(
                &name,
                &Damaged::new(format!("tree {id} would have {} bytes", place.length)),
            ));
        }
        let part = self.bucket.get_part(&name, place.offset.into(), place.length.into()).await?;
        let part = part.ok_or_else(|| missing(&[(place.pack.id, place.pack.size, None)], 1))?;
        if part.len() < place.length as usize {
            let found = self.bucket.size(&name).await?;
            return Err(missing(&[(place.pack.id, place.pack.size, found)], 1));
        }
        place.tree(self.key, id, part).map_err(|error| damaged(&format!("tree {id} in {name}"), &error))
    }

    /// The packs of every needed blob, each blob with all of its places.
    fn packs(&self, needed: &Needed) -> Result<Packs, Failure> {
        let mut packs = Packs::default();
        let trees = needed.trees.iter().map(|id| (Kind::Tree, *id));
        for (kind, id) in trees.chain(needed.data.iter().map(|id| (Kind::Data, *id))) {
            let mut places: Vec<_> = self.index.find(kind, id).map(|place| place.pack).collect();
            places.dedup();
            let Some(first) = places.first() else { return Err(unindexed(kind, id)) };
            packs.sizes.extend(places.iter().map(|pack| (pack.id, pack.size)));
            if places.len() == 1 {
                packs.alone.insert(first.id);
            } else {
                packs.choices.insert(places.iter().map(|pack| pack.id).collect());
            }
        }
        Ok(packs)
    }
}

/// What must be in the bucket.
#[derive(Debug, Default, PartialEq, Eq)]
struct Packs {
    /// Every pack that is named below, with its size.
    sizes: BTreeMap<Id, u64>,
    /// The only place of some blob.
    alone: HashSet<Id>,
    /// Packs of which one is enough: restic reads a blob from wherever it is whole.
    choices: HashSet<Vec<Id>>,
}

/// What is in the bucket of what must be.
#[derive(Debug)]
struct Stored {
    needed: Packs,
    found: BTreeMap<Id, u64>,
}

async fn stored_packs(bucket: &Bucket, needed: Packs) -> Result<Stored, Failure> {
    let mut found = BTreeMap::new();
    bucket
        .list("data/", |page| {
            let packs = page.objects.iter().filter_map(|object| Some((pack_id(&object.name)?, object.size)));
            found.extend(packs.filter(|(id, _)| needed.sizes.contains_key(id)));
        })
        .await?;
    Ok(Stored { needed, found })
}

impl Stored {
    async fn presence<Asked>(mut self, size: impl Fn(Id) -> Asked) -> Result<Presence, Failure>
    where
        Asked: Future<Output = Result<Option<u64>, Failure>>,
    {
        // Some servers list what was just written only later: what a listing
        // lacks is asked for by name, until as many are certain as are named.
        let mut certain = 0;
        for id in self.lacking() {
            if let Some(size) = size(id).await? {
                self.found.insert(id, size);
            }
            certain += usize::from(!self.is_whole(id));
            if certain == MOST_NAMED {
                break;
            }
        }
        let lacking = self.lacking();
        if lacking.is_empty() {
            return Ok(self.sum());
        }
        let named: Vec<_> = lacking.iter().take(MOST_NAMED).map(|id| self.compared(*id)).collect();
        Err(missing(&named, lacking.len()))
    }

    fn is_whole(&self, id: Id) -> bool {
        self.found.get(&id) == self.needed.sizes.get(&id)
    }

    /// The packs without which a blob is lost.
    fn lacking(&self) -> Vec<Id> {
        let alone = self.needed.alone.iter().copied().filter(|id| !self.is_whole(*id));
        let lost = self.needed.choices.iter().filter(|packs| !packs.iter().any(|id| self.is_whole(*id)));
        let all: BTreeSet<_> = alone.chain(lost.flatten().copied()).collect();
        all.into_iter().collect()
    }

    fn compared(&self, id: Id) -> (Id, u64, Option<u64>) {
        let expected = self.needed.sizes.get(&id).copied().unwrap_or_default();
        (id, expected, self.found.get(&id).copied())
    }

    fn sum(&self) -> Presence {
        let whole: Vec<_> = self.needed.sizes.iter().filter(|(id, _)| self.is_whole(**id)).collect();
        Presence { packs: whole.len() as u64, bytes: whole.iter().map(|(_, size)| **size).sum() }
    }
}

fn pack_name(id: Id) -> String {
    let id = id.to_string();
    format!("data/{}/{id}", &id[..2])
}

fn pack_id(name: &str) -> Option<Id> {
    let (folder, id) = name.strip_prefix("data/")?.split_once('/')?;
    id.starts_with(folder).then(|| Id::parse(id))?
}

/// A file's name is the SHA-256 of what is in it.
fn named(name: &str, stored: &[u8]) -> Result<(), Failure> {
    let hash = Id::of(stored);
    if name.rsplit('/').next().and_then(Id::parse) == Some(hash) {
        return Ok(());
    }
    Err(damaged(name, &Damaged::new(format!("its SHA-256 is {hash}"))))
}

fn damaged(what: &str, error: &Damaged) -> Failure {
    let reason = Reason::RepositoryDamaged;
    Failure::new(reason, format!("{what} cannot be read: {error}. {}", reason.advice()))
}

fn absent(reason: Reason, what: &str) -> Failure {
    Failure::new(reason, format!("the bucket's folder holds {what}. {}", reason.advice()))
}

fn unindexed(kind: Kind, id: Id) -> Failure {
    let reason = Reason::PackMissing;
    let kind = if kind == Kind::Tree { "tree" } else { "data" };
    Failure::new(reason, format!("no index names a pack with the {kind} blob {id}. {}", reason.advice()))
}

fn missing(packs: &[(Id, u64, Option<u64>)], count: usize) -> Failure {
    let named = packs.iter().map(|(id, expected, found)| match found {
        Some(found) => format!("{id} has {found} bytes instead of {expected}"),
        None => format!("{id} is not there"),
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let reason = Reason::PackMissing;
    Failure::new(reason, format!("{count} packs are missing or cut off: {named}. {}", reason.advice()))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use rstest::rstest;

    use super::*;
    use crate::format::tests::id;

    fn stored(found: &[(char, u64)]) -> Stored {
        let needed = Packs {
            sizes: [('a', 10), ('b', 20), ('c', 30)].map(|(pack, size)| (id(pack), size)).into(),
            alone: [id('a')].into(),
            choices: [vec![id('b'), id('c')]].into(),
        };
        Stored { needed, found: found.iter().map(|(pack, size)| (id(*pack), *size)).collect() }
    }

    #[test]
    fn all_packs_are_there() {
        let stored = stored(&[('a', 10), ('b', 20), ('c', 30)]);
        assert_eq!(stored.lacking(), []);
        assert_eq!(stored.sum(), Presence { packs: 3, bytes: 60 });
    }

    #[test]
    fn one_place_of_a_blob_is_enough() {
        let stored = stored(&[('a', 10), ('c', 30)]);
        assert_eq!(stored.lacking(), []);
        assert_eq!(stored.sum(), Presence { packs: 2, bytes: 40 });
    }

    #[test]
    fn a_pack_that_is_missing_or_has_another_size_is_named() {
        assert_eq!(stored(&[('b', 20)]).lacking(), [id('a')]);
        assert_eq!(stored(&[('a', 9), ('b', 20)]).lacking(), [id('a')]);
        assert_eq!(stored(&[('a', 11), ('b', 20)]).lacking(), [id('a')]);
        assert_eq!(stored(&[('a', 10), ('b', 19)]).lacking(), [id('b'), id('c')]);
        let failure = missing(&[stored(&[('a', 9)]).compared(id('a'))], 1);
        assert!(failure.message.contains(&format!("{} has 9 bytes instead of 10", id('a'))), "{failure}");
    }

    /// A hundred packs, of which a listing showed none.
    fn unlisted() -> Stored {
        let ids: Vec<Id> = (0..100_u8).map(|number| Id::of(&[number])).collect();
        let sizes = ids.iter().map(|id| (*id, 10)).collect();
        let needed = Packs { sizes, alone: ids.into_iter().collect(), choices: HashSet::new() };
        Stored { needed, found: BTreeMap::new() }
    }

    #[tokio::test]
    async fn a_listing_that_lags_behind_is_no_loss() {
        let presence = unlisted().presence(|_| ready(Ok(Some(10)))).await;
        assert_eq!(presence, Ok(Presence { packs: 100, bytes: 1000 }));
    }

    #[tokio::test]
    async fn packs_that_are_lost_are_not_all_asked_for() {
        let asked = Cell::new(0);
        let size = |_| {
            asked.set(asked.get() + 1);
            ready(Ok(None))
        };
        let failure = unlisted().presence(size).await.expect_err("lost");
        assert_eq!((failure.reason, asked.get()), (Reason::PackMissing, MOST_NAMED));
    }

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

    /// A node as restic 0.19.1 writes it.
    fn node(json: &str) -> format::Node {
        serde_json::from_str(json).expect("a node")
    }

    const ETCD: &str = "/data/etcd-snapshot.db";

    #[rstest]
    #[case::whole(ETCD, r#"{"name":"x","type":"file","size":15,"content":[]}"#, true)]
    #[case::cut_off(ETCD, r#"{"name":"x","type":"file","size":14,"content":[]}"#, false)]
    #[case::empty(ETCD, r#"{"name":"x","type":"file","content":[]}"#, false)]
    #[case::a_folder(ETCD, r#"{"name":"x","type":"dir","size":15,"content":null}"#, false)]
    #[case::elsewhere("/etcd-snapshot.db", r#"{"name":"x","type":"file","size":15,"content":[]}"#, false)]
    fn an_expected_file_is_seen(#[case] path: &str, #[case] json: &str, #[case] seen: bool) {
        let mut unseen = Unseen::new(&[(ETCD, Some(15))]);
        unseen.see(path, &node(json));
        let snapshot = "ab".repeat(32).parse().expect("an id");
        let lacking = unseen.none(&snapshot).err().map(|failure| failure.reason);
        assert_eq!(lacking, (!seen).then_some(Reason::SnapshotTruncated));
    }

    #[test]
    fn a_file_whose_size_is_not_known_is_seen_by_its_name() {
        let mut unseen = Unseen::new(&[("/data/kubedr.json", None)]);
        unseen.see("/data/kubedr.json", &node(r#"{"name":"kubedr.json","size":7,"content":[]}"#));
        unseen.none(&"ab".repeat(32).parse().expect("an id")).expect("nothing is lacking");
    }

    #[rstest]
    #[case::root("", true)]
    #[case::its_folder("/data", true)]
    #[case::another_that_begins_alike("/dat", false)]
    #[case::the_file_itself("/data/kubedr.json", false)]
    #[case::other("/etc", false)]
    fn a_folder_is_read_again_for_a_path(#[case] folder: &str, #[case] below: bool) {
        let files = [("/data-old", None), ("/data/kubedr.json", None)];
        assert_eq!(Unseen::new(&files).is_below(folder), below);
    }

    #[test]
    fn a_pack_lies_in_the_folder_of_its_first_two_digits() {
        assert_eq!(pack_id(&pack_name(id('a'))), Some(id('a')));
        for name in ["data/", "data/aa/zz", &format!("data/bb/{}", id('a')), &format!("other/aa/{}", id('a'))]
        {
            assert_eq!(pack_id(name), None, "{name}");
        }
    }

    #[test]
    fn contents_that_are_not_the_named_ones_are_damage() {
        let name = format!("index/{}", Id::of(b"x"));
        assert!(named(&name, b"x").is_ok());
        assert_eq!(named(&name, b"y").expect_err("changed").reason, Reason::RepositoryDamaged);
    }
}
