//! Every change that the file holds, small enough to be kept until it is known which of them count.
//!
//! A page that no tree reaches any more still holds what it once did, and the last change of a key may stand anywhere
//! in the file. So both are decided at the end.
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
};

use serde::{Deserialize, Serialize};

use crate::resource;

/// Most changes that are kept; with more, only their number is known. They take 16 bytes each.
const MOST: usize = 12_000_000;
/// Most kinds of values that are told apart.
const MOST_LABELS: usize = 4096;
/// Changes are sorted in so many portions, so that growing one copies little.
const PORTIONS: usize = 256;

/// A deletion.
const DELETED: u16 = u16::MAX;
/// A value of a kind for which there was no label left.
const UNLABELLED: u16 = u16::MAX - 1;

/// Changes of all pages.
pub struct Entries {
    hasher: RandomState,
    portions: Vec<Vec<Entry>>,
    count: usize,
    labels: HashMap<Label, u16>,
}

/// One change.
struct Entry {
    /// Of the key. Two of ten million keys have the same hash in one of a hundred thousand files.
    hash: u64,
    page: u32,
    index: u16,
    label: u16,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Label {
    resource: Option<String>,
    encryption: Option<(String, String)>,
}

/// What the keys are that are not deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many there are.
    pub keys: u64,
    /// Kubernetes' objects, by resource: `pods`, `certificates.cert-manager.io`.
    pub objects: BTreeMap<String, u64>,
    /// Values that are encrypted, by what encrypted them.
    pub encryption: Vec<Encrypted>,
}

/// Values that are encrypted alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Encrypted {
    /// Provider of the API server's `EncryptionConfiguration`: `aescbc`, `aesgcm`, `secretbox`, `kms`.
    pub provider: String,
    /// Name of the key, or of the plugin where a key management service has the keys.
    pub key: String,
    /// How many values.
    pub values: u64,
}

impl Entries {
    pub fn new() -> Self {
        let portions = (0..PORTIONS).map(|_| Vec::new()).collect();
        Self { hasher: RandomState::new(), portions, count: 0, labels: HashMap::new() }
    }

    /// Notes a change: the element of a page, the key, and the value unless it deletes the key.
    pub fn note(&mut self, (page, index): (u32, u16), key: &[u8], value: Option<&[u8]>) {
        self.count += 1;
        if self.count > MOST {
            return;
        }
        let label = value.map_or(DELETED, |value| self.label(key, value));
        // So that nobody who writes to etcd can choose keys of one hash.
        let hash = self.hasher.hash_one(key);
        let portion = &mut self.portions[(hash >> 56) as usize % PORTIONS];
        if portion.len() == portion.capacity() {
            portion.reserve_exact(portion.len() / 8 + 64);
        }
        portion.push(Entry { hash, page, index, label });
    }

    fn label(&mut self, key: &[u8], value: &[u8]) -> u16 {
        let label = Label { resource: resource::of_key(key), encryption: resource::encryption(value) };
        if let Some(known) = self.labels.get(&label) {
            return *known;
        }
        let next = self.labels.len();
        if next >= MOST_LABELS {
            return UNLABELLED;
        }
        let number = u16::try_from(next).unwrap_or(UNLABELLED);
        self.labels.insert(label, number);
        number
    }

    /// Counts the keys whose last change on a page that counts is no deletion; `rank` orders those pages by revision.
    /// None if there were too many changes to keep, or kinds of values to tell apart.
    pub fn tally(self, rank: impl Fn(u32) -> Option<u32>) -> Option<Tally> {
        if self.count > MOST {
            return None;
        }
        let mut counts: HashMap<u16, u64> = HashMap::new();
        for mut portion in self.portions {
            portion.retain(|entry| rank(entry.page).is_some());
            portion.sort_unstable_by_key(|entry| (entry.hash, rank(entry.page), entry.index));
            for last in portion.chunk_by(|one, other| one.hash == other.hash).filter_map(<[_]>::last) {
                *counts.entry(last.label).or_default() += 1;
            }
        }
        counts.remove(&DELETED);
        if counts.contains_key(&UNLABELLED) {
            return None;
        }
        Some(tally(&self.labels, &counts))
    }
}

fn tally(labels: &HashMap<Label, u16>, counts: &HashMap<u16, u64>) -> Tally {
    let mut tally = Tally { keys: counts.values().sum(), ..Tally::default() };
    let mut encrypted: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (label, number) in labels {
        let Some(count) = counts.get(number) else { continue };
        if let Some(resource) = &label.resource {
            *tally.objects.entry(resource.clone()).or_default() += count;
        }
        if let Some(encryption) = &label.encryption {
            *encrypted.entry(encryption.clone()).or_default() += count;
        }
    }
    let encrypted =
        encrypted.into_iter().map(|((provider, key), values)| Encrypted { provider, key, values });
    Tally { encryption: encrypted.collect(), ..tally }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted of changes of `(page, key, value)`, where pages 1 and 2 count and 9 does not.
    fn counted(changes: &[(u32, &str, Option<&str>)]) -> Tally {
        let mut entries = Entries::new();
        for (index, (page, key, value)) in (0..).zip(changes) {
            entries.note((*page, index), key.as_bytes(), value.map(str::as_bytes));
        }
        entries.tally(|page| (page < 9).then_some(page)).expect("few")
    }

    #[test]
    fn the_last_change_of_a_key_counts_wherever_it_stands() {
        let (pod, other) = ("/registry/pods/a/b", "/registry/pods/a/c");
        let tally = counted(&[(2, pod, None), (1, pod, Some("v")), (1, other, None), (2, other, Some("v"))]);
        assert_eq!((tally.keys, tally.objects), (1, BTreeMap::from([("pods".to_owned(), 1)])));
    }

    #[test]
    fn what_stands_on_a_page_that_is_reached_no_more_does_not_count() {
        let tally = counted(&[(9, "/registry/pods/a/b", Some("v")), (9, "k", None), (1, "k", Some("v"))]);
        assert_eq!((tally.keys, tally.objects.len()), (1, 0));
    }

    #[test]
    fn what_is_encrypted_is_counted_by_its_provider() {
        let secret = Some("k8s:enc:aescbc:v1:key1:xxx");
        let tally =
            counted(&[(1, "/registry/secrets/a/b", secret), (1, "/registry/secrets/a/c", Some("k8s\0"))]);
        let expected = Encrypted { provider: "aescbc".to_owned(), key: "key1".to_owned(), values: 1 };
        assert_eq!(tally.encryption, [expected]);
        assert_eq!(tally.objects, BTreeMap::from([("secrets".to_owned(), 2)]));
    }

    #[test]
    fn a_change_takes_sixteen_bytes() {
        assert_eq!(size_of::<Entry>(), 16);
    }
}
