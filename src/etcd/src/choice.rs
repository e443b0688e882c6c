//! Which member the snapshot is taken from.
use std::collections::BTreeSet;

use model::{Reason, lineage::Position, result::Failure};

use crate::Hash;

/// How far a member may be behind the newest one and still count as up to date.
///
/// All are asked at once, while writes go on: those that are healthy differ by what is
/// written in between. More than that would be data older than a backup need be.
const LAG: i64 = 10;

/// What one endpoint said when it was asked for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The client URL that was asked.
    pub endpoint: String,
    /// The member behind it, or why it could not be asked.
    pub found: Result<Member, Failure>,
}

/// One member of an etcd cluster, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Server version, for example `3.6.16`.
    pub version: String,
    /// Its id.
    pub id: u64,
    /// The leader that it follows, or its own id; none where it knows no leader.
    pub leader: Option<u64>,
    /// Whether it only follows and has no vote yet.
    pub is_learner: bool,
    /// Members that etcd found to be corrupt; 0 means that it cannot tell which.
    pub corrupt: BTreeSet<u64>,
    /// Cluster and history.
    pub position: Position,
    /// Bytes of its database, free pages included.
    pub db_size: u64,
}

/// The member that the snapshot is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its client URL.
    pub endpoint: String,
    /// What it said of itself.
    pub member: Member,
    /// `NoQuorum` where no member knows a leader: the cluster may be dying, so
    /// the snapshot is still taken, but marked.
    pub suspect: Option<Reason>,
}

/// Chooses the best member among those that answered.
///
/// Never a learner nor a corrupt one; one that hears the leader before one that
/// does not; then the newest data, and rather a follower, because reading the
/// whole file slows the member that serves it.
pub fn choose(answers: &[Answer]) -> Result<Choice, Failure> {
    let all = candidates(answers);
    if all.is_empty() {
        return Err(nobody(answers));
    }
    same_cluster(&all)?;
    if all.iter().all(|found| found.member.is_learner) {
        return Err(asked(Reason::EtcdUnreachable, "only learners answered", answers));
    }
    let sound = sound(&all);
    if sound.is_empty() {
        return Err(asked(
            Reason::CorruptAlarm,
            "etcd's corruption alarm is raised for every member",
            answers,
        ));
    }
    let led: Vec<Candidate> = sound.iter().copied().filter(|found| found.member.leader.is_some()).collect();
    let (best, suspect) =
        if led.is_empty() { (newest(&sound), Some(Reason::NoQuorum)) } else { (least_harmed(&led), None) };
    best.map(|best| best.into_choice(suspect))
        .ok_or_else(|| Failure::new(Reason::Bug, "no member was left to choose from"))
}

/// The endpoints whose data is worth comparing, and the revision that all of them have.
///
/// Only sound voters: a learner that lags behind would pull the revision below what
/// the others have compacted, and then nothing could be compared.
pub(crate) fn comparable(answers: &[Answer]) -> Option<(Vec<&str>, i64)> {
    let sound = sound(&candidates(answers));
    let revision = sound.iter().map(|found| found.member.position.revision).min()?;
    // One alone has nothing to be compared with.
    (sound.len() > 1).then(|| (sound.iter().map(|found| found.endpoint).collect(), revision))
}

/// Whether members that hold the same history hold the same data.
///
/// Only those are compared that compacted at the same revision: the hash does
/// not cover what is older.
pub fn agree(hashes: &[(String, Hash)]) -> Result<(), Failure> {
    for (index, (endpoint, hash)) in hashes.iter().enumerate() {
        let comparable = |(_, other): &&(String, Hash)| other.compact_revision == hash.compact_revision;
        let other = hashes[..index].iter().filter(comparable).find(|(_, other)| other.hash != hash.hash);
        if let Some((other, _)) = other {
            let message = format!("{endpoint} and {other} hold different data at the same revision");
            return Err(Failure::new(Reason::HashMismatch, message));
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Candidate<'a> {
    endpoint: &'a str,
    member: &'a Member,
}

impl<'a> Candidate<'a> {
    fn new(answer: &'a Answer) -> Option<Self> {
        answer.found.as_ref().ok().map(|member| Self { endpoint: &answer.endpoint, member })
    }

    fn leads(&self) -> bool {
        self.member.leader == Some(self.member.id)
    }

    fn into_choice(self, suspect: Option<Reason>) -> Choice {
        Choice { endpoint: self.endpoint.to_owned(), member: self.member.clone(), suspect }
    }
}

fn candidates(answers: &[Answer]) -> Vec<Candidate<'_>> {
    answers.iter().filter_map(Candidate::new).collect()
}

/// The endpoints of two clusters in one policy would make each backup a gamble.
fn same_cluster(all: &[Candidate]) -> Result<(), Failure> {
    let id = |found: &Candidate| found.member.position.cluster_id.clone();
    let other = all.iter().find(|found| id(found) != id(&all[0]));
    other.map_or(Ok(()), |other| {
        let message = format!(
            "{} is of etcd cluster {}, {} of cluster {}",
            all[0].endpoint,
            id(&all[0]),
            other.endpoint,
            id(other)
        );
        Err(Failure::new(Reason::InvalidSpec, message).at("spec.etcdEndpoints"))
    })
}

/// Voters for which no member raised the alarm; all members share one list of alarms.
fn sound<'a>(all: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let corrupt: BTreeSet<u64> = all.iter().flat_map(|found| found.member.corrupt.iter().copied()).collect();
    let is_sound = |id: u64| !corrupt.contains(&0) && !corrupt.contains(&id);
    all.iter().copied().filter(|found| !found.member.is_learner && is_sound(found.member.id)).collect()
}

