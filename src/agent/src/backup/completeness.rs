//! What a backup lacks for a restore, judged by what its snapshot holds.
use std::collections::{BTreeMap, BTreeSet};

use capture::files::KeyName;
use model::{
    Reason, SnapshotId,
    result::{Lack, Objects},
};
use snapshot::{Encrypted, Tally};

/// Objects that Kubernetes deletes within an hour: how many there are tells of no loss.
const FLEETING: &str = "events";
/// The provider whose keys are in a service outside of the cluster.
const KMS: &str = "kms";
/// Most keys that one message names.
const MOST_NAMED: usize = 5;
/// As many characters of a name are shown.
const LONGEST_NAME: usize = 40;

/// What is judged.
pub struct Backup<'a> {
    /// Its snapshot of etcd.
    pub snapshot: &'a SnapshotId,
    /// Why its source is not trusted.
    pub suspect: Option<Reason>,
    /// What its snapshot holds; or why that was not counted.
    pub tally: Result<&'a Tally, &'a str>,
    /// The keys among its files, and which files have each.
    pub keys: &'a BTreeMap<KeyName, Vec<String>>,
}

/// How many objects may be gone since the backup before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShrinkGuard {
    /// `spec.shrinkGuard`: 0 allows any.
    pub percent: u8,
    /// Objects of the newest backup of the lineage that did not shrink, or whose shrinking was accepted.
    pub before: Option<u64>,
}

/// What is said of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completeness {
    /// Its objects, if they were counted.
    pub objects: Option<Objects>,
    /// What it lacks; several lacks have one message, under the reason that weighs most.
    pub lack: Option<Lack>,
    /// Those of its files that have keys which its objects need.
    pub keys_in: BTreeSet<String>,
}

impl Completeness {
    /// The word for the tag and the evidence: `yes`, or the reason.
    pub fn word(&self) -> &'static str {
        self.reason().map_or("yes", Reason::as_str)
    }

    /// Why it is not complete.
    pub fn reason(&self) -> Option<Reason> {
        self.lack.as_ref().map(|lack| lack.reason)
    }
}

/// Judges a backup whose files have been read.
pub fn judge(backup: &Backup, guard: ShrinkGuard) -> Completeness {
    let objects = backup.tally.ok().and_then(|tally| objects(tally, guard));
    let encryption = backup.tally.map(|tally| tally.encryption.as_slice()).unwrap_or_default();
    let found = [
        backup.suspect.map(|reason| (reason, reason.meaning().to_owned())),
        shrunk(objects, guard, backup.snapshot).map(|found| (Reason::Shrunk, found)),
        missing(encryption, backup.keys).map(|found| (Reason::EncryptionKeyMissing, found)),
        kms(encryption).map(|found| (Reason::NeedsKms, found)),
        backup.tally.err().map(|why| (Reason::Unsupported, uncounted(why))),
    ];
    Completeness {
        objects,
        lack: found.into_iter().flatten().map(said).reduce(|first, second| both(&first, &second)),
        keys_in: encryption.iter().flat_map(|used| with_key(used, backup.keys)).cloned().collect(),
    }
}

/// The files that have the key by which something is encrypted.
fn with_key<'a>(used: &Encrypted, keys: &'a BTreeMap<KeyName, Vec<String>>) -> &'a [String] {
    keys.get(&(used.provider.clone(), used.key.clone())).map_or(&[], Vec::as_slice)
}

fn said((reason, found): (Reason, String)) -> Lack {
    Lack::new(reason, &format!("{found} {}", reason.advice()))
}

fn both(first: &Lack, second: &Lack) -> Lack {
    Lack::new(first.reason, &format!("{} Besides, {}: {}", first.message, second.reason, second.message))
}

/// Counts what a loss of would be one; none where API servers keep their objects under keys of their own.
fn objects(tally: &Tally, guard: ShrinkGuard) -> Option<Objects> {
    let lasting = tally.objects.iter().filter(|(resource, _)| *resource != FLEETING);
    let count = lasting.map(|(_, count)| count).sum();
    let is_known = tally.keys == 0 || !tally.objects.is_empty() || guard.before > Some(0);
    is_known.then(|| Objects { count, shrunk: guard.is_hit(count) })
}

fn uncounted(why: &str) -> String {
    format!("Whether objects or their keys are lacking is not known: {why}.")
}

