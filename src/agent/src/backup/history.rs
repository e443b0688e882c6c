//! The earlier backups of a policy, read out of the repository's listing.
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use model::{
    BackupId, Reason, SnapshotId,
    environment::Pair,
    lineage::Head,
    tags::{Common, Second, Tags},
};
use repository::{Listing, Snapshot};

/// Whose backups are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// `<namespace>/<name>` of the policy.
    pub policy: &'a str,
    /// uid of the namespace `kube-system`.
    pub cluster: &'a str,
}

impl Owner<'_> {
    /// Whether a snapshot with these tags is theirs.
    pub fn has(self, common: &Common) -> bool {
        common.policy == self.policy && common.cluster == self.cluster
    }
}

/// A backup that must stay.
#[derive(Debug, PartialEq, Eq)]
pub struct Indispensable {
    /// Its snapshots.
    pub pair: Pair,
    /// What it is to its lineage.
    pub why: &'static str,
}

/// What one policy stored for one cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct History {
    firsts: BTreeMap<SnapshotId, BackupId>,
    seconds: Vec<Found>,
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    id: SnapshotId,
    time: Timestamp,
    backup: BackupId,
    lineage: BackupId,
    second: Second,
}

/// Whether a backup is of a kind, and what the newest of it is called.
type Kind = (&'static str, fn(&Found) -> bool);

/// The kinds of which the newest must not be lost.
const KINDS: [Kind; 3] = [
    ("newest", |_| true),
    ("newest complete", Found::is_complete),
    ("newest that did not shrink", Found::is_measure),
];

impl Found {
    fn pair(&self) -> Pair {
        Pair { etcd: self.second.of.clone(), files: self.id.clone() }
    }

    fn is_complete(&self) -> bool {
        self.second.incomplete.is_none()
    }

    /// Whether the next backup can be measured by it. One of a dying cluster tells nothing.
    fn is_measure(&self) -> bool {
        self.second.incomplete != Some(Reason::NoQuorum)
            && self.second.objects.is_some_and(|objects| !objects.shrunk)
    }
}

impl History {
    /// Picks out what this policy stored for this cluster.
    ///
    /// One damaged snapshot among the old ones is no reason to make no new backup.
    pub fn read(snapshots: &[Snapshot], owner: Owner<'_>) -> Self {
        let mut history = Self::default();
        for snapshot in snapshots {
            if let Some(tags) = Tags::parse(&snapshot.tags)
                && owner.has(&tags.common)
            {
                history.add(snapshot, tags);
            }
        }
        history
    }

    fn add(&mut self, snapshot: &Snapshot, tags: Tags) {
        let (id, time) = (snapshot.id.clone(), snapshot.time);
        let Tags { common: Common { backup, lineage, .. }, second } = tags;
        match second {
            None => _ = self.firsts.insert(id, backup),
            Some(second) => self.seconds.push(Found { id, time, backup, lineage, second }),
        }
    }

    /// Whether there is no snapshot of theirs.
    pub fn is_empty(&self) -> bool {
        self.firsts.is_empty() && self.seconds.is_empty()
    }

    /// The newest whole backup of each lineage.
    pub fn heads(&self) -> Vec<Head> {
        let head =
            |found: &Found| Head { lineage: found.lineage.clone(), position: found.second.position.clone() };
        self.newest(|_| true).into_iter().map(head).collect()
    }

    /// The objects by which the next backup of a lineage is measured: those of its newest backup that did not shrink
    /// or whose shrinking was accepted.
    pub fn objects_before(&self, lineage: &BackupId, accepted: Option<&SnapshotId>) -> Option<u64> {
        let is_meant = |found: &Found| {
            found.lineage == *lineage && (found.is_measure() || Some(&found.second.of) == accepted)
        };
        self.newest(is_meant).first().and_then(|found| found.second.objects).map(|objects| objects.count)
    }

    /// Whether both snapshots of a backup are there and belong together.
    pub fn has(&self, pair: &Pair) -> bool {
        self.seconds.iter().any(|found| self.is_whole(found) && found.pair() == *pair)
    }

    /// Of the backups that are meant the newest of each kind that must not be lost: of all, of those that lack nothing,
    /// and of those that did not shrink.
    pub fn newest_of_each(&self, is_meant: impl Fn(&Pair) -> bool) -> [Option<Pair>; KINDS.len()] {
        KINDS.map(|(_, is_of)| latest(&self.newest(|found| is_of(found) && is_meant(&found.pair()))))
    }

    /// The backups that must stay whatever a list says: the newest one, the newest one of
    /// each lineage that was still written to after `since`, and the same of those that
    /// lack nothing and of those that did not shrink.
    pub fn indispensable(&self, since: Timestamp) -> Vec<Indispensable> {
        let of = |(why, is_of): Kind| -> Vec<Indispensable> {
            let heads = self.newest(is_of);
            let newest = heads.iter().map(|head| head.time).max();
            let spared = heads.iter().filter(|head| head.time >= since || Some(head.time) == newest);
            spared.map(|head| Indispensable { pair: head.pair(), why }).collect()
        };
        KINDS.into_iter().flat_map(of).collect()
    }

    fn newest(&self, counts: impl Fn(&Found) -> bool) -> Vec<&Found> {
        let mut newest: BTreeMap<&BackupId, &Found> = BTreeMap::new();
        // Within a lineage the raft index never falls, whatever the clocks say.
        let age = |found: &Found| (found.second.position.raft_index, found.time);
        for found in self.seconds.iter().filter(|found| self.is_whole(found) && counts(found)) {
            let head = newest.entry(&found.lineage).or_insert(found);
            if age(found) > age(head) {
                *head = found;
            }
        }
        newest.into_values().collect()
    }

    fn is_whole(&self, found: &Found) -> bool {
        self.firsts.get(&found.second.of) == Some(&found.backup)
    }
}

/// The policies that stored something for a cluster.
pub fn policies(snapshots: &[Snapshot], cluster: &str) -> BTreeSet<String> {
    let tags = snapshots.iter().filter_map(|snapshot| Tags::parse(&snapshot.tags));
    tags.filter(|tags| tags.common.cluster == cluster).map(|tags| tags.common.policy).collect()
}

fn latest(heads: &[&Found]) -> Option<Pair> {
    heads.iter().max_by_key(|head| head.time).map(|head| head.pair())
}

/// By how much the clock of the node that a run was on may be behind ours: each may be a quarter of an hour off that of
/// the S3 server, which refuses more. A run that was told to stop has ended in that time, too.
const CLOCKS: SignedDuration = SignedDuration::from_mins(30);

/// Age of a first snapshot that does not say when its run has ended: a Job lasts a day at most, the rest is for clocks.
const ABANDONED: SignedDuration = SignedDuration::from_hours(72);

/// By what it is judged whether anybody may still be at work on a backup.
#[derive(Clone, Copy, Debug)]
pub struct Over<'a> {
    /// The time of day here.
    pub now: Timestamp,
    /// The own Job: its next pod begins when the one before has ended.
    pub job: Option<&'a str>,
}

