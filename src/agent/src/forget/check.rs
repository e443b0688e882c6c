//! What may be forgotten.
use std::collections::{BTreeMap, BTreeSet};

use model::{
    Reason, SnapshotId,
    environment::{ForgetList, Pair},
    result::Failure,
    tags::Tags,
};
use repository::Snapshot;

/// The snapshots to forget: of the backups that go, those that are there.
///
/// # Errors
///
/// Nothing may be deleted then: `Bug` for a list that contradicts itself,
/// `SurvivorMissing` where a backup that must stay is not there whole,
/// `InvalidSpec` for a snapshot that is not of this policy.
pub fn check(list: &ForgetList, listing: &[Snapshot], policy: &str) -> Result<Vec<SnapshotId>, Failure> {
    consistent(list)?;
    let tags: BTreeMap<&SnapshotId, Option<Tags>> =
        listing.iter().map(|snapshot| (&snapshot.id, Tags::parse(&snapshot.tags))).collect();
    for pair in &list.stay {
        if !is_whole(pair, &tags) {
            let message = format!("the backup {} must stay but is not there whole", pair.etcd.short());
            return Err(Failure::new(Reason::SurvivorMissing, message));
        }
    }
    let mut going = Vec::new();
    for pair in &list.go {
        // The second goes first, so that what a crash leaves is an incomplete backup.
        for id in [&pair.files, &pair.etcd] {
            let Some(tags) = tags.get(id) else { continue };
            if !tags.as_ref().is_some_and(|tags| tags.common.policy == policy && has_role(tags, id, pair)) {
                let message = format!("the snapshot {id} is not a backup of the policy {policy}");
                return Err(Failure::new(Reason::InvalidSpec, message));
            }
            going.push(id.clone());
        }
    }
    Ok(going)
}

fn consistent(list: &ForgetList) -> Result<(), Failure> {
    let ids = |pairs: &[Pair]| -> BTreeSet<SnapshotId> {
        pairs.iter().flat_map(|pair| [pair.etcd.clone(), pair.files.clone()]).collect()
    };
    let contradiction =
        |message: &str| Err(Failure::new(Reason::Bug, format!("the list of what to forget {message}")));
    if list.stay.is_empty() {
        return contradiction("names no backup that stays");
    }
    if list.go.len() > ForgetList::MOST || list.stay.len() > ForgetList::MOST {
        return contradiction("is longer than is allowed");
    }
    if !ids(&list.go).is_disjoint(&ids(&list.stay)) {
        return contradiction("names a snapshot as going and as staying");
    }
    Ok(())
}

fn is_whole(pair: &Pair, tags: &BTreeMap<&SnapshotId, Option<Tags>>) -> bool {
    let tags_of = |id| tags.get(id).and_then(Option::as_ref);
    let (Some(first), Some(second)) = (tags_of(&pair.etcd), tags_of(&pair.files)) else { return false };
    has_role(first, &pair.etcd, pair)
        && has_role(second, &pair.files, pair)
        && first.common.backup == second.common.backup
}

/// Whether a snapshot is what the pair says: a first, or the second of that first.
fn has_role(tags: &Tags, id: &SnapshotId, pair: &Pair) -> bool {
    match &tags.second {
        None => *id == pair.etcd,
        Some(second) => *id == pair.files && second.of == pair.etcd,
    }
}

#[cfg(test)]
mod tests {
    use model::{
        lineage::Position,
        tags::{Common, Second},
    };
    use rstest::rstest;

    use super::*;

    const POLICY: &str = "kubedr-system/test-backup";

    fn id(name: &str) -> SnapshotId {
        name.repeat(32).parse().expect("an id")
    }

    /// The backup `n` has the snapshots `1n` and `2n`.
    fn pair(n: &str) -> Pair {
        Pair { etcd: id(&format!("1{n}")), files: id(&format!("2{n}")) }
    }

    fn snapshot(id: SnapshotId, tags: Vec<String>) -> Snapshot {
        let time = jiff::Timestamp::UNIX_EPOCH;
        Snapshot { id, time, tags, hostname: String::new(), paths: Vec::new(), summary: None }
    }

