//! Keys of pages, small enough that all are kept.
use std::{cmp::Ordering, collections::HashMap};

use crate::revision::Revision;

/// Most bytes of keys that are no revisions.
const MOST_TEXT: usize = 16 << 20;

/// A key in 12 bytes, which is in memory three times for each page: most are revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    high: u32,
    /// Of a key that is no revision, its place among the texts.
    low: u32,
    /// Sub-revision and whether it deletes.
    rest: u32,
}

/// Marks a key that is no revision.
const TEXT: u32 = u32::MAX;

/// What the keys are that are no revisions.
#[derive(Default)]
pub struct Keys {
    texts: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u32>,
    bytes: usize,
}

impl Keys {
    /// Makes a key small; none where there are too many that are no revisions.
    pub fn keep(&mut self, key: &[u8]) -> Option<Key> {
        if let Some(key) = Revision::read(key).and_then(Key::of_revision) {
            return Some(key);
        }
        if let Some(number) = self.numbers.get(key) {
            return Some(Key::of_text(*number));
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        // It is kept twice, with what the map takes.
        self.bytes += 2 * key.len() + 96;
        if self.bytes > MOST_TEXT {
            return None;
        }
        self.texts.push(key.into());
        self.numbers.insert(key.into(), number);
        Some(Key::of_text(number))
    }

    /// How two keys stand to each other in the order of bytes.
    pub fn compare(&self, one: Key, other: Key) -> Ordering {
        match (one.revision(), other.revision()) {
            (Some(one), Some(other)) => one.cmp(&other),
            (Some(one), None) => one.compare(self.text(other)),
            (None, Some(other)) => other.compare(self.text(one)).reverse(),
            (None, None) => self.text(one).cmp(self.text(other)),
        }
    }

    /// The revision that a key is, if it is one.
    pub fn revision(&self, key: Key) -> Option<Revision> {
        key.revision().or_else(|| Revision::read(self.text(key)))
    }

    fn text(&self, key: Key) -> &[u8] {
        self.texts.get(key.low as usize).map_or(&[], |text| text)
    }
}

impl Key {
    /// One that was not kept.
    pub const UNKNOWN: Self = Self::of_text(u32::MAX);

    const fn of_text(number: u32) -> Self {
        Self { high: 0, low: number, rest: TEXT }
    }

    fn of_revision(revision: Revision) -> Option<Self> {
        let rest = u32::try_from(revision.sub).ok()?.checked_mul(2)? + u32::from(revision.deletes);
        let high = u32::try_from(revision.main >> 32).ok()?;
        let low = u32::try_from(revision.main & u64::from(u32::MAX)).ok()?;
        (rest != TEXT).then_some(Self { high, low, rest })
    }

    /// The revision that it is, if it is one of the small numbers that all are.
    fn revision(self) -> Option<Revision> {
        let main = u64::from(self.high) << 32 | u64::from(self.low);
        let revision = Revision { main, sub: u64::from(self.rest / 2), deletes: self.rest % 2 == 1 };
        (self.rest != TEXT).then_some(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_bytes() {
        let mut kept = Keys::default();
        let revision =
            |main: u64, mark: &[u8]| [&main.to_be_bytes()[..], b"_\0\0\0\0\0\0\0\0", mark].concat();
        let sorted = [
            Vec::new(),
            b"\0\0".to_vec(),
            revision(1, b""),
            revision(1, b"t"),
            revision(1 << 40, b""),
            b"lease".to_vec(),
        ];
        let keys = sorted.map(|key| kept.keep(&key).expect("few"));
        for pair in keys.windows(2) {
            assert_eq!(kept.compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(kept.compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
            assert_eq!(kept.compare(pair[0], pair[0]), Ordering::Equal, "{pair:?}");
        }
    }
}
