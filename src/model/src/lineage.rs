//! Whether a backup continues the history that was backed up so far.
//!
//! A restored or cloned cluster has the same uid, policies and bucket as the
//! original. Only etcd's own counters tell them apart: within one history the
//! revision and the raft index never fall, and a restored member begins a new,
//! short raft log.
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{BackupId, Reason, line};

/// How long the newest backups of a lineage stay whatever retention's numbers say: within this time it
/// may turn out to be the one that is wanted back.
pub const YOUNG: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The same for whoever lists what goes: longer, so that no list is refused for the clocks' sake by the
/// agent, which goes by [`YOUNG`] and by its node's clock.
pub const LISTED_YOUNG: SignedDuration = SignedDuration::from_hours(31 * 24);
const _: () = assert!(LISTED_YOUNG.as_secs() > YOUNG.as_secs(), "a list must spare no less than the agent");

/// Where a history stood at one moment, as etcd's Status call says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// etcd's cluster id, hexadecimal as etcdctl prints it.
    #[serde(deserialize_with = "line::read::<64, _>")]
    pub cluster_id: String,
    /// Key-value store revision.
    pub revision: i64,
    /// Raft index: counts all entries of the log.
    pub raft_index: u64,
    /// Raft term: counts elections.
    pub raft_term: u64,
}

/// The newest backup of one lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The lineage, named by its first backup.
    pub lineage: BackupId,
    /// Where it stood.
    pub position: Position,
}

/// Where a new backup belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// It continues a known lineage.
    To(BackupId),
    /// Nothing was backed up before.
    First,
    /// It continues none of the known ones, for this reason.
    Nowhere(Reason),
}

/// Finds the lineage that a backup at `now` continues.
///
/// Among those that can have led to `now`, the one with the smallest gap of
/// raft indices: a clone moves on from its origin, so the nearer head is the
/// more likely parent.
pub fn belongs(heads: &[Head], now: &Position) -> Belongs {
    if heads.is_empty() {
        return Belongs::First;
    }
    let same_cluster = || heads.iter().filter(|head| head.position.cluster_id == now.cluster_id);
    let parents = same_cluster()
        .filter(|head| head.position.revision <= now.revision && head.position.raft_index <= now.raft_index);
    if let Some(parent) = parents.min_by_key(|head| now.raft_index - head.position.raft_index) {
        return Belongs::To(parent.lineage.clone());
    }
    let went_back = same_cluster().any(|head| head.position.revision > now.revision);
    Belongs::Nowhere(if went_back { Reason::RevisionWentBack } else { Reason::LineageChanged })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(cluster: &str, revision: i64, raft_index: u64) -> Position {
        Position { cluster_id: cluster.to_owned(), revision, raft_index, raft_term: 2 }
    }

    fn head(lineage: char, position: Position) -> Head {
        Head { lineage: lineage.to_string().repeat(16).parse().expect("an id"), position }
    }

    fn to(lineage: char) -> Belongs {
        Belongs::To(lineage.to_string().repeat(16).parse().expect("an id"))
    }

    #[rstest]
    #[case::first_backup_ever(&[], at("c", 5, 5), Belongs::First)]
    #[case::history_went_on(&[head('a', at("c", 5, 5))], at("c", 9, 9), to('a'))]
    #[case::nothing_was_written_since(&[head('a', at("c", 5, 5))], at("c", 5, 5), to('a'))]
    #[case::nearest_of_two(&[head('a', at("c", 5, 5)), head('b', at("c", 8, 8))], at("c", 9, 9), to('b'))]
    #[case::restored_member_has_a_short_log(&[head('a', at("c", 5, 900))], at("c", 6, 7), Belongs::Nowhere(Reason::LineageChanged))]
    #[case::older_data(&[head('a', at("c", 50, 900))], at("c", 6, 7), Belongs::Nowhere(Reason::RevisionWentBack))]
    #[case::other_cluster(&[head('a', at("c", 5, 5))], at("d", 9, 9), Belongs::Nowhere(Reason::LineageChanged))]
    fn a_backup(#[case] heads: &[Head], #[case] now: Position, #[case] expected: Belongs) {
        assert_eq!(belongs(heads, &now), expected);
    }
}