    fn backup_of(n: &str, policy: &str) -> Vec<Snapshot> {
        let common = Common {
            backup: n.repeat(16).parse().expect("an id"),
            cluster: "uid".to_owned(),
            policy: policy.to_owned(),
            lineage: "a".repeat(16).parse().expect("an id"),
        };
        let position = Position { cluster_id: String::new(), revision: 1, raft_index: 1, raft_term: 1 };
        let second = Second::new(pair(n).etcd, &position, None);
        let tags = |second| Tags { common: common.clone(), second }.render();
        vec![snapshot(pair(n).etcd, tags(None)), snapshot(pair(n).files, tags(Some(second)))]
    }

    fn backup(n: &str) -> Vec<Snapshot> {
        backup_of(n, POLICY)
    }

    fn first_of(n: &str) -> Vec<Snapshot> {
        backup(n).into_iter().take(1).collect()
    }

    fn second_of(n: &str) -> Vec<Snapshot> {
        backup(n).into_iter().skip(1).collect()
    }

    fn foreign(n: &str) -> Vec<Snapshot> {
        backup(n).into_iter().map(|found| snapshot(found.id, vec!["daily".to_owned()])).collect()
    }

    fn list(go: &[&str], stay: &[&str]) -> ForgetList {
        let pairs = |names: &[&str]| names.iter().copied().map(pair).collect();
        ForgetList { go: pairs(go), stay: pairs(stay) }
    }

    fn crossed() -> ForgetList {
        let [a, b] = [pair("a"), pair("b")];
        ForgetList { go: vec![Pair { etcd: a.etcd, files: b.files }], stay: vec![pair("c")] }
    }

    fn snapshots(of: &[&str]) -> Vec<SnapshotId> {
        of.iter().copied().map(id).collect()
    }

    #[rstest]
    #[case::both_snapshots(list(&["a"], &["b"]), [backup("a"), backup("b")].concat(), snapshots(&["2a", "1a"]))]
    #[case::absent_ones_are_forgotten_already(list(&["a"], &["b"]), backup("b"), vec![])]
    #[case::what_a_crash_left(list(&["a"], &["b"]), [first_of("a"), backup("b")].concat(), snapshots(&["1a"]))]
    #[case::second_without_first(list(&["a"], &["b"]), [second_of("a"), backup("b")].concat(), snapshots(&["2a"]))]
    #[case::survivor_of_another_policy(
        list(&["a"], &["b"]),
        [backup("a"), backup_of("b", "kubedr-system/other")].concat(),
        snapshots(&["2a", "1a"])
    )]
    fn forgets(#[case] list: ForgetList, #[case] listing: Vec<Snapshot>, #[case] expected: Vec<SnapshotId>) {
        assert_eq!(check(&list, &listing, POLICY), Ok(expected));
    }

    #[rstest]
    #[case::nothing_stays(list(&["a"], &[]), backup("a"), Reason::Bug)]
    #[case::goes_and_stays(list(&["a", "b"], &["b"]), [backup("a"), backup("b")].concat(), Reason::Bug)]
    #[case::survivor_gone(list(&["a"], &["b"]), backup("a"), Reason::SurvivorMissing)]
    #[case::survivor_without_second(
        list(&["a"], &["b"]),
        [backup("a"), first_of("b")].concat(),
        Reason::SurvivorMissing
    )]
    #[case::survivor_without_first(
        list(&["a"], &["b"]),
        [backup("a"), second_of("b")].concat(),
        Reason::SurvivorMissing
    )]
    #[case::survivor_is_foreign(list(&["a"], &["b"]), [backup("a"), foreign("b")].concat(), Reason::SurvivorMissing)]
    #[case::one_of_two_survivors_gone(
        list(&["a"], &["b", "c"]),
        [backup("a"), backup("b")].concat(),
        Reason::SurvivorMissing
    )]
    #[case::other_policy(
        list(&["a"], &["b"]),
        [backup_of("a", "kubedr-system/other"), backup("b")].concat(),
        Reason::InvalidSpec
    )]
    #[case::foreign_snapshot(list(&["a"], &["b"]), [foreign("a"), backup("b")].concat(), Reason::InvalidSpec)]
    #[case::snapshots_of_two_backups(
        crossed(),
        [backup("a"), backup("b"), backup("c")].concat(),
        Reason::InvalidSpec
    )]
    fn deletes_nothing(#[case] list: ForgetList, #[case] listing: Vec<Snapshot>, #[case] reason: Reason) {
        assert_eq!(check(&list, &listing, POLICY).expect_err("refused").reason, reason);
    }
}
