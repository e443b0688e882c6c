//! The walk over a snapshot's folders: which blobs it needs, and whether the expected files are in it.
//!
//! ```text
//! root ─▶ tree blob ─(index: its places)─▶ part of a pack ─▶ nodes ─┬─▶ the blobs of files
//!              ▲                                                    └─▶ subtrees ─┐
//!              └──────────────────────────────────────────────────────────────────┘
//! ```
use std::collections::{BTreeMap, HashSet};

use model::{Reason, SnapshotId, result::Failure};

use super::{
    MOST_NAMED, damaged,
    packs::{pack_name, unindexed},
};
use crate::format::{self, Damaged, Id, Index, Key, Kind, Located};

/// Most folders that are walked: the rest of the memory bounds.
const MOST_TREES: usize = if cfg!(test) { 100 } else { 1_000_000 };

/// Blobs that snapshots need.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// Folders.
    pub(super) trees: HashSet<Id>,
    /// Pieces of files.
    pub(super) data: HashSet<Id>,
}

/// Files of a snapshot that were not seen yet.
#[derive(Debug)]
pub(super) struct Unseen<'a>(BTreeMap<&'a str, Option<u64>>);

impl<'a> Unseen<'a> {
    pub(super) fn new(files: &[(&'a str, Option<u64>)]) -> Self {
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

    /// Whether all of them were seen.
    pub(super) fn none(&self, snapshot: &SnapshotId) -> Result<(), Failure> {
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

/// The folders of a repository; `part` reads the bytes of one from a place that an index names.
pub(super) struct Trees<'a, Part> {
    pub(super) key: &'a Key,
    pub(super) index: &'a Index,
    pub(super) part: Part,
}

impl<Part, Reading> Trees<'_, Part>
where
    Part: Fn(Located) -> Reading,
    Reading: Future<Output = Result<Vec<u8>, Failure>>,
{
    /// Collects what everything below a root needs, and strikes off the files that are seen.
    ///
    /// # Errors
    ///
    /// `PackMissing` where no index names a folder, `RepositoryDamaged` where one cannot be
    /// read, `Unsupported` where there are too many, and what `part` says.
    pub(super) async fn walk(
        &self,
        root: Id,
        needed: &mut Needed,
        unseen: &mut Unseen<'_>,
    ) -> Result<(), Failure> {
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
            match self.tree_at(place, id).await {
                Ok(tree) => return Ok(tree),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn tree_at(&self, place: Located, id: Id) -> Result<format::Tree, Failure> {
        let name = pack_name(place.pack.id);
        if place.length as usize > format::Tree::MOST {
            return Err(damaged(
                &name,
                &Damaged::new(format!("tree {id} would have {} bytes", place.length)),
            ));
        }
        let part = (self.part)(place).await?;
        place.tree(self.key, id, part).map_err(|error| damaged(&format!("tree {id} in {name}"), &error))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{Ready, ready},
    };

    use rstest::rstest;

    use super::*;
    use crate::format::tests::{id, key, seal};

    /// A pack with folders, as restic 0.19.1 stores them.
    struct Pack {
        name: char,
        stored: Vec<u8>,
        blobs: Vec<String>,
    }

    impl Pack {
        fn new(name: char) -> Self {
            Self { name, stored: Vec::new(), blobs: Vec::new() }
        }

        /// Stores a folder with these nodes.
        fn folder(&mut self, nodes: &[String]) -> Id {
            let json = format!(r#"{{"nodes":[{}]}}"#, nodes.join(","));
            let (tree, sealed) = (Id::of(json.as_bytes()), seal(&key(), json.as_bytes()));
            self.claim(tree, sealed.len());
            self.stored.extend(sealed);
            tree
        }

        /// Has the index say that a folder comes next.
        fn claim(&mut self, tree: Id, length: usize) {
            let offset = self.stored.len();
            let blob = format!(r#"{{"id":"{tree}","type":"tree","offset":{offset},"length":{length}}}"#);
            self.blobs.push(blob);
        }

        fn part(&self, place: Located) -> Vec<u8> {
            self.stored[place.offset as usize..][..place.length as usize].to_vec()
        }
    }

    fn file(name: &str, content: char) -> String {
        format!(r#"{{"name":"{name}","type":"file","size":7,"content":["{}"]}}"#, id(content))
    }

    fn subfolder(name: &str, tree: Id) -> String {
        format!(r#"{{"name":"{name}","type":"dir","content":null,"subtree":"{tree}"}}"#)
    }

    fn index(packs: &[&Pack]) -> Index {
        let mut index = Index::default();
        for Pack { name, blobs, .. } in packs {
            let json = format!(r#"{{"packs":[{{"id":"{}","blobs":[{}]}}]}}"#, id(*name), blobs.join(","));
            index.add(&key(), seal(&key(), json.as_bytes())).expect("well formed");
        }
        index.sort();
        index
    }

    fn snapshot() -> SnapshotId {
        "ab".repeat(32).parse().expect("an id")
    }

    async fn walked(
        index: &Index,
        root: Id,
        files: &[(&str, Option<u64>)],
        part: impl Fn(Located) -> Ready<Result<Vec<u8>, Failure>>,
    ) -> Result<Needed, Failure> {
        let (mut needed, mut unseen) = (Needed::default(), Unseen::new(files));
        Trees { key: &key(), index, part }.walk(root, &mut needed, &mut unseen).await?;
        unseen.none(&snapshot()).map(|()| needed)
    }

    /// Walks what is all in one pack.
    async fn walked_in(pack: &Pack, root: Id, files: &[(&str, Option<u64>)]) -> Result<Needed, Failure> {
        walked(&index(&[pack]), root, files, |place| ready(Ok(pack.part(place)))).await
    }

    /// `/data/kubedr.json` with 7 bytes, and `/note` beside it.
    fn backup(pack: &mut Pack) -> (Id, Id) {
        let data = pack.folder(&[file("kubedr.json", '1')]);
        (pack.folder(&[subfolder("data", data), file("note", '2')]), data)
    }

    #[tokio::test]
    async fn everything_below_the_root_is_needed() {
        let mut pack = Pack::new('a');
        let (root, data) = backup(&mut pack);
        let needed = walked_in(&pack, root, &[]).await.expect("whole");
        assert_eq!(needed.trees, [root, data].into());
        assert_eq!(needed.data, [id('1'), id('2')].into());
    }

    #[rstest]
    #[case::by_its_path("/data/kubedr.json", None, true)]
    #[case::by_its_size_too("/data/kubedr.json", Some(7), true)]
    #[case::of_another_size("/data/kubedr.json", Some(8), false)]
    #[case::in_another_folder("/kubedr.json", None, false)]
    #[case::missing("/data/etcd-snapshot.db", None, false)]
    #[case::a_folder("/data", None, false)]
    #[tokio::test]
    async fn a_file_is_found(#[case] path: &str, #[case] size: Option<u64>, #[case] found: bool) {
        let mut pack = Pack::new('a');
        let (root, _) = backup(&mut pack);
        let lacking = walked_in(&pack, root, &[(path, size)]).await.err();
        assert_eq!(
            lacking.as_ref().map(|failure| failure.reason),
            (!found).then_some(Reason::SnapshotTruncated)
        );
        assert!(lacking.is_none_or(|failure| failure.message.contains(path)));
    }

    #[tokio::test]
    async fn a_folder_that_no_index_names_is_missing() {
        let mut pack = Pack::new('a');
        let root = pack.folder(&[subfolder("data", id('3'))]);
        let failure = walked_in(&pack, root, &[]).await.expect_err("lost");
        assert_eq!(failure.reason, Reason::PackMissing);
        assert!(failure.message.contains(&id('3').to_string()), "{failure}");
    }

    #[tokio::test]
    async fn a_folder_is_read_from_whichever_of_its_packs_is_there() {
        let (mut lost, mut kept) = (Pack::new('a'), Pack::new('b'));
        let (root, _) = backup(&mut lost);
        backup(&mut kept);
        let part = |place: Located| {
            let is_lost = place.pack.id == id('a');
            ready(if is_lost { Err(Failure::new(Reason::PackMissing, "a")) } else { Ok(kept.part(place)) })
        };
        walked(&index(&[&lost, &kept]), root, &[("/note", None)], part).await.expect("whole in the other");
        let failure = walked(&index(&[&lost]), root, &[], part).await.expect_err("lost");
        assert_eq!(failure, Failure::new(Reason::PackMissing, "a"));
    }

    #[tokio::test]
    async fn a_folder_that_was_changed_is_damaged() {
        let mut pack = Pack::new('a');
        let (root, _) = backup(&mut pack);
        pack.stored[20] ^= 1;
        let failure = walked_in(&pack, root, &[]).await.expect_err("changed");
        assert_eq!(failure.reason, Reason::RepositoryDamaged);
    }

    #[tokio::test]
    async fn a_folder_that_would_fill_the_memory_is_not_even_read() {
        let mut pack = Pack::new('a');
        pack.claim(id('3'), format::Tree::MOST + 1);
        let unread = |place| -> Ready<_> { panic!("{place:?} was read") };
        let failure = walked(&index(&[&pack]), id('3'), &[], unread).await.expect_err("too large");
        assert_eq!(failure.reason, Reason::RepositoryDamaged);
    }

    #[rstest]
    #[case::as_many_as_are_walked(MOST_TREES, None)]
    #[case::one_more(MOST_TREES + 1, Some(Reason::Unsupported))]
    #[tokio::test]
    async fn folders_in_folders_come_to_an_end(#[case] depth: usize, #[case] reason: Option<Reason>) {
        let mut pack = Pack::new('a');
        let innermost = pack.folder(&[]);
        let root = (1..depth).fold(innermost, |inner, _| pack.folder(&[subfolder("x", inner)]));
        let failure = walked_in(&pack, root, &[]).await.err();
        assert_eq!(failure.map(|failure| failure.reason), reason);
    }

    #[rstest]
    #[case::once_if_nothing_is_looked_for(&[], 2)]
    #[case::again_for_a_path(&[("/a/note", None), ("/b/note", None)], 3)]
    #[tokio::test]
    async fn folders_with_the_same_contents_are_read(
        #[case] files: &[(&str, Option<u64>)],
        #[case] times: usize,
    ) {
        let mut pack = Pack::new('a');
        let twin = pack.folder(&[file("note", '1')]);
        let root = pack.folder(&[subfolder("a", twin), subfolder("b", twin)]);
        let reads = Cell::new(0);
        let part = |place| {
            reads.set(reads.get() + 1);
            ready(Ok(pack.part(place)))
        };
        walked(&index(&[&pack]), root, files, part).await.expect("whole");
        assert_eq!(reads.get(), times);
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
        let lacking = unseen.none(&snapshot()).err().map(|failure| failure.reason);
        assert_eq!(lacking, (!seen).then_some(Reason::SnapshotTruncated));
    }

    #[test]
    fn a_file_whose_size_is_not_known_is_seen_by_its_name() {
        let mut unseen = Unseen::new(&[("/data/kubedr.json", None)]);
        unseen.see("/data/kubedr.json", &node(r#"{"name":"kubedr.json","size":7,"content":[]}"#));
        unseen.none(&snapshot()).expect("nothing is lacking");
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
}
