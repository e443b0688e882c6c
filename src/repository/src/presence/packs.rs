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
    let name = pack_name(place.pack.id);
    let part = bucket.get_part(&name, place.offset.into(), place.length.into()).await?;
    all_of(part, place, bucket.size(&name)).await
}

/// The bytes that were read, if they are all that the place must have; `size` is asked where they are not.
async fn all_of(
    part: Option<Vec<u8>>,
    place: Located,
    size: impl Future<Output = Result<Option<u64>, Failure>>,
) -> Result<Vec<u8>, Failure> {
    let Located { pack, length, .. } = place;
    match part {
        Some(part) if part.len() >= length as usize => Ok(part),
        Some(_) => Err(missing(&[(pack.id, pack.size, size.await?)], 1)),
        None => Err(missing(&[(pack.id, pack.size, None)], 1)),
    }
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

    use rstest::rstest;

    use super::*;
    use crate::format::tests::{id, key, seal};

    /// An index of these packs, each with these trees of 10 bytes.
    fn index(packs: &[(char, &str)]) -> Index {
        let mut index = Index::default();
        for (pack, trees) in packs {
            let blob = |(nth, tree): (usize, char)| {
                format!(r#"{{"id":"{}","type":"tree","offset":{},"length":10}}"#, id(tree), nth * 10)
            };
            let blobs: Vec<_> = trees.chars().enumerate().map(blob).collect();
            let file = format!(r#"{{"packs":[{{"id":"{}","blobs":[{}]}}]}}"#, id(*pack), blobs.join(","));
            index.add(&key(), seal(&key(), file.as_bytes())).expect("well formed");
        }
        index.sort();
        index
    }

    fn needed(trees: &str) -> Needed {
        Needed { trees: trees.chars().map(id).collect(), ..Needed::default() }
    }

    /// Size of a pack with so many of those trees: each has 37 bytes of the header, whose rest is 36.
    fn size(trees: u64) -> u64 {
        trees * (10 + 37) + 36
    }

    /// Packs, each with so many trees; which of them are needed alone, and which are a choice.
    fn packs(trees: &[(char, u64)], alone: &str, choices: &[&str]) -> Packs {
        Packs {
            sizes: trees.iter().map(|(pack, trees)| (id(*pack), size(*trees))).collect(),
            alone: alone.chars().map(id).collect(),
            choices: choices.iter().map(|packs| packs.chars().map(id).collect()).collect(),
        }
    }

    #[rstest]
    #[case::of_one(&[('a', "1")], "1", packs(&[('a', 1)], "a", &[]))]
    #[case::of_which_one_is_enough(&[('b', "1"), ('a', "21")], "1", packs(&[('a', 2), ('b', 1)], "", &["ba"]))]
    #[case::of_one_that_holds_it_twice(&[('a', "11")], "1", packs(&[('a', 2)], "a", &[]))]
    #[case::beside_those_of_others(&[('a', "1"), ('b', "2")], "1", packs(&[('a', 1)], "a", &[]))]
    #[case::of_which_one_holds_another_alone(
        &[('a', "12"), ('b', "1")],
        "12",
        packs(&[('a', 2), ('b', 1)], "a", &["ab"])
    )]
    fn blobs_need_the_packs(#[case] indexed: &[(char, &str)], #[case] trees: &str, #[case] expected: Packs) {
        assert_eq!(Packs::of(&needed(trees), &index(indexed)), Ok(expected));
    }

    #[test]
    fn a_blob_that_no_index_names_is_a_missing_pack() {
        let failure = Packs::of(&needed("13"), &index(&[('a', "1")])).expect_err("unknown");
        assert_eq!(failure.reason, Reason::PackMissing);
        assert!(failure.message.contains(&format!("the tree blob {}", id('3'))), "{failure}");
    }

    #[rstest]
    #[case::whole(Some(10), "10 bytes were read")]
    #[case::where_the_pack_was_cut_off(Some(9), "has 82 bytes instead of 83")]
    #[case::behind_the_end_of_the_pack(Some(0), "has 82 bytes instead of 83")]
    #[case::of_a_pack_that_is_gone(None, "is not there")]
    #[tokio::test]
    async fn a_part_is_read(#[case] read: Option<usize>, #[case] expected: &str) {
        let place = index(&[('a', "1")]).find(Kind::Tree, id('1')).next().expect("indexed");
        let found = all_of(read.map(|length| vec![0; length]), place, ready(Ok(Some(82)))).await;
        let said = found.map(|part| format!("{} bytes were read", part.len()));
        let said = said.unwrap_or_else(|failure| failure.to_string());
        assert!(said.contains(expected), "{said}");
    }

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