impl Over<'_> {
    fn is_for(&self, common: &Common, time: Timestamp) -> bool {
        let is_own = self.job.is_some() && self.job == common.job.as_deref();
        let (end, spare) = common.until.map_or((time, ABANDONED), |until| (until, CLOCKS));
        is_own || self.now.duration_since(end) > spare
    }
}

/// First snapshots of this policy and cluster whose second never came, and on which nobody is at work.
///
/// # Guarantees
///
/// Spared is a first for which anything else in the repository may be the
/// second: a damaged snapshot, one whose tags only another version reads, or
/// one that names the first by the id that it had before `restic tag`.
pub fn unfinished(listing: &Listing, owner: Owner<'_>, over: &Over<'_>) -> Vec<SnapshotId> {
    if !listing.unreadable.is_empty() {
        return Vec::new();
    }
    let is_unfinished = |snapshot: &&Snapshot| {
        Tags::parse(&snapshot.tags).is_some_and(|Tags { common, second }| {
            let is_half = second.is_none() && !has_companion(listing, snapshot, &common.backup);
            owner.has(&common) && over.is_for(&common, snapshot.time) && is_half
        })
    };
    listing.snapshots.iter().filter(is_unfinished).map(|snapshot| snapshot.id.clone()).collect()
}

/// Whether another snapshot belongs to the same backup, judged by the bare tags.
fn has_companion(listing: &Listing, first: &Snapshot, backup: &BackupId) -> bool {
    let companions = [format!("backup:{backup}"), format!("of:{}", first.id)];
    let mut others = listing.snapshots.iter().filter(|other| other.id != first.id);
    others.any(|other| other.tags.iter().any(|tag| companions.contains(tag)))
}

#[cfg(test)]
pub(super) mod tests {
    use model::{lineage::Position, result::Objects};
    use rstest::rstest;

    use super::*;

    const POLICY: &str = "kubedr-system/test-backup";
    const OWNER: Owner<'static> = Owner { policy: POLICY, cluster: "uid" };

