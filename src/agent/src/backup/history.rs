//! The earlier backups of a policy, read out of the repository's listing.
use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{
    BackupId, SnapshotId,
    lineage::{Head, Position},
    tags::{Second, Tags},
};
use repository::{Listing, Snapshot};

use crate::config::BackupConfig;

/// What one policy stored for one cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct History {
    firsts: BTreeMap<SnapshotId, First>,
    seconds: Vec<Found>,
    /// Whether some snapshot could not be read, so that what seems to lack may be there.
    has_gaps: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct First {
    backup: BackupId,
    time: Timestamp,
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    backup: BackupId,
    lineage: BackupId,
    second: Second,
}

impl History {
    /// Picks out what this policy stored for this cluster.
    ///
    /// One damaged snapshot among the old ones is no reason to make no new backup.
    pub fn read(listing: &Listing, config: &BackupConfig) -> Self {
        let mut history = Self { has_gaps: !listing.unreadable.is_empty(), ..Self::default() };
        for snapshot in &listing.snapshots {
            let Some(tags) = Tags::parse(&snapshot.tags) else { continue };
            if tags.common.policy == config.policy && tags.common.cluster == config.cluster_uid {
                history.add(snapshot, tags);
            }
        }
        history
    }

    fn add(&mut self, snapshot: &Snapshot, tags: Tags) {
        let Tags { common, second } = tags;
        let Some(second) = second else {
            self.firsts.insert(snapshot.id.clone(), First { backup: common.backup, time: snapshot.time });
            return;
        };
        self.seconds.push(Found { backup: common.backup, lineage: common.lineage, second });
    }

    /// The newest whole backup of each lineage.
    pub fn heads(&self) -> Vec<Head> {
        let mut newest: BTreeMap<&BackupId, &Position> = BTreeMap::new();
        for found in self.seconds.iter().filter(|found| self.is_whole(found)) {
            let position = &found.second.position;
            let head = newest.entry(&found.lineage).or_insert(position);
            // Within a lineage the raft index never falls, whatever the clocks say.
            if position.raft_index > head.raft_index {
                *head = position;
            }
        }
        let head = |(lineage, position): (&BackupId, &Position)| Head {
            lineage: lineage.clone(),
            position: position.clone(),
        };
        newest.into_iter().map(head).collect()
    }

    fn is_whole(&self, found: &Found) -> bool {
        self.firsts.get(&found.second.of).is_some_and(|first| first.backup == found.backup)
    }

    /// First snapshots from before `then` whose second never came; none where a second may
    /// be there unread.
    pub fn unfinished_before(&self, then: Timestamp) -> Vec<SnapshotId> {
        if self.has_gaps {
            return Vec::new();
        }
        let has_second = |id: &SnapshotId| self.seconds.iter().any(|found| found.second.of == *id);
        let unfinished = self.firsts.iter().filter(|(id, first)| first.time < then && !has_second(id));
        unfinished.map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use model::tags::Common;
    use rstest::rstest;

    use super::*;
    use crate::backup::source::tests::config;

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
                cluster: config().cluster_uid,
                policy: config().policy,
                lineage: short(self.lineage),
            };
            Tags { common, second }.render()
        }

        fn snapshot(&self, id: SnapshotId, second: Option<Second>) -> Snapshot {
            let time = Timestamp::from_second(self.raft_index.cast_signed()).expect("a time");
            Snapshot {
                id,
                time,
                tags: self.tags(second),
                hostname: String::new(),
                paths: vec![],
                summary: None,
            }
        }

        fn first(&self) -> Snapshot {
            self.snapshot(id(&format!("1{}", self.name)), None)
        }

        fn second(&self) -> Snapshot {
            let position = Position {
                cluster_id: "c".to_owned(),
                revision: 7,
                raft_index: self.raft_index,
                raft_term: 2,
            };
            let second = Second::new(id(&format!("1{}", self.name)), &position, None);
            self.snapshot(id(&format!("2{}", self.name)), Some(second))
        }

        fn both(&self) -> Vec<Snapshot> {
            vec![self.first(), self.second()]
        }
    }

    fn whole(snapshots: &[Snapshot]) -> Listing {
        Listing { snapshots: snapshots.to_vec(), unreadable: Vec::new() }
    }

    fn heads(listing: &[Snapshot]) -> Vec<(BackupId, u64)> {
        let heads = History::read(&whole(listing), &config()).heads();
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
    fn nothing_is_unfinished_while_a_second_may_be_there_unread() {
        let listing = Listing { unreadable: vec!["0f".to_owned()], ..whole(&[made('1', 'a', 10).first()]) };
        let then = Timestamp::from_second(50).expect("a time");
        assert_eq!(History::read(&listing, &config()).unfinished_before(then), []);
    }

    #[rstest]
    #[case::whole(made('1', 'a', 10).both(), vec![])]
    #[case::left_by_a_crash(vec![made('1', 'a', 10).first()], vec![id("11")])]
    #[case::perhaps_still_running(vec![made('1', 'a', 100).first()], vec![])]
    #[case::a_second_alone_is_not_touched(vec![made('1', 'a', 10).second()], vec![])]
    #[case::of_others(
        vec![Snapshot { tags: vec!["daily".to_owned()], ..made('1', 'a', 10).first() }],
        vec![]
    )]
    fn unfinished_backups_are_found(#[case] listing: Vec<Snapshot>, #[case] expected: Vec<SnapshotId>) {
        let then = Timestamp::from_second(50).expect("a time");
        assert_eq!(History::read(&whole(&listing), &config()).unfinished_before(then), expected);
    }
}