impl ShrinkGuard {
    fn is_hit(self, count: u64) -> bool {
        let left = u128::from(100 - self.percent.min(100));
        let is_few = |before: u64| u128::from(count) * 100 <= u128::from(before) * left;
        self.percent > 0 && self.before.is_some_and(|before| count < before && is_few(before))
    }
}

fn shrunk(objects: Option<Objects>, guard: ShrinkGuard, snapshot: &SnapshotId) -> Option<String> {
    let Objects { count, shrunk: true } = objects? else { return None };
    let before = guard.before?;
    Some(format!("The snapshot {} has {count} objects, before there were {before}.", snapshot.short()))
}

fn missing(encryption: &[Encrypted], keys: &BTreeMap<KeyName, Vec<String>>) -> Option<String> {
    let lacks_key = |used: &&Encrypted| used.provider != KMS && with_key(used, keys).is_empty();
    let missing: Vec<&Encrypted> = encryption.iter().filter(lacks_key).collect();
    let values = values(&missing)?;
    Some(format!("{values} objects are encrypted and no captured file has their key: {}.", names(&missing)))
}

fn kms(encryption: &[Encrypted]) -> Option<String> {
    let kms: Vec<&Encrypted> = encryption.iter().filter(|used| used.provider == KMS).collect();
    let values = values(&kms)?;
    Some(format!("{values} objects are encrypted by a key management service: {}.", names(&kms)))
}

fn values(encryption: &[&Encrypted]) -> Option<u64> {
    (!encryption.is_empty()).then(|| encryption.iter().map(|used| used.values).sum())
}

/// Whoever writes to etcd chooses these names.
fn names(encryption: &[&Encrypted]) -> String {
    let name = |used: &&Encrypted| format!("{:?} of {:?}", beginning(&used.key), beginning(&used.provider));
    let named: Vec<String> = encryption.iter().take(MOST_NAMED).map(name).collect();
    let rest = encryption.len().saturating_sub(MOST_NAMED);
    let others = if rest > 0 { format!(" and {rest} others") } else { String::new() };
    format!("{}{others}", named.join(", "))
}

