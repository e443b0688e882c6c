//! etcd's revisions: keys and values of its bucket `key`.
use std::{cmp::Ordering, ops::Range};

/// Bytes of a revision as a key: main `u64`, `_`, sub `u64`, both big-endian.
const LENGTH: usize = 17;
/// What follows where the revision deletes its key.
const DELETES: u8 = b't';

/// One change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// Of the whole store: one for each transaction.
    pub main: u64,
    /// Of the change within its transaction.
    pub sub: u64,
    pub deletes: bool,
}

impl Revision {
    /// Reads a key of bucket `key`; none for what is no such key.
    pub fn read(key: &[u8]) -> Option<Self> {
        let deletes = match key.get(LENGTH..)? {
            [] => false,
            [DELETES] => true,
            _ => return None,
        };
        let number = |range: Range<usize>| Some(u64::from_be_bytes(key[range].try_into().ok()?));
        // etcd counts in `int64`, and ends itself where one is negative.
        let main = number(0..8).filter(|main| i64::try_from(*main).is_ok())?;
        (key[8] == b'_').then_some(Self { main, sub: number(9..17)?, deletes })
    }

    fn bytes(self) -> ([u8; LENGTH + 1], usize) {
        let mut bytes = [DELETES; LENGTH + 1];
        bytes[..8].copy_from_slice(&self.main.to_be_bytes());
        bytes[8] = b'_';
        bytes[9..17].copy_from_slice(&self.sub.to_be_bytes());
        (bytes, LENGTH + usize::from(self.deletes))
    }

    /// How it stands to any key in the order of bytes, which is bbolt's.
    pub fn compare(self, key: &[u8]) -> Ordering {
        let (bytes, length) = self.bytes();
        bytes[..length].cmp(key)
    }
}

/// What is stored of a change: etcd's `mvccpb.KeyValue`, as far as it is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The key as clients know it.
    pub key: &'a [u8],
    pub value: &'a [u8],
}

impl<'a> KeyValue<'a> {
    /// Reads a value of bucket `key`; none for what is no whole `KeyValue`.
    pub fn read(mut message: &'a [u8]) -> Option<Self> {
        let mut found = Self::default();
        while !message.is_empty() {
            let tag = varint(&mut message)?;
            // A field without a number, one of another kind than its own, and the kinds that protobuf has given up.
            match (tag >> 3, tag & 7) {
                (1, 2) => found.key = text(&mut message)?,
                (5, 2) => found.value = text(&mut message)?,
                (0 | 1 | 5, _) => return None,
                (2 | 3 | 4 | 6, kind) if kind != 0 => return None,
                (_, 0) => _ = varint(&mut message)?,
                (_, 1) => message = message.get(8..)?,
                (_, 2) => _ = text(&mut message)?,
                (_, 5) => message = message.get(4..)?,
                _ => return None,
            }
        }
        Some(found)
    }
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for index in 0..10 {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f).checked_shl(7 * index)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn text<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(message)?).ok()?;
    let (text, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_put(b"\0\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0\x02", Some((5, 2, false)))]
    #[case::a_deletion(b"\0\0\0\0\0\0\x01\0_\0\0\0\0\0\0\0\0t", Some((256, 0, true)))]
    #[case::too_short(b"\0\0\0\0\0\0\0\x05_", None)]
    #[case::other_mark(b"\0\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0\x02x", None)]
    #[case::negative(b"\x80\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0\x02", None)]
    #[case::other_middle(b"\0\0\0\0\0\0\0\x05-\0\0\0\0\0\0\0\x02", None)]
    fn a_key_is_a_revision(#[case] key: &[u8], #[case] expected: Option<(u64, u64, bool)>) {
        let expected = expected.map(|(main, sub, deletes)| Revision { main, sub, deletes });
        assert_eq!(Revision::read(key), expected);
        if let Some(revision) = expected {
            assert_eq!(revision.compare(key), Ordering::Equal);
        }
    }

    #[rstest]
    #[case::put(b"\x0a\x01k\x10\x05\x18\x06\x20\x01\x2a\x02vw", Some((&b"k"[..], &b"vw"[..])))]
    #[case::deletion(b"\x0a\x01k", Some((&b"k"[..], &b""[..])))]
    #[case::unknown_fields(b"\x0a\x01k\x3a\x01z\x4d\0\0\0\0\x51\0\0\0\0\0\0\0\0", Some((&b"k"[..], &b""[..])))]
    #[case::key_of_another_kind(b"\x08\x01", None)]
    #[case::version_of_another_kind(b"\x22\x01x", None)]
    #[case::cut_off(b"\x0a\x05k", None)]
    #[case::cut_off_in_a_number(b"\x0a\x01k\x10\x85", None)]
    #[case::endless_number(b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None)]
    #[case::no_message(b"<html>", None)]
    fn a_value_is_a_key_and_its_value(#[case] message: &[u8], #[case] expected: Option<(&[u8], &[u8])>) {
        assert_eq!(KeyValue::read(message).map(|found| (found.key, found.value)), expected);
    }
}