    fn id(name: &str) -> SnapshotId {
        name.repeat(32).parse().expect("an id")
    }

    fn short(digit: char) -> BackupId {
        digit.to_string().repeat(16).parse().expect("an id")
    }

    /// A backup of the policy, at a raft index and at as many seconds after 1970.
    struct Made {
        name: char,
        lineage: char,
        raft_index: u64,
    }

    fn made(name: char, lineage: char, raft_index: u64) -> Made {
        Made { name, lineage, raft_index }
    }

    impl Made {
        fn tags(&self, second: Option<Second>) -> Vec<String> {
            let common = Common {
                backup: short(self.name),
                cluster: "uid".to_owned(),
                policy: POLICY.to_owned(),
                lineage: short(self.lineage),
                job: Some(format!("job-{}", self.name)),
                until: None,
            };
            Tags { common, second }.render()
        }

        fn snapshot(&self, id: SnapshotId, second: Option<Second>) -> Snapshot {
            let time = Timestamp::from_second(self.raft_index.cast_signed()).expect("a time");
            Snapshot { id, time, tags: self.tags(second) }
        }

        fn first(&self) -> Snapshot {
            self.snapshot(id(&format!("1{}", self.name)), None)
        }

        fn second(&self) -> Snapshot {
            self.lacking(None)
        }

        fn incomplete(&self) -> Vec<Snapshot> {
            vec![self.first(), self.lacking(Some(Reason::NoQuorum))]
        }

        /// Both snapshots, of so many objects, of a backup that lacks something else.
        fn lacking_objects(&self, count: u64, lack: Reason) -> Vec<Snapshot> {
            self.counted_and(Objects { count, shrunk: false }, Some(lack))
        }

        /// Both snapshots, of so many objects.
        fn counted(&self, count: u64, shrunk: bool) -> Vec<Snapshot> {
            self.counted_and(Objects { count, shrunk }, shrunk.then_some(Reason::Shrunk))
        }

        fn counted_and(&self, objects: Objects, incomplete: Option<Reason>) -> Vec<Snapshot> {
            let Snapshot { tags, .. } = self.second();
            let mut second = Tags::parse(&tags).and_then(|tags| tags.second).expect("a second");
            second.objects = Some(objects);
            second.incomplete = incomplete;
            vec![self.first(), self.snapshot(id(&format!("2{}", self.name)), Some(second))]
        }

        fn lacking(&self, what: Option<Reason>) -> Snapshot {
            let position = Position {
                cluster_id: "c".to_owned(),
                revision: 7,
                raft_index: self.raft_index,
                raft_term: 2,
            };
            let of = id(&format!("1{}", self.name));
            let second = Second { of, position, objects: None, incomplete: what };
            self.snapshot(id(&format!("2{}", self.name)), Some(second))
        }

        fn both(&self) -> Vec<Snapshot> {
            vec![self.first(), self.second()]
        }
    }

    fn pair(name: char) -> Pair {
        Pair { etcd: id(&format!("1{name}")), files: id(&format!("2{name}")) }
    }

    /// Both snapshots of the backup of this name.
    pub fn snapshots_of(name: char) -> [Snapshot; 2] {
        let made = made(name, 'a', 10);
        [made.first(), made.second()]
    }

    fn whole(snapshots: &[Snapshot]) -> Listing {
        Listing { snapshots: snapshots.to_vec(), unreadable: Vec::new() }
    }

    fn heads(listing: &[Snapshot]) -> Vec<(BackupId, u64)> {
        let heads = History::read(listing, OWNER).heads();
        heads.into_iter().map(|head| (head.lineage, head.position.raft_index)).collect()
    }