fn beginning(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn encrypted(provider: &str, key: &str) -> Encrypted {
        Encrypted { provider: provider.to_owned(), key: key.to_owned(), values: 3 }
    }

    fn tally(count: u64, encryption: Vec<Encrypted>) -> Tally {
        let objects = [("pods".to_owned(), count), ("events".to_owned(), 1000)].into();
        Tally { keys: count + 1000, objects, encryption }
    }

    fn judged(
        suspect: Option<Reason>,
        tally: Option<&Tally>,
        keys: &[(&str, &str)],
        guard: ShrinkGuard,
    ) -> Completeness {
        let key = |(provider, key): &(&str, &str)| {
            (((*provider).to_owned(), (*key).to_owned()), vec![format!("file of {key}"), "copy".to_owned()])
        };
        let keys = keys.iter().map(key).collect();
        let snapshot = "ab".repeat(32).parse().expect("an id");
        judge(&Backup { snapshot: &snapshot, suspect, tally: tally.ok_or("too much"), keys: &keys }, guard)
    }

    #[rstest]
    #[case::nothing_encrypted(vec![], &[], None)]
    #[case::with_a_captured_key(vec![encrypted("aescbc", "key1")], &[("aescbc", "key1")], None)]
    #[case::without_any_key(vec![encrypted("aescbc", "key1")], &[], Some(Reason::EncryptionKeyMissing))]
    #[case::with_another_key(
        vec![encrypted("aescbc", "key1"), encrypted("aescbc", "key2")],
        &[("aescbc", "key2")],
        Some(Reason::EncryptionKeyMissing)
    )]
    #[case::with_a_key_of_another_provider(
        vec![encrypted("aescbc", "key1")],
        &[("aesgcm", "key1")],
        Some(Reason::EncryptionKeyMissing)
    )]
    #[case::by_a_service(vec![encrypted("kms", "vault")], &[], Some(Reason::NeedsKms))]
    #[case::by_a_service_and_without_a_key(
        vec![encrypted("kms", "vault"), encrypted("secretbox", "a")],
        &[],
        Some(Reason::EncryptionKeyMissing)
    )]
    fn a_backup_of_encrypted_objects_is_complete_with_their_keys(
        #[case] encryption: Vec<Encrypted>,
        #[case] keys: &[(&str, &str)],
        #[case] expected: Option<Reason>,
    ) {
        let found = judged(None, Some(&tally(10, encryption)), keys, ShrinkGuard::default());
        assert_eq!(found.reason(), expected, "{found:?}");
    }

    #[rstest]
    #[case::nothing_encrypted(vec![], &[])]
    #[case::by_a_key_that_is_there(vec![encrypted("aescbc", "key1")], &["copy", "file of key1"])]
    #[case::by_two_and_one_that_is_not(
        vec![encrypted("aescbc", "key0"), encrypted("aescbc", "key2"), encrypted("secretbox", "key1")],
        &["copy", "file of key1", "file of key2"]
    )]
    #[case::by_a_service(vec![encrypted("kms", "vault")], &[])]
    fn the_files_are_known_whose_keys_are_needed(
        #[case] encryption: Vec<Encrypted>,
        #[case] expected: &[&str],
    ) {
        let keys = [("aescbc", "key1"), ("aescbc", "key2"), ("secretbox", "key1")];
        let found = judged(None, Some(&tally(10, encryption)), &keys, ShrinkGuard::default());
        assert_eq!(Vec::from_iter(found.keys_in), expected);
    }

    #[rstest]
    #[case::first_backup(30, None, 0, false)]
    #[case::as_many(30, Some(100), 100, false)]
    #[case::more(30, Some(100), 200, false)]
    #[case::just_enough(30, Some(100), 71, false)]
    #[case::a_third_gone(30, Some(100), 70, true)]
    #[case::emptied(30, Some(100), 0, true)]
    #[case::guard_is_off(0, Some(100), 0, false)]
    #[case::only_an_emptied_one_is_told(100, Some(100), 1, false)]
    #[case::an_emptied_one_is_told(100, Some(100), 0, true)]
    #[case::there_was_nothing_to_lose(30, Some(0), 0, false)]
    fn a_backup_with_far_fewer_objects_has_shrunk(
        #[case] percent: u8,
        #[case] before: Option<u64>,
        #[case] count: u64,
        #[case] shrunk: bool,
    ) {
        let found = judged(None, Some(&tally(count, vec![])), &[], ShrinkGuard { percent, before });
        assert_eq!(found.objects, Some(Objects { count, shrunk }), "events do not count");
        assert_eq!(found.reason(), shrunk.then_some(Reason::Shrunk));
    }

    #[test]
    fn all_that_is_lacking_is_said_and_what_weighs_most_first() {
        let tally = tally(1, vec![encrypted("aescbc", "key1")]);
        let found =
            judged(Some(Reason::NoQuorum), Some(&tally), &[], ShrinkGuard { percent: 30, before: Some(9) });
        let lack = found.lack.expect("much is lacking");
        assert_eq!(lack.reason, Reason::NoQuorum);
        for said in ["EncryptionKeyMissing", r#""key1" of "aescbc""#, "Shrunk", "abababab has 1 objects"] {
            assert!(lack.message.contains(said), "{said}: {}", lack.message);
        }
    }

    #[test]
    fn what_was_not_counted_is_not_called_complete() {
        let found = judged(None, None, &[], ShrinkGuard { percent: 30, before: Some(9) });
        assert_eq!((found.objects, found.reason()), (None, Some(Reason::Unsupported)));
    }

    #[rstest]
    #[case::as_before(None, None)]
    #[case::where_there_were_objects_before(Some(9), Some(Objects { count: 0, shrunk: true }))]
    fn keys_of_which_none_is_an_objects_are_not_counted_as_no_objects(
        #[case] before: Option<u64>,
        #[case] expected: Option<Objects>,
    ) {
        let tally = Tally { keys: 5, ..Tally::default() };
        assert_eq!(judged(None, Some(&tally), &[], ShrinkGuard { percent: 30, before }).objects, expected);
    }

    #[test]
    fn a_thousand_keys_are_not_all_named() {
        let many = (0..1000).map(|key| encrypted("aescbc", &format!("\u{1}{key:0200}"))).collect();
        let message =
            judged(None, Some(&tally(1, many)), &[], ShrinkGuard::default()).lack.expect("much").message;
        assert!(
            message.contains("and 995 others") && message.contains(Reason::EncryptionKeyMissing.advice()),
            "{message}"
        );
    }
}
