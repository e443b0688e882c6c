//! What is known of each page, in the order of the file: what its children or first and last keys are, not what of
//! it counts.
use std::collections::BTreeMap;

use crate::{
    bytes::Order,
    entries::Entries,
    keys::{Key, Keys},
    page::{Bucket, Header, Kind, Meta, Page},
    revision::{KeyValue, Revision},
};

/// Numbers of pages that have none of their own, because they are within another: above these of the file.
pub const INLINE: u32 = 1 << 31;
/// Most children of branches that are kept, those of pages that count no more too: 128 MiB.
const MOST_CHILDREN: usize = 8 << 20;
/// Most buckets, inline pages and settings that are kept, each: every commit of etcd's leaves some behind.
const MOST_BUCKETS: usize = 1 << 20;
/// Most pages about which is kept what is wrong with them; most are the rest of what they once were.
const MOST_WRONG: usize = 10_000;

/// What is known of a page.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    /// Nothing: the rest of a longer one, or what was never written.
    Nothing,
    Branch {
        overflow: u32,
        children: u32,
        count: u16,
    },
    Leaf {
        overflow: u32,
        count: u16,
        holds: Holds,
        ends: [Key; 2],
    },
    /// A list of free pages.
    Freelist {
        overflow: u32,
    },
    /// It is longer than can be kept.
    TooLong,
    /// It cannot be read; why may be among what is wrong.
    Damaged,
}

/// What all elements of a leaf are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Changes of etcd's.
    Changes,
    /// The like, but not all values are `KeyValue`s.
    BadChanges,
    Buckets,
    /// Anything, but not buckets alone.
    Others,
}

/// Buckets of etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Key,
    Meta,
    Other,
}

/// Where the tree of a bucket begins.
#[derive(Clone, Copy, Debug)]
pub enum Root {
    /// At a page of the file.
    Page(u64),
    /// At a page that has a number only here.
    Inline(u32),
}

/// Values of etcd's bucket `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    RaftIndex,
    Compacted,
    /// A compaction that was begun: at least that far the history had come.
    Compacting,
}

/// All pages.
pub struct Pages {
    pub order: Order,
    known: Vec<Known>,
    inline: Vec<Known>,
    children: Vec<(u32, Key)>,
    /// What the keys of all pages are.
    pub keys: Keys,
    /// By the page that they are on.
    buckets: Vec<(u32, Name, Root)>,
    settings: Vec<(u32, Setting, u64)>,
    free: BTreeMap<u32, Vec<u64>>,
    wrong: BTreeMap<u32, String>,
    /// What there is too much of to go on.
    too_much: Option<&'static str>,
}

impl Pages {
    pub fn new() -> Self {
        Self {
            order: Order::Little,
            known: Vec::new(),
            inline: Vec::new(),
            children: Vec::new(),
            keys: Keys::default(),
            buckets: Vec::new(),
            settings: Vec::new(),
            free: BTreeMap::new(),
            wrong: BTreeMap::new(),
            too_much: None,
        }
    }

    /// How many pages were seen.
    pub fn count(&self) -> u32 {
        u32::try_from(self.known.len()).unwrap_or(INLINE)
    }

    /// Takes notice of the next page, of which nothing is known yet.
    pub fn add(&mut self) {
        push(&mut self.known, Known::Nothing);
    }

    /// What is known of a page.
    pub fn known(&self, number: u32) -> Option<Known> {
        match number.checked_sub(INLINE) {
            None => self.known.get(number as usize).copied(),
            Some(inline) => self.inline.get(inline as usize).copied(),
        }
    }

    /// What is wrong with a page.
    pub fn wrong(&self, number: u32) -> &str {
        self.wrong.get(&number).map_or("it cannot be read", String::as_str)
    }