    #[rstest]
    #[case::nothing_stored(vec![], vec![])]
    #[case::one(made('1', 'a', 10).both(), vec![(short('a'), 10)])]
    #[case::newest_of_a_lineage(
        [made('1', 'a', 10).both(), made('2', 'a', 30).both(), made('3', 'a', 20).both()].concat(),
        vec![(short('a'), 30)]
    )]
    #[case::one_for_each_lineage(
        [made('1', 'a', 10).both(), made('2', 'b', 30).both()].concat(),
        vec![(short('a'), 10), (short('b'), 30)]
    )]
    #[case::without_its_second_it_does_not_count(
        [made('1', 'a', 10).both(), vec![made('2', 'a', 30).first()]].concat(),
        vec![(short('a'), 10)]
    )]
    #[case::without_its_first_it_does_not_count(
        [made('1', 'a', 10).both(), vec![made('2', 'a', 30).second()]].concat(),
        vec![(short('a'), 10)]
    )]
    fn lineages_are_found(#[case] listing: Vec<Snapshot>, #[case] expected: Vec<(BackupId, u64)>) {
        assert_eq!(heads(&listing), expected);
    }

    #[test]
    fn others_do_not_count() {
        let mut listing = made('1', 'a', 10).both();
        let other = |tag: &str, instead: &str| -> Vec<Snapshot> {
            let mut snapshots = made('2', 'b', 30).both();
            for snapshot in &mut snapshots {
                for found in snapshot.tags.iter_mut().filter(|found| found.starts_with(tag)) {
                    *found = format!("{tag}{instead}");
                }
            }
            snapshots
        };
        listing.extend(other("policy:", "kubedr-system/another"));
        listing.extend(other("cluster:", "another"));
        listing.extend(other("backup:", "malformed"));
        assert_eq!(heads(&listing), [(short('a'), 10)]);
    }

    #[test]
    fn whose_backups_are_there_is_told() {
        let one = made('1', 'a', 10).both();
        let other = retagged(made('2', 'a', 20).first(), "test-backup", "another");
        let elsewhere = retagged(made('3', 'a', 30).first(), "cluster:uid", "cluster:other");
        let listing = [one, vec![other, elsewhere]].concat();
        let found: Vec<String> = policies(&listing, "uid").into_iter().collect();
        assert_eq!(found, ["kubedr-system/another", POLICY]);
        assert!(!History::read(&listing, OWNER).is_empty());
        assert!(History::read(&listing, Owner { policy: "kubedr-system/mistyped", ..OWNER }).is_empty());
    }

    #[rstest]
    #[case::first_of_all(vec![], None, None)]
    #[case::the_one_before([made('1', 'a', 10).counted(90, false), made('2', 'a', 20).counted(80, false)].concat(), None, Some(80))]
    #[case::the_one_before_it_shrank([made('1', 'a', 10).counted(90, false), made('2', 'a', 20).counted(9, true)].concat(), None, Some(90))]
    #[case::the_accepted_one([made('1', 'a', 10).counted(90, false), made('2', 'a', 20).counted(9, true)].concat(), Some('2'), Some(9))]
    #[case::not_one_that_was_accepted_long_ago([made('1', 'a', 10).counted(9, true), made('2', 'a', 20).counted(80, false)].concat(), Some('1'), Some(80))]
    #[case::none_that_was_not_counted([made('1', 'a', 10).counted(90, false), made('2', 'a', 20).both()].concat(), None, Some(90))]
    #[case::none_of_a_cluster_that_was_dying([made('1', 'a', 10).counted(90, false), made('2', 'a', 20).lacking_objects(9, Reason::NoQuorum)].concat(), None, Some(90))]
    #[case::none_of_another_history([made('1', 'b', 10).counted(90, false)].concat(), None, None)]
    #[case::no_half_of_one(vec![made('1', 'a', 10).counted(90, false)[1].clone()], None, None)]
    fn a_backup_is_measured_by(
        #[case] listing: Vec<Snapshot>,
        #[case] accepted: Option<char>,
        #[case] expected: Option<u64>,
    ) {
        let accepted = accepted.map(|name| id(&format!("1{name}")));
        assert_eq!(History::read(&listing, OWNER).objects_before(&short('a'), accepted.as_ref()), expected);
    }

    #[rstest]
    #[case::the_last_one_before_a_cluster_was_emptied(
        [made('1', 'a', 10).lacking_objects(90, Reason::NeedsKms), made('2', 'a', 20).counted(9, true), made('3', 'a', 30).counted(8, true)].concat(),
        vec![pair('1'), pair('3')]
    )]
    #[case::newest_of_all(
        [made('1', 'a', 10).both(), made('2', 'a', 20).both()].concat(),
        vec![pair('2')]
    )]
    #[case::old_lineages_may_go(
        [made('1', 'a', 10).both(), made('2', 'b', 20).both()].concat(),
        vec![pair('2')]
    )]
    #[case::young_lineages_may_not(
        [made('1', 'a', 60).both(), made('2', 'b', 70).both()].concat(),
        vec![pair('1'), pair('2')]
    )]
    #[case::the_newest_complete_one_before_an_incomplete_one(
        [made('1', 'a', 10).both(), made('2', 'a', 20).both(), made('3', 'a', 30).incomplete()].concat(),
        vec![pair('2'), pair('3')]
    )]
    #[case::half_a_backup_is_none(
        [made('1', 'a', 10).both(), vec![made('2', 'a', 20).second()]].concat(),
        vec![pair('1')]
    )]
    fn what_no_list_may_remove(#[case] listing: Vec<Snapshot>, #[case] expected: Vec<Pair>) {
        let indispensable = History::read(&listing, OWNER).indispensable(then());
        let mut pairs: Vec<_> = indispensable.into_iter().map(|spared| spared.pair).collect();
        pairs.sort_by(|one, other| one.etcd.cmp(&other.etcd));
        pairs.dedup();
        assert_eq!(pairs, expected);
    }

    fn then() -> Timestamp {
        Timestamp::from_second(50).expect("a time")
    }

    #[test]
    fn nothing_is_unfinished_while_a_second_may_be_there_unread() {
        let listing = Listing { unreadable: vec!["0f".to_owned()], ..whole(&[made('1', 'a', 10).first()]) };
        assert_eq!(unfinished(&listing, OWNER, &over(Some("job-1"))), []);
    }

    /// At a time when what was made before `then` is old enough, whatever it says.
    fn over(job: Option<&str>) -> Over<'_> {
        Over { now: then() + ABANDONED, job }
    }

    /// The first snapshot of a run that was told to stop so long ago, made a moment ago.
    fn told_to_stop(ago: SignedDuration) -> Vec<Snapshot> {
        let mut first = made('1', 'a', 100).first();
        first.tags.push(format!("until:{}", (over(None).now - ago).as_second()));
        vec![first]
    }

    /// The same snapshot after `restic tag`, or from a version that tags otherwise.
    fn retagged(snapshot: Snapshot, from: &str, to: &str) -> Snapshot {
        let tags = snapshot.tags.iter().map(|tag| tag.replace(from, to)).collect();
        Snapshot { tags, ..snapshot }
    }

    #[rstest]
    #[case::whole(made('1', 'a', 10).both(), vec![])]
    #[case::left_by_a_crash(vec![made('1', 'a', 10).first()], vec![id("11")])]
    #[case::left_beside_a_whole_one(
        [vec![made('1', 'a', 10).first()], made('2', 'a', 20).both()].concat(),
        vec![id("11")]
    )]
    #[case::perhaps_still_running(vec![made('1', 'a', 100).first()], vec![])]
    #[case::its_run_has_ended_by_any_clock(told_to_stop(SignedDuration::from_mins(31)), vec![id("11")])]
    #[case::its_run_has_ended_by_our_clock_only(told_to_stop(SignedDuration::from_mins(29)), vec![])]
    #[case::its_run_may_go_on(told_to_stop(SignedDuration::from_mins(-10)), vec![])]
    #[case::left_by_the_same_job_a_moment_ago(vec![made('9', 'a', 100).first()], vec![id("19")])]
    #[case::whole_and_by_the_same_job(made('9', 'a', 100).both(), vec![])]
    #[case::a_second_alone_is_not_touched(vec![made('1', 'a', 10).second()], vec![])]
    #[case::of_others(
        vec![Snapshot { tags: vec!["daily".to_owned()], ..made('1', 'a', 10).first() }],
        vec![]
    )]
    #[case::of_another_policy(
        vec![retagged(made('1', 'a', 10).first(), "test-backup", "another")],
        vec![]
    )]
    #[case::its_second_is_of_a_version_with_another_reason(
        vec![made('1', 'a', 10).first(), retagged(made('1', 'a', 10).second(), "complete:yes", "complete:New")],
        vec![]
    )]
    #[case::it_was_tagged_and_has_a_new_id(
        vec![Snapshot { id: id("3f"), ..made('1', 'a', 10).first() }, made('1', 'a', 10).second()],
        vec![]
    )]
    #[case::its_second_lost_the_tag_of_the_backup(
        vec![made('1', 'a', 10).first(), retagged(made('1', 'a', 10).second(), "backup:", "was:")],
        vec![]
    )]
    fn unfinished_backups_are_found(#[case] listing: Vec<Snapshot>, #[case] expected: Vec<SnapshotId>) {
        assert_eq!(unfinished(&whole(&listing), OWNER, &over(Some("job-9"))), expected);
        let is_of_the_job = |snapshot: &Snapshot| snapshot.tags.iter().any(|tag| tag == "job:job-9");
        if listing.iter().any(is_of_the_job) {
            assert_eq!(unfinished(&whole(&listing), OWNER, &over(None)), [], "nobody told of a Job");
        }
    }
}
