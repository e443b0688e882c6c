//! Proof that what snapshots refer to is in the bucket.
//!
//! ```text
//! snapshots/<id> ─▶ trees ─▶ blobs ─(index/*)─▶ packs with their sizes ─(list data/)─▶ Presence
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

/// Most missing packs that are named, and asked for again.
const MOST_NAMED: usize = 10;

/// A repository that opened with its password.
#[derive(Debug)]
pub struct Opened {
    id: SnapshotId,
    key: Key,
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

    /// Shows that every pack that the snapshots refer to is in the bucket, with its size.
    ///
    /// # Errors
    ///
    /// `SnapshotMissing` or `PackMissing`, with what is missing; `RepositoryDamaged`
    /// where something on the way cannot be read.
    pub async fn prove_presence(
        &self,
        bucket: &Bucket,
        snapshots: &[&SnapshotId],
    ) -> Result<Presence, Failure> {
        let reader = Reader { key: &self.key, bucket, index: self.index(bucket).await? };
        let mut needed = Needed::default();
        for snapshot in snapshots {
            let root = reader.root(snapshot).await?;
            reader.walk(root, &mut needed).await?;
        }
        let stored = stored_packs(bucket, reader.packs(&needed)?).await?;
        stored.presence(bucket).await
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

    async fn walk(&self, root: Id, needed: &mut Needed) -> Result<(), Failure> {
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if !needed.trees.insert(id) {
                continue;
            }
            if needed.trees.len() > MOST_TREES {
                let message = format!("the snapshots have more than {MOST_TREES} folders");
                return Err(Failure::new(Reason::Unsupported, message));
            }
            for node in self.tree(id).await?.nodes {
                open.extend(node.subtree);
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
    async fn presence(mut self, bucket: &Bucket) -> Result<Presence, Failure> {
        // Some servers list what was just written only later: what a listing
        // lacks is asked for by name before it is called missing.
        for id in self.lacking().into_iter().take(MOST_NAMED) {
            if let Some(size) = bucket.size(&pack_name(id)).await? {
                self.found.insert(id, size);
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
