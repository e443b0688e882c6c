//! What may be forgotten.
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::{
    Reason, SnapshotId,
    environment::{ForgetList, Pair},
    lineage,
    result::Failure,
    tags::Tags,
};
use repository::Snapshot;

use crate::backup::history::{History, Indispensable, Owner};

/// What may be forgotten, and on what condition.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    /// Of the backups that go, the snapshots that are there, superseded ones among them.
    pub going: Vec<SnapshotId>,
    /// Of the backups that stay, the newest, the newest that lacks nothing and the newest that did not shrink: all of
    /// each must be seen first.
    pub survivors: Vec<Pair>,
}

/// Judges a list by what is in the repository.
///
/// # Errors
///
/// Nothing may be deleted then: `Bug` for a list that contradicts itself or
/// names an indispensable backup as going, `SurvivorMissing` where one that
/// must stay is not there as a whole one of the owner, `InvalidSpec` for a
/// snapshot that is not the owner's.
pub fn check(
    list: &ForgetList,
    listing: &[Snapshot],
    owner: Owner<'_>,
    now: Timestamp,
) -> Result<Permit, Failure> {
    consistent(list)?;
    let history = History::read(listing, owner);
    if let Some(pair) = list.stay.iter().find(|pair| !history.has(pair)) {
        let message = format!(
            "the backup {} must stay but is not there as a whole one of the policy {} and this cluster",
            pair.etcd.short(),
            owner.policy
        );
        return Err(Failure::new(Reason::SurvivorMissing, message));
    }
    let tags: Known = listing.iter().map(|snapshot| (&snapshot.id, Tags::parse(&snapshot.tags))).collect();
    let going = going(list, &tags, owner)?;
    let since = now.saturating_sub(lineage::YOUNG).unwrap_or(Timestamp::MIN);
    spared(&going, &history.indispensable(since))?;
    Ok(Permit { survivors: survivors(list, &history, &going), going })
}

type Known<'a> = BTreeMap<&'a SnapshotId, Option<Tags>>;

/// The snapshots of the backups that go, each second before its first.
///
/// A first takes every second that names it along: keys that may not delete leave one that
/// was stored anew beside the other, and without its first it would stay for ever.
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
        }
        going.extend(seconds_of(&pair.etcd, tags, owner));
        going.extend(tags.contains_key(&pair.etcd).then(|| pair.etcd.clone()));
    }
    Ok(going)
}

fn seconds_of(first: &SnapshotId, tags: &Known<'_>, owner: Owner<'_>) -> Vec<SnapshotId> {
    let names_it = |tags: &Tags| {
        owner.has(&tags.common) && tags.second.as_ref().is_some_and(|second| second.of == *first)
    };
    let seconds = tags.iter().filter(|(_, tags)| tags.as_ref().is_some_and(names_it));
    seconds.map(|(id, _)| (*id).clone()).collect()
}

/// What is indispensable stays, even where the list was made from records that lack it.
///
/// The operator spares no less, so a list that names it was made by other rules than these.
fn spared(going: &[SnapshotId], indispensable: &[Indispensable]) -> Result<(), Failure> {
    let goes = |spared: &&Indispensable| {
        let Pair { etcd, files } = &spared.pair;
        going.contains(etcd) || going.contains(files)
    };
    let Some(Indispensable { pair, why }) = indispensable.iter().find(goes) else { return Ok(()) };
    let reason = Reason::Bug;
    let message = format!(
        "the list of what to forget names the backup {}, which is the {why} of its lineage: nothing was \
         removed. Operator and agent disagree. {}",
        pair.etcd.short(),
        reason.advice()
    );
    Err(Failure::new(reason, message))
}

