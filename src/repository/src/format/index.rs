//! Which pack holds which blob.
use std::{cmp::max, collections::HashMap};

use serde::Deserialize;

use super::{
    Damaged, Id, Key, decompress,
    documents::{Tree, documents, parse},
};

/// Bytes of a pack's header for a blob that is stored as it is: type, length, id.
const PLAIN_ENTRY: u64 = 1 + 4 + 32;
/// The same for a compressed one, with its other length.
const COMPRESSED_ENTRY: u64 = PLAIN_ENTRY + 4;
/// The length of the header, at the pack's end.
const HEADER_LENGTH: u64 = 4;

/// Most blobs that are kept in memory (some 250 MB); restic itself would need more for them.
const MOST_BLOBS: usize = 4_000_000;

/// All blobs and packs of a repository.
#[derive(Debug, Default)]
pub(crate) struct Index {
    blobs: Vec<Blob>,
    packs: Vec<Pack>,
    numbers: HashMap<Id, u32>,
}

/// A pack, as the indexes describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pack {
    pub(crate) id: Id,
    /// Size in bytes that the file must have.
    pub(crate) size: u64,
}

/// One place of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// Index of the pack.
    pub(crate) pack: Pack,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    uncompressed: Option<u32>,
}

/// What a blob holds. Ids are unique among blobs of one kind only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Data,
    Tree,
}

#[derive(Clone, Copy, Debug)]
struct Blob {
    id: Id,
    kind: Kind,
    pack: u32,
    offset: u32,
    length: u32,
    /// Zero for one that is not compressed; restic compresses nothing to that.
    uncompressed: u32,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    packs: Vec<PackEntry>,
}

#[derive(Deserialize)]
struct PackEntry {
    id: Id,
    blobs: Vec<BlobEntry>,
}

#[derive(Deserialize)]
struct BlobEntry {
    id: Id,
    #[serde(rename = "type")]
    kind: Kind,
    offset: u32,
    length: u32,
    #[serde(default)]
    uncompressed_length: u32,
}

impl Index {
    /// Largest size of an index file, bytes. restic begins another at 50,000 blobs.
    pub(crate) const MOST_STORED: usize = 32 << 20;
    const MOST_PLAIN: usize = 64 << 20;

    /// Adds a file of `index/`.
    pub(crate) fn add(&mut self, key: &Key, stored: Vec<u8>) -> Result<(), Damaged> {
        let file: File = documents(key, stored, Self::MOST_PLAIN)?;
        file.packs.into_iter().try_for_each(|pack| self.add_pack(&pack))
    }

    fn add_pack(&mut self, entry: &PackEntry) -> Result<(), Damaged> {
        let size = size(&entry.blobs);
        if let Some(number) = self.numbers.get(&entry.id) {
            // Two index files may describe one pack, each of them whole. The
            // larger is believed, so that half a description hides nothing.
            let known = &mut self.packs[*number as usize];
            known.size = max(known.size, size);
        }
        if self.blobs.len() + entry.blobs.len() > MOST_BLOBS {
            return Err(Damaged::new(format!("the repository has more than {MOST_BLOBS} blobs")));
        }
        let next = u32::try_from(self.packs.len()).expect("packs are fewer than blobs, which are counted");
        let number = *self.numbers.entry(entry.id).or_insert(next);
        if number == next {
            self.packs.push(Pack { id: entry.id, size });
        }
        self.blobs.extend(entry.blobs.iter().map(|blob| Blob {
            id: blob.id,
            kind: blob.kind,
            pack: number,
            offset: blob.offset,
            length: blob.length,
            uncompressed: blob.uncompressed_length,
        }));
        Ok(())
    }

    /// Makes the index ready for [`Index::find`], after the last file.
    pub(crate) fn sort(&mut self) {
        self.blobs.sort_unstable_by_key(|blob| (blob.id, blob.kind, blob.pack));
    }

    /// Every place of a blob; empty if no index names one.
    pub(crate) fn find(&self, kind: Kind, id: Id) -> impl Iterator<Item = Located> {
        let first = self.blobs.partition_point(|blob| (blob.id, blob.kind) < (id, kind));
        let same = self.blobs[first..].iter().take_while(move |blob| (blob.id, blob.kind) == (id, kind));
        same.map(|blob| Located {
            pack: self.packs[blob.pack as usize],
            offset: blob.offset,
            length: blob.length,
            uncompressed: (blob.uncompressed > 0).then_some(blob.uncompressed),
        })
    }
}

impl Located {
    /// Opens a tree blob that was read from its place.
    pub(crate) fn tree(&self, key: &Key, id: Id, stored: Vec<u8>) -> Result<Tree, Damaged> {
        let mut plain = key.open(stored)?;
        if let Some(length) = self.uncompressed {
            plain = decompress(&plain, max(length as usize, 1).min(Tree::MOST))?;
        }
        if Id::of(&plain) != id {
            return Err(Damaged::new("it holds another blob"));
        }
        parse(&plain)
    }
}

