//! What of the pages counts: those that the newest meta reaches, and whether they are what bbolt would have written.
//!
//! The rules are those of `bbolt check`, which `etcdutl snapshot status` obeys too: each page is reached once, is of a
//! kind that belongs there, and its keys lie between those of its neighbours above.
use std::cmp::Ordering;

use crate::{
    Damage, Unread,
    keys::Key,
    page::Meta,
    pages::{Holds, INLINE, Known, Name, Pages, Root},
};

/// Deepest that a tree is followed. With two children a page it would hold more than any file.
const DEEPEST: u8 = 64;

/// A tree on its way through.
pub struct Tree<'a> {
    pages: &'a Pages,
    meta: &'a Meta,
    /// A bit for each page.
    reached: Vec<u64>,
    found: Found,
}

/// What a tree holds.
#[derive(Debug, Default)]
pub struct Found {
    /// Where each page of bucket `key` stands among them, if it does; pages within others have a list of their own.
    ranks: [Vec<u32>; 2],
    next: u32,
    /// The newest revision.
    pub revision: Option<u64>,
    /// All changes, those of keys that were changed again too.
    pub changes: u64,
    /// Pages of bucket `meta`.
    pub settings: Vec<u32>,
    /// Whether there are the buckets `key` and `meta`, without which it is no etcd's.
    has: [bool; 2],
}

/// What a page is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Buckets,
    Key,
    Meta,
    Other,
}

/// Where a tree is.
#[derive(Clone, Copy)]
struct Place {
    number: u32,
    /// The page of the file that is to blame: itself, or the one that it is within.
    host: u32,
    part: Part,
    depth: u8,
}

/// Keys of a page lie from the first to before the second.
type Bounds = (Option<Key>, Option<Key>);

impl<'a> Tree<'a> {
    /// Follows the tree of a meta through all its buckets.
    pub fn follow(pages: &'a Pages, meta: &'a Meta) -> Result<Found, Unread> {
        let reached = vec![0; pages.count() as usize / 64 + 1];
        let mut tree = Self { pages, meta, reached, found: Found::default() };
        let root = Place { number: 0, host: 0, part: Part::Buckets, depth: 0 };
        tree.bucket(root, Root::Page(meta.root))?;
        if tree.found.has != [true; 2] {
            return Err(Unread::Foreign);
        }
        tree.check_free_pages()?;
        Ok(tree.found)
    }

    fn bucket(&mut self, from: Place, root: Root) -> Result<(), Unread> {
        let (number, host) = match root {
            Root::Inline(number) => (number, from.host),
            Root::Page(number) => {
                let number = self.number(from, number)?;
                (number, number)
            }
        };
        self.visit(Place { number, host, ..from }, (None, None)).map(drop)
    }

    /// A page's number, if the file has it.
    fn number(&self, from: Place, number: u64) -> Result<u32, Unread> {
        let number = u32::try_from(number).ok().filter(|number| *number < self.pages.count());
        let there = number.filter(|number| u64::from(*number) < self.meta.pages);
        there.ok_or_else(|| self.damage(from.host, "it refers to a page that the file does not have"))
    }

    /// Visits a page and all below it, and returns the last key.
    fn visit(&mut self, place: Place, bounds: Bounds) -> Result<Option<Key>, Unread> {
        if place.depth > DEEPEST {
            return Err(self.damage(place.host, "the tree is deeper than any that bbolt writes"));
        }
        let place = Place { depth: place.depth + 1, ..place };
        let known = self.pages.known(place.number).unwrap_or(Known::Nothing);
        self.reach(place, known)?;
        match known {
            Known::Branch { children, count, .. } => self.branch(place, (children, count), bounds),
            Known::Leaf { .. } => self.leaf(place, known, bounds),
            Known::TooLong => Err(Unread::TooMuch("bytes in one value")),
            Known::Damaged => Err(self.damage(place.host, self.pages.wrong(place.number))),
            Known::Freelist { .. } => {
                Err(self.damage(place.host, "it lists free pages, but a tree reaches it"))
            }
            Known::Nothing => Err(self.damage(place.host, "it is neither a branch nor a leaf")),
        }
    }

    fn reach(&mut self, place: Place, known: Known) -> Result<(), Unread> {
        if place.number >= INLINE {
            return Ok(());
        }
        let (Known::Branch { overflow, .. } | Known::Leaf { overflow, .. }) = known else { return Ok(()) };
        let last = self.number(place, u64::from(place.number) + u64::from(overflow))?;
        (place.number..=last).try_for_each(|number| self.mark(number))
    }

    fn mark(&mut self, number: u32) -> Result<(), Unread> {
        if number < 2 || self.is_reached(number) {
            return Err(self.damage(number, "it is reached twice"));
        }
        self.reached[number as usize / 64] |= 1 << (number % 64);
        Ok(())
    }

    fn is_reached(&self, number: u32) -> bool {
        self.reached.get(number as usize / 64).is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }

