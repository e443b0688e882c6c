//! What may be forgotten.
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::{
    Reason, SnapshotId,
    environment::{ForgetList, Pair},
    result::Failure,
    tags::Tags,
};
use repository::Snapshot;

use crate::backup::history::{History, Owner};

/// What may be forgotten, and on what condition.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    /// Of the backups that go, the snapshots that are there.
    pub going: Vec<SnapshotId>,
    /// The newest backup that stays, whose packs must be seen first.
    pub survivor: Pair,
}

/// Judges a list by what is in the repository.
///
/// # Errors
///
/// Nothing may be deleted then: `Bug` for a list that contradicts itself,
/// `SurvivorMissing` where a backup that must stay is not there whole or is
/// named as going, `InvalidSpec` for a snapshot that is not the owner's.
pub fn check(
    list: &ForgetList,
    listing: &[Snapshot],
    owner: Owner<'_>,
    since: Timestamp,
) -> Result<Permit, Failure> {
    consistent(list)?;
    let tags: Known = listing.iter().map(|snapshot| (&snapshot.id, Tags::parse(&snapshot.tags))).collect();
    if let Some(pair) = list.stay.iter().find(|pair| !is_whole(pair, &tags, owner)) {
        let message = format!("the backup {} must stay but is not there whole", pair.etcd.short());
        return Err(Failure::new(Reason::SurvivorMissing, message));
    }
    let going = going(list, &tags, owner)?;
    spared(&going, &History::read(listing, owner).indispensable(since))?;
    let time = |pair: &&Pair| listing.iter().find(|found| found.id == pair.etcd).map(|found| found.time);
    let survivor = list.stay.iter().max_by_key(time).expect("a consistent list names a survivor").clone();
    Ok(Permit { going, survivor })
}

type Known<'a> = BTreeMap<&'a SnapshotId, Option<Tags>>;

fn going(list: &ForgetList, tags: &Known<'_>, owner: Owner<'_>) -> Result<Vec<SnapshotId>, Failure> {
    let mut going = Vec::new();
    for pair in &list.go {
        for id in [&pair.files, &pair.etcd] {
            let Some(tags) = tags.get(id) else { continue };
            if !tags.as_ref().is_some_and(|tags| owner.has(&tags.common) && has_role(tags, id, pair)) {
                let message = format!(
                    "the snapshot {id} is not a backup of the policy {} and this cluster",
                    owner.policy
                );
                return Err(Failure::new(Reason::InvalidSpec, message));
            }
            going.push(id.clone());
        }
    }
    Ok(going)
}

