//! The packs that hold the needed blobs, and whether the bucket has them.
//!
//! ```text
//! blobs ─(index)─▶ packs with their sizes ─(list data/, then ask for each that lacks)─▶ Presence
//! ```
use std::collections::{BTreeMap, BTreeSet, HashSet};

use model::{Reason, result::Failure};

use super::{MOST_NAMED, Presence, tree::Needed};
use crate::{
    Bucket,
    format::{Id, Index, Kind, Located},
};

/// Reads the bytes of a blob from its place.
pub(super) async fn part(bucket: &Bucket, place: Located) -> Result<Vec<u8>, Failure> {
    let Located { pack, offset, length, .. } = place;
    let name = pack_name(pack.id);
    let part = bucket.get_part(&name, offset.into(), length.into()).await?;
    let part = part.ok_or_else(|| missing(&[(pack.id, pack.size, None)], 1))?;
    if part.len() < length as usize {
        let found = bucket.size(&name).await?;
        return Err(missing(&[(pack.id, pack.size, found)], 1));
    }
    Ok(part)
}

/// Shows that the packs are in the bucket, each with its size.
pub(super) async fn presence(bucket: &Bucket, needed: Packs) -> Result<Presence, Failure> {
    let stored = stored_packs(bucket, needed).await?;
    let size = |id| {
        let bucket = bucket.clone();
        async move { bucket.size(&pack_name(id)).await }
    };
    stored.presence(size).await
}

/// What must be in the bucket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packs {
    /// Every pack that is named below, with its size.
    sizes: BTreeMap<Id, u64>,
    /// The only place of some blob.
    alone: HashSet<Id>,
    /// Packs of which one is enough: restic reads a blob from wherever it is whole.
    choices: HashSet<Vec<Id>>,
}

impl Packs {
    /// The packs of every needed blob, each blob with all of its places.
    pub(super) fn of(needed: &Needed, index: &Index) -> Result<Self, Failure> {
        let mut packs = Self::default();
        let trees = needed.trees.iter().map(|id| (Kind::Tree, *id));
        for (kind, id) in trees.chain(needed.data.iter().map(|id| (Kind::Data, *id))) {
            let mut places: Vec<_> = index.find(kind, id).map(|place| place.pack).collect();
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

/// Name of a pack's file.
pub(super) fn pack_name(id: Id) -> String {
    let id = id.to_string();
    format!("data/{}/{id}", &id[..2])
}

fn pack_id(name: &str) -> Option<Id> {
    let (folder, id) = name.strip_prefix("data/")?.split_once('/')?;
    id.starts_with(folder).then(|| Id::parse(id))?
}

pub(super) fn unindexed(kind: Kind, id: Id) -> Failure {
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

    #[test]
    fn a_pack_lies_in_the_folder_of_its_first_two_digits() {
        assert_eq!(pack_id(&pack_name(id('a'))), Some(id('a')));
        for name in ["data/", "data/aa/zz", &format!("data/bb/{}", id('a')), &format!("other/aa/{}", id('a'))]
        {
            assert_eq!(pack_id(name), None, "{name}");
        }
    }
}
