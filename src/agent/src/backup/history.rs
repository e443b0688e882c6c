//! The earlier backups of a policy, read out of the repository's listing.
use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{
    BackupId, SnapshotId,
    lineage::{Head, Position},
    tags::{Common, Second, Tags},
};
use repository::{Listing, Snapshot};

use crate::config::BackupConfig;

/// What one policy stored for one cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct History {
    firsts: BTreeMap<SnapshotId, BackupId>,
    seconds: Vec<Found>,
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
        let mut history = Self::default();
        for snapshot in &listing.snapshots {
            let Some(tags) = Tags::parse(&snapshot.tags) else { continue };
            if is_of(&tags.common, config) {
                history.add(snapshot, tags);
            }
        }
        history
    }

    fn add(&mut self, snapshot: &Snapshot, tags: Tags) {
        let Tags { common, second } = tags;
        let Some(second) = second else {
            self.firsts.insert(snapshot.id.clone(), common.backup);
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
        self.firsts.get(&found.second.of) == Some(&found.backup)
    }
}

/// First snapshots from before `then`, of this policy and cluster, whose second never came.
///
/// # Guarantees
///
/// Spared is a first for which anything else in the repository may be the
/// second: a damaged snapshot, one whose tags only another version reads, or
/// one that names the first by the id that it had before `restic tag`.
pub fn unfinished(listing: &Listing, config: &BackupConfig, then: Timestamp) -> Vec<SnapshotId> {
    if !listing.unreadable.is_empty() {
        return Vec::new();
    }
    let is_unfinished = |snapshot: &&Snapshot| {
        snapshot.time < then
            && Tags::parse(&snapshot.tags).is_some_and(|Tags { common, second }| {
                second.is_none()
                    && is_of(&common, config)
                    && !has_companion(listing, snapshot, &common.backup)
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

fn is_of(common: &Common, config: &BackupConfig) -> bool {
    common.policy == config.policy && common.cluster == config.cluster_uid
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

    /// Both snapshots of the backup of this name.
    pub fn snapshots_of(name: char) -> [Snapshot; 2] {
        let made = made(name, 'a', 10);
        [made.first(), made.second()]
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

    fn then() -> Timestamp {
        Timestamp::from_second(50).expect("a time")
    }

    #[test]
    fn nothing_is_unfinished_while_a_second_may_be_there_unread() {
        let listing = Listing { unreadable: vec!["0f".to_owned()], ..whole(&[made('1', 'a', 10).first()]) };
        assert_eq!(unfinished(&listing, &config(), then()), []);
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
        assert_eq!(unfinished(&whole(&listing), &config(), then()), expected);
    }
}
