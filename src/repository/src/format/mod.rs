//! restic's repository format, versions 1 and 2, as far as a reader needs it.
//!
//! ```text
//! file or blob ─▶ Key::open (MAC, then decrypt) ─▶ unpack (zstd) ─▶ JSON: config, snapshot, index, tree
//! ```
//!
//! Written after restic's doc/design.rst. What is read was written by whoever
//! may write to the bucket: nothing is decrypted before its MAC was right, and
//! everything has a largest size.
mod documents;
mod index;
mod key;

pub(crate) use documents::{Config, Node, Snapshot, Tree, documents};
pub(crate) use index::{Index, Kind, Located};
pub(crate) use key::Key;

use std::{fmt, io::Read};

use serde::{Deserialize, Deserializer, de};

/// Contents that are not what restic writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Damaged(pub(crate) String);

impl Damaged {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// SHA-256 that names a file or blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id([u8; 32]);

impl Id {
    /// The id of these very contents.
    pub(crate) fn of(contents: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, contents);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Reads 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 32];
        hex::decode_to_slice(text, &mut id).ok()?;
        Some(Self(id))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hexadecimal;
        impl de::Visitor<'_> for Hexadecimal {
            type Value = Id;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                Id::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Hexadecimal)
    }
}

/// Decompresses, to no more than `most` bytes.
pub(crate) fn decompress(compressed: &[u8], most: usize) -> Result<Vec<u8>, Damaged> {
    let damaged = |error: std::io::Error| Damaged::new(format!("it cannot be decompressed: {error}"));
    let decoder = zstd::stream::read::Decoder::new(compressed).map_err(damaged)?;
    let mut plain = Vec::new();
    decoder.take(most as u64 + 1).read_to_end(&mut plain).map_err(damaged)?;
    if plain.len() > most {
        return Err(Damaged::new(format!("it is larger than {most} bytes when decompressed")));
    }
    Ok(plain)
}

/// The document in the plaintext of an unpacked file.
///
/// Version 2 puts a byte before it that says how it is encoded; what begins
/// like JSON is JSON.
pub(crate) fn unpack(plain: Vec<u8>, most: usize) -> Result<Vec<u8>, Damaged> {
    match plain.first() {
        Some(b'{' | b'[') if plain.len() <= most => Ok(plain),
        Some(b'{' | b'[') => Err(Damaged::new(format!("it is larger than {most} bytes"))),
        Some(2) => decompress(&plain[1..], most),
        Some(other) => Err(Damaged::new(format!("it is encoded in the unknown way {other}"))),
        None => Err(Damaged::new("it is empty")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) use super::key::tests::{key, seal};

    pub(crate) fn id(digit: char) -> Id {
        Id::parse(&digit.to_string().repeat(64)).expect("64 digits")
    }

    fn compressed(plain: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(plain, 3).expect("compresses")
    }

    #[test]
    fn both_versions_unpack_to_the_same_document() {
        let old = br#"{"version":1}"#.to_vec();
        let new = [vec![2], compressed(&old)].concat();
        assert_eq!(unpack(old.clone(), 100), Ok(old.clone()));
        assert_eq!(unpack(new, 100), Ok(old));
    }

    #[test]
    fn a_small_file_that_would_fill_the_memory_is_refused() {
        let bomb = [vec![2], compressed(&vec![b' '; 10_000_000])].concat();
        assert!(bomb.len() < 2000);
        unpack(bomb, 1_000_000).expect_err("too large");
        unpack(vec![b'{'; 101], 100).expect_err("too large");
    }

    #[test]
    fn what_restic_does_not_write_is_refused() {
        for plain in [vec![], vec![1, 2, 3], vec![2], vec![2, 0, 1, 2, 3]] {
            unpack(plain.clone(), 100).expect_err("damaged");
        }
    }

    #[test]
    fn an_id_is_64_hexadecimal_digits() {
        assert_eq!(id('a').to_string(), "a".repeat(64));
        for text in ["", "ab", &"g".repeat(64), &"a".repeat(66)] {
            assert_eq!(Id::parse(text), None);
            serde_json::from_str::<Id>(&format!("{text:?}")).expect_err("malformed");
        }
        assert_eq!(
            Id::of(b"").to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