    /// What there is too much of to tell anything.
    pub fn too_much(&self) -> Option<&'static str> {
        self.too_much
    }

    /// Gives up reading for something that there is too much of.
    pub fn give_up(&mut self, what: &'static str) {
        self.too_much = self.too_much.or(Some(what));
    }

    /// Brings in order what was not read in the order of the file: long pages are read at their ends.
    pub fn sort(&mut self) {
        self.buckets.sort_by_key(|(page, ..)| *page);
    }

    /// The children of a branch with their first keys.
    pub fn children(&self, first: u32, count: u16) -> &[(u32, Key)] {
        let first = first as usize;
        self.children.get(first..first + usize::from(count)).unwrap_or_default()
    }

    /// The buckets on a page of the file.
    pub fn buckets(&self, number: u32) -> &[(u32, Name, Root)] {
        let begin = self.buckets.partition_point(|(page, ..)| *page < number);
        let end = self.buckets.partition_point(|(page, ..)| *page <= number);
        &self.buckets[begin..end]
    }

    /// A setting on any of some pages.
    pub fn setting(&self, pages: &[u32], wanted: Setting) -> Option<u64> {
        let found =
            self.settings.iter().find(|(page, setting, _)| *setting == wanted && pages.contains(page));
        found.map(|(_, _, value)| *value)
    }

    /// The free pages that a page lists.
    pub fn free(&self, number: u32) -> &[u64] {
        self.free.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Notes what is wrong with a page, or that it is too long.
    pub fn set(&mut self, number: u32, known: Known, wrong: Option<String>) {
        if let Some(why) = wrong.filter(|_| self.wrong.len() < MOST_WRONG) {
            self.wrong.insert(number, why);
        }
        let place = match number.checked_sub(INLINE) {
            None => self.known.get_mut(number as usize),
            Some(inline) => self.inline.get_mut(inline as usize),
        };
        if let Some(place) = place {
            *place = known;
        }
    }

    /// Reads a page with all its overflow. Of lists of free pages, only those that the metas name are kept.
    pub fn read(&mut self, number: u32, page: Page<'_>, metas: &[Meta], entries: &mut Entries) {
        if self.too_much.is_some() {
            return;
        }
        let read = match page.header.kind {
            Some(Kind::Branch) => self.branch(page),
            Some(Kind::Leaf) => self.leaf(number, page, entries),
            Some(Kind::Freelist) if metas.iter().any(|meta| meta.freelist == Some(u64::from(number))) => {
                self.freelist(number, page)
            }
            Some(Kind::Freelist | Kind::Meta) | None => return,
        };
        match read {
            Ok(known) => self.set(number, known, None),
            Err(why) => self.set(number, Known::Damaged, Some(why)),
        }
    }

    fn branch(&mut self, page: Page<'_>) -> Result<Known, String> {
        let Header { count, overflow, .. } = page.header;
        let first = self.children.len();
        let read = page.children().try_for_each(|child| self.child(child?));
        if let Err(why) = read {
            self.children.truncate(first);
            return Err(why);
        }
        if self.children.len() > MOST_CHILDREN {
            self.give_up("branches");
        }
        let children = u32::try_from(first).map_err(|_| "there are too many pages")?;
        Ok(Known::Branch { overflow, children, count })
    }

    fn child(&mut self, (key, number): (&[u8], u64)) -> Result<(), String> {
        let number = u32::try_from(number).ok().filter(|number| *number < INLINE);
        let number = number.ok_or("a child's number is larger than any file")?;
        let key = self.key(key);
        push(&mut self.children, (number, key));
        Ok(())
    }

    fn leaf(&mut self, number: u32, page: Page<'_>, entries: &mut Entries) -> Result<Known, String> {
        let Header { count, overflow, .. } = page.header;
        let (mut holds, ends) = ends(page)?;
        for leaf in page.leaves() {
            let (index, leaf) = leaf?;
            if leaf.is_bucket {
                self.bucket(number, leaf.key, leaf.value, entries)?;
            } else if holds == Holds::Others {
                self.note_setting(number, leaf.key, leaf.value);
            } else if let Some(found) = KeyValue::read(leaf.value) {
                let deletes = Revision::read(leaf.key).is_some_and(|revision| revision.deletes);
                entries.note((number, index), found.key, (!deletes).then_some(found.value));
            } else {
                holds = Holds::BadChanges;
            }
        }
        let ends = ends.map(|key| self.key(key));
        Ok(Known::Leaf { overflow, count, holds, ends })
    }

    /// Notes a bucket. Of those within a page only etcd's `key` and `meta` are read, as by `bbolt check` none is.
    fn bucket(
        &mut self,
        number: u32,
        name: &[u8],
        value: &[u8],
        entries: &mut Entries,
    ) -> Result<(), String> {
        let name = match name {
            b"key" => Name::Key,
            b"meta" => Name::Meta,
            _ => Name::Other,
        };
        let root = match Bucket::read(value, self.order).ok_or("a bucket is too short")? {
            // bbolt makes none inline that has others in it; without end they could not be read.
            _ if number >= INLINE => return Err("there is a bucket in an inline bucket".to_owned()),
            Bucket::Root(root) => Root::Page(root),
            Bucket::Inline(_) if name == Name::Other => return Ok(()),
            Bucket::Inline(bytes) => Root::Inline(self.inline(bytes, entries)?),
        };
        push(&mut self.buckets, (number, name, root));
        if self.buckets.len().max(self.inline.len()) > MOST_BUCKETS {
            self.give_up("buckets");
        }
        Ok(())
    }

    /// Reads a page that is the value of an element.
    fn inline(&mut self, bytes: &[u8], entries: &mut Entries) -> Result<u32, String> {
        let header = Header::read(bytes, self.order).ok_or("an inline bucket is too short")?;
        if header.kind != Some(Kind::Leaf) {
            return Err("an inline bucket is no leaf".to_owned());
        }
        let number = u32::try_from(self.inline.len()).ok().and_then(|index| INLINE.checked_add(index));
        let number = number.ok_or("there are too many inline buckets")?;
        push(&mut self.inline, Known::Nothing);
        self.read(number, Page { header, bytes, order: self.order }, &[], entries);
        Ok(number)
    }

    fn freelist(&mut self, number: u32, page: Page<'_>) -> Result<Known, String> {
        let free = page.free().ok_or("its numbers do not lie within the page")?;
        self.free.insert(number, free);
        Ok(Known::Freelist { overflow: page.header.overflow })
    }

    fn note_setting(&mut self, number: u32, key: &[u8], value: &[u8]) {
        let setting = match key {
            b"consistent_index" => Setting::RaftIndex,
            b"finishedCompactRev" => Setting::Compacted,
            b"scheduledCompactRev" => Setting::Compacting,
            _ => return,
        };
        if let Some(value) = value.first_chunk().map(|number| u64::from_be_bytes(*number)) {
            push(&mut self.settings, (number, setting, value));
        }
        if self.settings.len() > MOST_BUCKETS {
            self.give_up("settings");
        }
    }

    fn key(&mut self, key: &[u8]) -> Key {
        self.keys.keep(key).unwrap_or_else(|| {
            self.give_up("keys beside the revisions");
            Key::UNKNOWN
        })
    }
}

/// What a leaf holds, and its first and last key.
fn ends(page: Page<'_>) -> Result<(Holds, [&[u8]; 2]), String> {
    let (mut first, mut last, mut buckets, mut revisions) = (None, None::<&[u8]>, 0_u16, 0_u16);
    for leaf in page.leaves() {
        let (_, leaf) = leaf?;
        if last.is_some_and(|last| last >= leaf.key) {
            return Err("its keys are not in order".to_owned());
        }
        buckets += u16::from(leaf.is_bucket);
        revisions += u16::from(!leaf.is_bucket && Revision::read(leaf.key).is_some());
        first = first.or(Some(leaf.key));
        last = Some(leaf.key);
    }
    let holds = match page.header.count {
        count if count == revisions => Holds::Changes,
        count if count == buckets => Holds::Buckets,
        _ => Holds::Others,
    };
    Ok((holds, [first.unwrap_or_default(), last.unwrap_or_default()]))
}

/// Adds to a list that may be long, without doubling it.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 1024);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_its_place_in_a_branch_take_48_bytes() {
        assert_eq!((size_of::<Known>(), size_of::<(u32, Key)>()), (32, 16));
    }
}