fn newest<'a>(members: &[Candidate<'a>]) -> Option<Candidate<'a>> {
    members.iter().copied().max_by_key(|found| {
        let Position { revision, raft_index, .. } = found.member.position;
        (revision, raft_index, std::cmp::Reverse(found.endpoint))
    })
}

fn least_harmed<'a>(members: &[Candidate<'a>]) -> Option<Candidate<'a>> {
    let newest_revision = newest(members)?.member.position.revision;
    let is_up_to_date = |found: &Candidate| newest_revision - found.member.position.revision <= LAG;
    let up_to_date: Vec<Candidate> = members.iter().copied().filter(is_up_to_date).collect();
    let followers: Vec<Candidate> = up_to_date.iter().copied().filter(|found| !found.leads()).collect();
    newest(&followers).or_else(|| newest(&up_to_date))
}

/// The failure to report where no endpoint answered: one that says more than
/// "unreachable" before one that does not.
fn nobody(answers: &[Answer]) -> Failure {
    let failures = || answers.iter().filter_map(|answer| answer.found.as_ref().err());
    let telling = failures().find(|failure| failure.reason != Reason::EtcdUnreachable);
    let Some(first) = telling.or_else(|| failures().next()) else {
        return Failure::new(Reason::InvalidSpec, "no etcd endpoint is given").at("spec.etcdEndpoint");
    };
    let messages: Vec<&str> = failures().map(|failure| failure.message.as_str()).collect();
    Failure { message: messages.join("; "), ..first.clone() }
}