    fn branch(
        &mut self,
        place: Place,
        (first, count): (u32, u16),
        (min, max): Bounds,
    ) -> Result<Option<Key>, Unread> {
        let pages = self.pages;
        let children = pages.children(first, count);
        let mut last = min;
        for (index, (number, key)) in children.iter().enumerate() {
            let next = children.get(index + 1).map(|(_, key)| *key);
            // The first key may be that of the branch itself.
            let is_after = last.is_none_or(|last| match pages.keys.compare(last, *key) {
                Ordering::Less => true,
                Ordering::Equal => index == 0,
                Ordering::Greater => false,
            });
            if !is_after || max.is_some_and(|max| pages.keys.compare(*key, max) != Ordering::Less) {
                return Err(self.damage(place.host, "its children are not in order"));
            }
            let number = self.number(place, u64::from(*number))?;
            last = self.visit(Place { number, host: number, ..place }, (Some(*key), next.or(max)))?;
        }
        Ok(last)
    }

    fn leaf(&mut self, place: Place, leaf: Known, (min, max): Bounds) -> Result<Option<Key>, Unread> {
        let Known::Leaf { count, holds, ends: [first, last], .. } = leaf else { return Ok(None) };
        if count == 0 {
            return Ok(None);
        }
        let is_before = min.is_some_and(|min| self.pages.keys.compare(first, min) == Ordering::Less);
        if is_before || max.is_some_and(|max| self.pages.keys.compare(last, max) != Ordering::Less) {
            return Err(self.damage(place.host, "its keys do not lie where the branch above says"));
        }
        match (place.part, holds) {
            (Part::Key, Holds::Changes) => {
                self.found.take(place.number, count);
                self.found.revision = self.pages.keys.revision(last).map(|revision| revision.main);
            }
            (Part::Key, Holds::BadChanges) => {
                return Err(self.damage(place.host, "a value is no key-value of etcd's"));
            }
            (Part::Key, _) => return Err(self.damage(place.host, "a key is no revision of etcd's")),
            (Part::Buckets, Holds::Buckets) | (Part::Other, _) => {}
            (Part::Buckets, _) => return Err(self.damage(place.host, "not all buckets are marked as such")),
            (Part::Meta, _) => self.found.settings.push(place.number),
        }
        self.buckets(place)?;
        Ok(Some(last))
    }

    /// Follows the buckets that a leaf holds.
    fn buckets(&mut self, place: Place) -> Result<(), Unread> {
        let pages = self.pages;
        for (_, name, root) in pages.buckets(place.number) {
            let part = match (place.part, name) {
                (Part::Buckets, Name::Key) => Part::Key,
                (Part::Buckets, Name::Meta) => Part::Meta,
                _ => Part::Other,
            };
            self.found.has =
                [self.found.has[0] || part == Part::Key, self.found.has[1] || part == Part::Meta];
            self.bucket(Place { part, ..place }, *root)?;
        }
        Ok(())
    }

    /// Where the file keeps a list of free pages, each page must be either on it or in use.
    fn check_free_pages(&mut self) -> Result<(), Unread> {
        let Some(named) = self.meta.freelist else { return Ok(()) };
        let at = Place { number: 0, host: 0, part: Part::Other, depth: 0 };
        let number = self.number(at, named)?;
        let Some(Known::Freelist { overflow }) = self.pages.known(number) else {
            return Err(
                self.damage(number, "it is not the list of free pages that the file's beginning names")
            );
        };
        let last = self.number(at, u64::from(number) + u64::from(overflow))?;
        (number..=last).try_for_each(|number| self.mark(number))?;
        let pages = self.pages;
        for free in pages.free(number) {
            let free = self.number(Place { host: number, ..at }, *free)?;
            self.mark(free)
                .map_err(|_| self.damage(free, "it is listed as free, but is in use or listed twice"))?;
        }
        let end = u32::try_from(self.meta.pages).unwrap_or(INLINE);
        match (2..end).find(|number| !self.is_reached(*number)) {
            Some(number) => Err(self.damage(number, "it is neither in use nor listed as free")),
            None => Ok(()),
        }
    }

    fn damage(&self, page: u32, what: &str) -> Unread {
        let page = u64::from(page);
        let offset = page.saturating_mul(self.meta.page_size as u64);
        Unread::Damaged(Damage { page, offset, what: what.to_owned() })
    }
}

impl Found {
    fn take(&mut self, number: u32, count: u16) {
        let (list, index) = place(number);
        let ranks = &mut self.ranks[list];
        if ranks.len() <= index {
            ranks.resize(index + 1, u32::MAX);
        }
        ranks[index] = self.next;
        self.next += 1;
        self.changes += u64::from(count);
    }

    /// Where a page stands among those of bucket `key`, which are in the order of their revisions.
    pub fn rank(&self, number: u32) -> Option<u32> {
        let (list, index) = place(number);
        self.ranks[list].get(index).copied().filter(|rank| *rank != u32::MAX)
    }
}

fn place(number: u32) -> (usize, usize) {
    match number.checked_sub(INLINE) {
        None => (0, number as usize),
        Some(inline) => (1, inline as usize),
    }
}