/// Size of a pack with these blobs.
fn size(blobs: &[BlobEntry]) -> u64 {
    let entry = |blob: &BlobEntry| if blob.uncompressed_length > 0 { COMPRESSED_ENTRY } else { PLAIN_ENTRY };
    let contents: u64 = blobs.iter().map(|blob| u64::from(blob.length) + entry(blob)).sum();
    contents + Key::OVERHEAD as u64 + HEADER_LENGTH
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{
        key::tests::{key, seal},
        tests::id,
    };

    fn index(files: &[&str]) -> Result<Index, Damaged> {
        let mut index = Index::default();
        for file in files {
            index.add(&key(), seal(&key(), file.as_bytes()))?;
        }
        index.sort();
        Ok(index)
    }

    fn pack(pack: char, blobs: &[(char, &str, u32, u32)]) -> String {
        let mut offset = 0;
        let blobs: Vec<_> = blobs
            .iter()
            .map(|(blob, kind, length, uncompressed)| {
                offset += length;
                let compressed = if *uncompressed > 0 {
                    format!(r#","uncompressed_length":{uncompressed}"#)
                } else {
                    String::new()
                };
                format!(
                    r#"{{"id":"{}","type":"{kind}","offset":{},"length":{length}{compressed}}}"#,
                    id(*blob),
                    offset - length
                )
            })
            .collect();
        format!(r#"{{"packs":[{{"id":"{}","blobs":[{}]}}]}}"#, id(pack), blobs.join(","))
    }

    #[test]
    fn a_blob_is_found_with_its_pack_and_the_packs_size() {
        let index = index(&[&pack('a', &[('1', "data", 38, 0), ('2', "data", 112, 511)])]).expect("whole");
        let found: Vec<_> = index.find(Kind::Data, id('2')).collect();
        // 38 + 112 bytes of blobs, a header of 37 + 41 + 32, and its length.
        let pack = Pack { id: id('a'), size: 38 + 112 + 37 + 41 + 32 + 4 };
        assert_eq!(found, [Located { pack, offset: 38, length: 112, uncompressed: Some(511) }]);
        assert_eq!(index.find(Kind::Data, id('3')).count(), 0);
    }

    #[test]
    fn a_tree_and_a_data_blob_may_have_one_id() {
        let index = index(&[&pack('a', &[('1', "data", 38, 0)]), &pack('b', &[('1', "tree", 40, 0)])])
            .expect("whole");
        let packs = |kind| index.find(kind, id('1')).map(|it| it.pack.id).collect::<Vec<_>>();
        assert_eq!((packs(Kind::Data), packs(Kind::Tree)), (vec![id('a')], vec![id('b')]));
    }

    #[test]
    fn a_blob_in_two_packs_is_found_twice() {
        let index = index(&[&pack('b', &[('1', "data", 38, 0)]), &pack('a', &[('1', "data", 39, 0)])])
            .expect("whole");
        assert_eq!(index.find(Kind::Data, id('1')).count(), 2);
    }

    #[test]
    fn half_a_description_of_a_pack_hides_nothing() {
        let half = pack('a', &[('1', "data", 38, 0)]);
        let whole = pack('a', &[('1', "data", 38, 0), ('2', "data", 112, 0)]);
        for files in [[&half, &whole], [&whole, &half]] {
            let index = index(&files.map(String::as_str)).expect("whole");
            assert!(index.find(Kind::Data, id('1')).all(|it| it.pack.size == 38 + 112 + 37 + 37 + 36));
        }
    }

    #[test]
    fn malformed_files_are_refused() {
        for file in
            [r#"{"packs":[{"id":"x","blobs":[]}]}"#, r#"{"packs":{}}"#, "[", r#"{"packs":[{"id":1}]}"#]
        {
            index(&[file]).expect_err("malformed");
        }
        let negative = pack('a', &[('1', "data", 38, 0)]).replace("38", "-38");
        index(&[&negative]).expect_err("negative length");
        index(&[&pack('a', &[('1', "other", 38, 0)])]).expect_err("unknown kind");
        let unauthentic = Index::default().add(&key(), b"{}".repeat(50));
        unauthentic.expect_err("not encrypted");
    }

    #[test]
    fn a_tree_is_read_from_its_pack() {
        let json = format!(
            r#"{{"nodes":[{{"name":"f","content":["{}"]}},{{"name":"d","content":null,"subtree":"{}"}}]}}"#,
            id('1'),
            id('2')
        );
        let compressed = zstd::stream::encode_all(json.as_bytes(), 3).expect("compresses");
        let place = |uncompressed| Located {
            pack: Pack { id: id('a'), size: 0 },
            offset: 0,
            length: 0,
            uncompressed,
        };
        let length = u32::try_from(json.len()).expect("small");
        let tree_id = Id::of(json.as_bytes());
        for (uncompressed, plain) in [(None, json.as_bytes()), (Some(length), &compressed)] {
            let tree = place(uncompressed).tree(&key(), tree_id, seal(&key(), plain)).expect("whole");
            assert_eq!(tree.nodes[0].content.as_deref(), Some(&[id('1')][..]));
            assert_eq!(tree.nodes[1].subtree, Some(id('2')));
        }
        place(None).tree(&key(), id('3'), seal(&key(), json.as_bytes())).expect_err("another blob");
        place(Some(length - 1))
            .tree(&key(), tree_id, seal(&key(), &compressed))
            .expect_err("longer than said");
    }
}