/// The newest good backup stays even where the list was made from records that lack it.
fn spared(going: &[SnapshotId], indispensable: &[Pair]) -> Result<(), Failure> {
    let goes = |pair: &&Pair| going.contains(&pair.etcd) || going.contains(&pair.files);
    let Some(pair) = indispensable.iter().find(goes) else { return Ok(()) };
    let message = format!(
        "the backup {} is the newest good one of its lineage and must not go: nothing was removed",
        pair.etcd.short()
    );
    Err(Failure::new(Reason::SurvivorMissing, message))
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

fn is_whole(pair: &Pair, tags: &Known<'_>, owner: Owner<'_>) -> bool {
    let tags_of = |id| tags.get(id).and_then(Option::as_ref);
    let (Some(first), Some(second)) = (tags_of(&pair.etcd), tags_of(&pair.files)) else { return false };
    has_role(first, &pair.etcd, pair)
        && has_role(second, &pair.files, pair)
        && first.common.backup == second.common.backup
        && [first, second].iter().all(|tags| tags.common.policy == owner.policy)
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

    const OWNER: Owner<'static> = Owner { policy: POLICY, cluster: "uid" };

    fn id(name: &str) -> SnapshotId {
        name.repeat(32).parse().expect("an id")
    }

    /// The backup `n` has the snapshots `1n` and `2n`.
    fn pair(n: &str) -> Pair {
        Pair { etcd: id(&format!("1{n}")), files: id(&format!("2{n}")) }
    }

    fn snapshot(id: SnapshotId, time: Timestamp, tags: Vec<String>) -> Snapshot {
        Snapshot { id, time, tags, hostname: String::new(), paths: Vec::new(), summary: None }
    }

    /// Later names are later backups.
    fn backup_of(n: &str, policy: &str, cluster: &str) -> Vec<Snapshot> {
        let common = Common {
            backup: n.repeat(16).parse().expect("an id"),
            cluster: cluster.to_owned(),
            policy: policy.to_owned(),
            lineage: "a".repeat(16).parse().expect("an id"),
        };
        let nth = n.bytes().next().expect("a name");
        let time = Timestamp::from_second(nth.into()).expect("a time");
        let position =
            Position { cluster_id: String::new(), revision: 1, raft_index: nth.into(), raft_term: 1 };
        let second = Second::new(pair(n).etcd, &position, None);
        let tags = |second| Tags { common: common.clone(), second }.render();
        vec![snapshot(pair(n).etcd, time, tags(None)), snapshot(pair(n).files, time, tags(Some(second)))]
    }

    fn backup(n: &str) -> Vec<Snapshot> {
        backup_of(n, POLICY, "uid")
    }

    fn first_of(n: &str) -> Vec<Snapshot> {
        backup(n).into_iter().take(1).collect()
    }

    fn second_of(n: &str) -> Vec<Snapshot> {
        backup(n).into_iter().skip(1).collect()
    }

    fn foreign(n: &str) -> Vec<Snapshot> {
        backup(n).into_iter().map(|found| snapshot(found.id, found.time, vec!["daily".to_owned()])).collect()
    }

    fn list(go: &[&str], stay: &[&str]) -> ForgetList {
        let pairs = |names: &[&str]| names.iter().copied().map(pair).collect();
        ForgetList { go: pairs(go), stay: pairs(stay) }
    }

    fn crossed() -> ForgetList {
        let [a, b] = [pair("a"), pair("b")];
        ForgetList { go: vec![Pair { etcd: a.etcd, files: b.files }], stay: vec![pair("c")] }
    }

    /// The first snapshot of `b`, with a second that is not there.
    fn half_of_b() -> ForgetList {
        ForgetList { go: vec![Pair { etcd: pair("b").etcd, files: id("3b") }], stay: vec![pair("a")] }
    }

    fn snapshots(of: &[&str]) -> Vec<SnapshotId> {
        of.iter().copied().map(id).collect()
    }

    #[rstest]
    #[case::both_snapshots(list(&["a"], &["b"]), [backup("a"), backup("b")].concat(), snapshots(&["2a", "1a"]))]
    #[case::absent_ones_are_forgotten_already(list(&["a"], &["b"]), backup("b"), vec![])]
    #[case::what_a_crash_left(list(&["a"], &["b"]), [first_of("a"), backup("b")].concat(), snapshots(&["1a"]))]
    #[case::second_without_first(list(&["a"], &["b"]), [second_of("a"), backup("b")].concat(), snapshots(&["2a"]))]
    fn forgets(#[case] list: ForgetList, #[case] listing: Vec<Snapshot>, #[case] expected: Vec<SnapshotId>) {
        assert_eq!(check(&list, &listing, OWNER, Timestamp::MAX).map(|permit| permit.going), Ok(expected));
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
        [backup_of("a", "kubedr-system/other", "uid"), backup("b")].concat(),
        Reason::InvalidSpec
    )]
    #[case::survivor_of_another_policy(
        list(&["a"], &["b"]),
        [backup("a"), backup_of("b", "kubedr-system/other", "uid"), backup("c")].concat(),
        Reason::SurvivorMissing
    )]
    #[case::other_cluster(
        list(&["a"], &["b"]),
        [backup_of("a", POLICY, "another"), backup("b")].concat(),
        Reason::InvalidSpec
    )]
    #[case::newest_goes_because_nobody_recorded_the_others(
        list(&["b"], &["a"]),
        [backup("a"), backup("b")].concat(),
        Reason::SurvivorMissing
    )]
    #[case::half_of_the_newest_goes(half_of_b(), [backup("a"), backup("b")].concat(), Reason::SurvivorMissing)]
    #[case::foreign_snapshot(list(&["a"], &["b"]), [foreign("a"), backup("b")].concat(), Reason::InvalidSpec)]
    #[case::snapshots_of_two_backups(
        crossed(),
        [backup("a"), backup("b"), backup("c")].concat(),
        Reason::InvalidSpec
    )]
    fn deletes_nothing(#[case] list: ForgetList, #[case] listing: Vec<Snapshot>, #[case] reason: Reason) {
        assert_eq!(check(&list, &listing, OWNER, Timestamp::MAX).expect_err("refused").reason, reason);
    }

    #[test]
    fn the_newest_survivor_is_the_one_to_be_proven() {
        let listing = [backup("a"), backup("b"), backup("c")].concat();
        let permit = check(&list(&["a"], &["c", "b"]), &listing, OWNER, Timestamp::MAX).expect("permitted");
        assert_eq!(permit.survivor, pair("c"));
    }
}