/// The backups without which nothing may go.
///
/// The newest alone is not enough: it may lack something, or the cluster may have been emptied before it, and then
/// the one that a restore would take is an earlier one. That may be one that the list has no room for.
fn survivors(list: &ForgetList, history: &History, going: &[SnapshotId]) -> Vec<Pair> {
    let stays = |pair: &Pair| list.stay.contains(pair);
    let remains = |pair: &Pair| !going.contains(&pair.etcd) && !going.contains(&pair.files);
    let (listed, remaining) = (history.newest_of_each(stays), history.newest_of_each(remains));
    assert!(listed[0].is_some(), "one is named and all were found");
    let mut survivors = Vec::new();
    for survivor in listed.into_iter().zip(remaining).filter_map(|(listed, remaining)| listed.or(remaining)) {
        if !survivors.contains(&survivor) {
            survivors.push(survivor);
        }
    }
    survivors
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

/// Whether a snapshot is what the pair says: a first, or the second of that first.
fn has_role(tags: &Tags, id: &SnapshotId, pair: &Pair) -> bool {
    match &tags.second {
        None => *id == pair.etcd,
        Some(second) => *id == pair.files && second.of == pair.etcd,
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use model::{
        lineage::Position,
        result::Objects,
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
        Snapshot { id, time, tags }
    }

    /// Later names are later backups.
    fn backup_of(n: &str, policy: &str, cluster: &str) -> Vec<Snapshot> {
        made(n, policy, cluster, None)
    }

    fn made(n: &str, policy: &str, cluster: &str, incomplete: Option<Reason>) -> Vec<Snapshot> {
        counted(n, (policy, cluster), incomplete, None)
    }

    /// One that is never complete.
    fn with_kms(n: &str, count: u64, shrunk: bool) -> Vec<Snapshot> {
        counted(n, (POLICY, "uid"), Some(Reason::NeedsKms), Some(Objects { count, shrunk }))
    }

    fn counted(
        n: &str,
        (policy, cluster): (&str, &str),
        incomplete: Option<Reason>,
        objects: Option<Objects>,
    ) -> Vec<Snapshot> {
        let common = Common {
            backup: n.repeat(16).parse().expect("an id"),
            cluster: cluster.to_owned(),
            policy: policy.to_owned(),
            lineage: "a".repeat(16).parse().expect("an id"),
            job: None,
            until: None,
        };
        let nth = n.bytes().next().expect("a name");
        let time = Timestamp::from_second(nth.into()).expect("a time");
        let position =
            Position { cluster_id: String::new(), revision: 1, raft_index: nth.into(), raft_term: 1 };
        let second = Second { of: pair(n).etcd, position, objects, incomplete };
        let tags = |second| Tags { common: common.clone(), second }.render();
        vec![snapshot(pair(n).etcd, time, tags(None)), snapshot(pair(n).files, time, tags(Some(second)))]
    }

    fn backup(n: &str) -> Vec<Snapshot> {
        backup_of(n, POLICY, "uid")
    }

    fn incomplete(n: &str) -> Vec<Snapshot> {
        made(n, POLICY, "uid", Some(Reason::NoQuorum))
    }

    /// A backup of a history that nobody continued.
    fn of_another_lineage(n: &str) -> Vec<Snapshot> {
        let retagged = |tag: String| {
            if tag.starts_with("lineage:") { format!("lineage:{}", "b".repeat(16)) } else { tag }
        };
        let tagged = backup(n).into_iter();
        tagged.map(|made| Snapshot { tags: made.tags.into_iter().map(retagged).collect(), ..made }).collect()
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

    /// A second snapshot that names the first of `n`, but not the one that is recorded.
    fn superseded(n: &str, policy: &str, cluster: &str) -> Vec<Snapshot> {
        let seconds = backup_of(n, policy, cluster).into_iter().skip(1);
        seconds.map(|second| Snapshot { id: id(&format!("0{n}")), ..second }).collect()
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
    #[case::the_second_that_was_superseded_too(
        list(&["a"], &["b"]),
        [superseded("a", POLICY, "uid"), backup("a"), superseded("b", POLICY, "uid"), backup("b")].concat(),
        snapshots(&["0a", "2a", "1a"])
    )]
    #[case::the_second_that_a_first_left(
        list(&["a"], &["b"]),
        [superseded("a", POLICY, "uid"), backup("b")].concat(),
        snapshots(&["0a"])
    )]
    #[case::no_second_of_another_policy(
        list(&["a"], &["b"]),
        [superseded("a", "kubedr-system/other", "uid"), backup("a"), backup("b")].concat(),
        snapshots(&["2a", "1a"])
    )]
    #[case::no_second_of_another_cluster(
        list(&["a"], &["b"]),
        [superseded("a", POLICY, "another"), backup("a"), backup("b")].concat(),
        snapshots(&["2a", "1a"])
    )]
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
    #[case::survivor_of_another_cluster(
        list(&["a"], &["b"]),
        [backup("a"), backup_of("b", POLICY, "another"), backup("c")].concat(),
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
        Reason::Bug
    )]
    #[case::half_of_the_newest_goes(half_of_b(), [backup("a"), backup("b")].concat(), Reason::Bug)]
    #[case::foreign_snapshot(list(&["a"], &["b"]), [foreign("a"), backup("b")].concat(), Reason::InvalidSpec)]
    #[case::snapshots_of_two_backups(
        crossed(),
        [backup("a"), backup("b"), backup("c")].concat(),
        Reason::InvalidSpec
    )]
    fn deletes_nothing(#[case] list: ForgetList, #[case] listing: Vec<Snapshot>, #[case] reason: Reason) {
        assert_eq!(check(&list, &listing, OWNER, Timestamp::MAX).expect_err("refused").reason, reason);
    }

    #[rstest]
    #[case::newest(list(&["b"], &["a"]), [backup("a"), backup("b")].concat(), "1b1b1b1b, which is the newest of")]
    #[case::newest_complete(
        list(&["a"], &["b"]),
        [backup("a"), incomplete("b")].concat(),
        "1a1a1a1a, which is the newest complete of"
    )]
    #[case::newest_from_before_the_cluster_was_emptied(
        list(&["a"], &["b"]),
        [with_kms("a", 90, false), with_kms("b", 9, true)].concat(),
        "1a1a1a1a, which is the newest that did not shrink of"
    )]
    fn a_list_that_goes_too_far_is_told_of(
        #[case] list: ForgetList,
        #[case] listing: Vec<Snapshot>,
        #[case] what: &str,
    ) {
        let Failure { reason, message, .. } =
            check(&list, &listing, OWNER, Timestamp::MAX).expect_err("refused");
        assert_eq!(reason, Reason::Bug);
        let expected = format!(
            "the list of what to forget names the backup {what} its lineage: nothing was removed. \
             Operator and agent disagree. Report it with the log."
        );
        assert_eq!(message, expected);
    }

    #[rstest]
    #[case::while_it_is_young(lineage::YOUNG, Err(Reason::Bug))]
    #[case::once_it_is_old(lineage::YOUNG + SignedDuration::from_secs(1), Ok(snapshots(&["2a", "1a"])))]
    fn the_newest_of_a_lineage_goes(
        #[case] age: SignedDuration,
        #[case] expected: Result<Vec<SnapshotId>, Reason>,
    ) {
        let listing = [of_another_lineage("a"), backup("b")].concat();
        let permit = check(&list(&["a"], &["b"]), &listing, OWNER, listing[0].time + age);
        assert_eq!(permit.map(|permit| permit.going).map_err(|failure| failure.reason), expected);
    }

    /// Of four backups only the newest lacks something.
    fn last_is_incomplete() -> Vec<Snapshot> {
        [backup("a"), backup("b"), backup("c"), incomplete("d")].concat()
    }

    #[rstest]
    #[case::the_newest(list(&["a"], &["c", "b"]), [backup("a"), backup("b"), backup("c")].concat(), &["c"])]
    #[case::an_incomplete_one_and_the_newest_complete_one(
        list(&["a"], &["d", "c", "b"]),
        last_is_incomplete(),
        &["d", "c"]
    )]
    #[case::the_newest_from_before_the_cluster_was_emptied(
        list(&["a"], &["c"]),
        [with_kms("a", 90, false), with_kms("b", 90, false), with_kms("c", 9, true)].concat(),
        &["c", "b"]
    )]
    #[case::one_that_the_list_has_no_room_for(list(&["a"], &["d"]), last_is_incomplete(), &["d", "c"])]
    #[case::none_is_complete(list(&["a"], &["b"]), [incomplete("a"), incomplete("b")].concat(), &["b"])]
    #[case::not_those_of_another_cluster(
        list(&["a"], &["b"]),
        [backup("a"), backup("b"), backup_of("c", POLICY, "another")].concat(),
        &["b"]
    )]
    fn before_anything_goes_is_proven(
        #[case] list: ForgetList,
        #[case] listing: Vec<Snapshot>,
        #[case] expected: &[&str],
    ) {
        let expected: Vec<_> = expected.iter().copied().map(pair).collect();
        let permit = check(&list, &listing, OWNER, Timestamp::MAX).map(|permit| permit.survivors);
        assert_eq!(permit, Ok(expected));
    }
}