fn asked(reason: Reason, what: &str, answers: &[Answer]) -> Failure {
    let endpoints: Vec<&str> = answers.iter().map(|answer| answer.endpoint.as_str()).collect();
    Failure::new(reason, format!("{what} (asked: {})", endpoints.join(", ")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn member(id: u64, revision: i64) -> Answer {
        let position = Position {
            cluster_id: "c".to_owned(),
            revision,
            raft_index: revision.unsigned_abs(),
            raft_term: 2,
        };
        let member = Member {
            version: "3.6.16".to_owned(),
            id,
            leader: Some(1),
            is_learner: false,
            corrupt: BTreeSet::new(),
            position,
            db_size: 4096,
        };
        Answer { endpoint: format!("https://{id}:2379"), found: Ok(member) }
    }

    fn but(mut answer: Answer, change: impl FnOnce(&mut Member)) -> Answer {
        if let Ok(member) = &mut answer.found {
            change(member);
        }
        answer
    }

    fn learner(answer: Answer) -> Answer {
        but(answer, |member| member.is_learner = true)
    }

    fn alarmed(answer: Answer, corrupt: u64) -> Answer {
        but(answer, |member| _ = member.corrupt.insert(corrupt))
    }

    fn leaderless(answer: Answer) -> Answer {
        but(answer, |member| member.leader = None)
    }

    fn stranger(answer: Answer) -> Answer {
        but(answer, |member| "d".clone_into(&mut member.position.cluster_id))
    }

    fn dead(id: u64, reason: Reason) -> Answer {
        Answer {
            endpoint: format!("https://{id}:2379"),
            found: Err(Failure::new(reason, format!("{id} is dead"))),
        }
    }

    #[rstest]
    #[case::the_only_one_though_it_leads(&[member(1, 9)], 1)]
    #[case::follower_before_leader(&[member(1, 9), member(2, 9)], 2)]
    #[case::newest_follower(&[member(1, 9), member(2, 8), member(3, 9)], 3)]
    #[case::follower_though_a_moment_behind(&[member(1, 1010), member(2, 1000)], 2)]
    #[case::leader_before_a_follower_that_lags(&[member(1, 1011), member(2, 1000)], 1)]
    #[case::never_a_learner(&[member(1, 9), learner(member(2, 9))], 1)]
    #[case::never_a_corrupt_one(&[alarmed(member(1, 9), 2), member(2, 9)], 1)]
    #[case::one_that_hears_the_leader(&[leaderless(member(2, 9999)), member(1, 9)], 1)]
    #[case::one_that_answers(&[dead(2, Reason::EtcdUnreachable), member(1, 9)], 1)]
    fn takes(#[case] answers: &[Answer], #[case] id: u64) {
        let choice = choose(answers).expect("a member is fit");
        assert_eq!((choice.member.id, choice.suspect), (id, None));
        assert_eq!(choice.endpoint, format!("https://{id}:2379"));
    }

    #[rstest]
    #[case::alone(&[leaderless(member(2, 9))], 2)]
    #[case::newest_without_any_lag(&[leaderless(member(2, 9)), leaderless(member(3, 10))], 3)]
    fn without_a_leader_the_snapshot_is_taken_and_marked(#[case] answers: &[Answer], #[case] id: u64) {
        let choice = choose(answers).expect("a member is fit");
        assert_eq!((choice.member.id, choice.suspect), (id, Some(Reason::NoQuorum)));
    }

    #[rstest]
    #[case::nothing_asked(&[], Reason::InvalidSpec)]
    #[case::nobody_there(&[dead(1, Reason::EtcdUnreachable)], Reason::EtcdUnreachable)]
    #[case::telling_reason_first(
        &[dead(1, Reason::EtcdUnreachable), dead(2, Reason::EtcdCertificateInvalid)],
        Reason::EtcdCertificateInvalid
    )]
    #[case::learners_only(&[learner(member(2, 9))], Reason::EtcdUnreachable)]
    #[case::all_corrupt(&[alarmed(member(1, 9), 2), alarmed(member(2, 9), 1)], Reason::CorruptAlarm)]
    #[case::corrupt_but_not_known_who(&[alarmed(member(1, 9), 0), member(2, 9)], Reason::CorruptAlarm)]
    #[case::two_clusters(&[member(1, 9), stranger(member(2, 9))], Reason::InvalidSpec)]
    fn refuses(#[case] answers: &[Answer], #[case] reason: Reason) {
        assert_eq!(choose(answers).expect_err("no member is fit").reason, reason);
    }

    #[rstest]
    #[case::nobody(&[], None)]
    #[case::alone(&[member(1, 9), dead(2, Reason::EtcdUnreachable)], None)]
    #[case::at_the_oldest_revision(&[member(1, 9), member(2, 8)], Some((&[1, 2][..], 8)))]
    #[case::no_learner_however_old(
        &[member(1, 9), learner(member(2, 1)), member(3, 8)],
        Some((&[1, 3][..], 8))
    )]
    #[case::no_corrupt_one(&[alarmed(member(1, 9), 2), member(2, 1), member(3, 8)], Some((&[1, 3][..], 8)))]
    fn compares(#[case] answers: &[Answer], #[case] expected: Option<(&[u64], i64)>) {
        let expected = expected.map(|(ids, revision)| {
            (ids.iter().map(|id| format!("https://{id}:2379")).collect::<Vec<_>>(), revision)
        });
        let found = comparable(answers)
            .map(|(endpoints, revision)| (endpoints.into_iter().map(str::to_owned).collect(), revision));
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case::nothing_to_compare(&[], true)]
    #[case::alone(&[(1, 5)], true)]
    #[case::equal(&[(1, 5), (1, 5), (1, 5)], true)]
    #[case::different(&[(1, 5), (1, 5), (2, 5)], false)]
    #[case::compacted_elsewhere(&[(1, 5), (2, 6)], true)]
    #[case::different_beyond_another(&[(1, 5), (2, 6), (3, 5)], false)]
    fn members_agree(#[case] hashes: &[(u32, i64)], #[case] expected: bool) {
        let named = |(index, (hash, compact_revision)): (usize, &(u32, i64))| {
            (format!("https://{index}"), Hash { hash: *hash, compact_revision: *compact_revision })
        };
        let hashes: Vec<_> = hashes.iter().enumerate().map(named).collect();
        assert_eq!(agree(&hashes).is_ok(), expected);
    }

    #[test]
    fn the_failure_names_every_endpoint_that_was_tried() {
        let answers = [dead(1, Reason::EtcdUnreachable), dead(2, Reason::EtcdUnreachable)];
        assert_eq!(choose(&answers).expect_err("dead").message, "1 is dead; 2 is dead");
    }
}
