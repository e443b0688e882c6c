//! Which backups go: from records to one forget Job at a time. Deletes nothing itself.
//!
//! ```text
//! records ─▶ model::retention ─▶ goers ─▶ forget Job ─▶ record controller: records go
//! ```
use std::{collections::BTreeMap, time::Duration};

use api::{
    BackupLocation, MetadataBackupRecord,
    conditions::{COMPLETE, RETAINED},
    names::{Work, annotation},
};
use jiff::Timestamp;
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Resource, ResourceExt};
use model::{
    Reason, SnapshotId,
    environment::{ForgetList, Pair},
    lineage::LISTED_YOUNG,
    result::{Failure, Forgotten},
    retention::{Candidate, Verdict as Judged},
};
use runtime::{
    Target,
    conditions::{Verdict, find},
};

use super::{build, lineage, observe::World, shrink};
use crate::{
    metadata::text,
    ownership::controls,
    run::{self, Ended, Run},
};

/// What retention asks for, and what it says.
#[derive(Debug)]
pub struct Retained {
    /// The forget Job to make.
    pub create: Option<Job>,
    /// The failed one that makes room for another try.
    pub delete: Option<Target>,
    /// How retention stands.
    pub verdict: Verdict,
    /// When to look again.
    pub again: Option<Duration>,
}

impl Retained {
    fn saying(verdict: Verdict) -> Self {
        Self { create: None, delete: None, verdict, again: None }
    }

    /// Nothing is done while the policy itself is not in order.
    pub fn untouched(world: &World) -> Self {
        Self::saying(Verdict::stored(world.conditions(), RETAINED))
    }
}

/// Finds the backups that go and sees to it that they do.
///
/// # Guarantees
///
/// The newest backup, the newest complete one, the newest that did not shrink and those of each
/// lineage of the last 30 days stay whatever the numbers and the nodes' clocks say, and nothing goes while the newest backup is
/// of a history that nobody accepted.
pub fn decide(world: &World, location: &BackupLocation) -> Retained {
    let lineage = lineage::lineage(world).verdict;
    if lineage.holds == Some(false) {
        let message = format!("nothing is removed until the lineage is accepted: {}", lineage.message);
        return Retained::saying(Verdict::bad(lineage.reason, message));
    }
    let ours: Vec<&Job> = world.forgets.iter().filter(|job| controls(&world.policy, *job)).collect();
    let runs: Vec<(&Job, Run<Forgotten>)> = ours.into_iter().map(|job| (job, judge(world, job))).collect();
    if let Some((_, run)) = runs.iter().find(|(_, run)| !matches!(run, Run::Ended(_))) {
        return under_way(world, run);
    }
    let (list, kept) = list(world);
    let Some(list) = list else { return Retained::saying(settled(world, kept)) };
    let name = build::forget_job_name(&world.policy, location, &list);
    let made = runs.into_iter().find(|(job, _)| job.name_any() == name);
    match made {
        None => Retained {
            create: Some(build::forget_job(&world.policy, location, &list, (&world.settings, &world.nodes))),
            // Nothing is being removed before there is a Job.
            ..Retained::untouched(world)
        },
        Some((job, Run::Ended(ended))) => after(world, job, (ended, list.go.len())),
        Some((_, run)) => under_way(world, &run),
    }
}

/// What is said when nothing is left to remove.
fn settled(world: &World, kept: usize) -> Verdict {
    let newest = world.own_records().max_by_key(|record| record.status.as_ref()?.time.clone());
    if newest.and_then(shrink::has_shrunk) == Some(true) {
        let is_accepted = newest.is_some_and(|record| shrink::is_accepted(world, record));
        let advice = if is_accepted { shrink::ACCEPTED } else { Reason::Shrunk.advice() };
        let message =
            format!("backups kept: {kept}, the newest from before the cluster shrank among them. {advice}");
        return Verdict::bad(Reason::Shrunk, message);
    }
    Verdict::good(Reason::Retained, format!("backups kept: {kept}"))
}

fn judge(world: &World, job: &Job) -> Run<Forgotten> {
    let pods = (world.pods.as_slice(), world.troubles.as_slice());
    run::judge(Work::Forget.verb(), job, pods, world.now)
}

/// One at a time: two would wait for each other's locks.
fn under_way(world: &World, run: &Run<Forgotten>) -> Retained {
    let again = Some(run::NEXT_LOOK);
    match run {
        Run::Stuck(failure) | Run::Retrying { failure, .. } => {
            Retained { again, ..Retained::saying(failed(&build::located(&world.policy, failure.clone()))) }
        }
        _ => Retained { again, ..Retained::untouched_or_good(world) },
    }
}

impl Retained {
    /// A failure stays said while it is tried again.
    fn untouched_or_good(world: &World) -> Self {
        let stored = Verdict::stored(world.conditions(), RETAINED);
        if stored.holds == Some(false) && stored.reason != Reason::LineageChanged {
            return Self::saying(stored);
        }
        Self::saying(Verdict::good(Reason::Retained, "old backups are being removed"))
    }
}

fn going(world: &World, count: usize) -> Verdict {
    let said = Retained::untouched_or_good(world).verdict;
    if said.holds == Some(false) {
        said
    } else {
        Verdict { message: format!("backups being removed: {count}"), ..said }
    }
}

fn after(world: &World, job: &Job, (ended, count): (Ended<Forgotten>, usize)) -> Retained {
    match ended.outcome {
        // The record controller has not got round to it.
        Ok(_) => Retained { again: Some(run::NEXT_LOOK), ..Retained::saying(going(world, count)) },
        Err(failure) => retry(world, job, (&build::located(&world.policy, failure), ended.at)),
    }
}

/// Waits as long as it has been failing, then makes room for another try.
fn retry(world: &World, job: &Job, (failure, at): (&Failure, Timestamp)) -> Retained {
    let again = run::left_after(at, find(world.conditions(), RETAINED), world.now);
    let delete = (again.is_none() && job.meta().deletion_timestamp.is_none()).then(|| Target::of(job));
    Retained { delete, again, ..Retained::saying(failed(failure)) }
}

fn failed(failure: &Failure) -> Verdict {
    Verdict::bad(failure.reason, text(failure))
}

/// A record whose backup is known to be at this location, and so may be judged.
struct Known {
    pair: Pair,
    candidate: Candidate,
    /// When the record was made, by the API server's clock; the candidate's time is a node's.
    made: Timestamp,
    /// How many entries etcd's log had: within a lineage it never falls.
    raft_index: u64,
    lineage: Option<String>,
    is_complete: bool,
    /// Whether the next backup can be measured by it.
    is_measure: bool,
}

impl Known {
    fn is_young(&self, now: Timestamp) -> bool {
        now.duration_since(self.candidate.time.max(self.made)) <= LISTED_YOUNG
    }
}

/// What goes, if anything, and how many stay.
fn list(world: &World) -> (Option<ForgetList>, usize) {
    let mut known: Vec<Known> =
        world.own_records().filter_map(|record| known(record, world.pinned())).collect();
    known.sort_by_key(|known| std::cmp::Reverse(known.candidate.time));
    spare(&mut known, world.now);
    spare_accepted(&mut known, shrink::accepted(world).as_ref(), world.now);
    let candidates: Vec<Candidate> = known.iter().map(|known| known.candidate.clone()).collect();
    let judged = world.policy.spec.retention().judge(&candidates);
    let (goers, stayers): (Vec<_>, Vec<_>) =
        known.into_iter().zip(judged).partition(|(_, judged)| *judged == Judged::Expired);
    let kept = stayers.len();
    let pairs = |known: Vec<(Known, Judged)>| known.into_iter().map(|(known, _)| known.pair);
    let mut go: Vec<Pair> = pairs(goers).collect();
    // Oldest first; the rest goes with the next Job.
    go.reverse();
    go.truncate(ForgetList::MOST);
    let stay: Vec<Pair> = pairs(stayers).take(ForgetList::MOST).collect();
    let list = (!go.is_empty() && !stay.is_empty()).then_some(ForgetList { go, stay });
    (list, kept)
}

fn known(record: &MetadataBackupRecord, pinned: Option<&str>) -> Option<Known> {
    let status = record.status.as_ref()?;
    let is_here = pinned.is_some() && status.repository_id.as_deref() == pinned;
    let hold = record.annotations().get(annotation::HOLD);
    let pair = Pair {
        etcd: status.snapshot_id_full.as_ref()?.parse().ok()?,
        files: status.files_snapshot_id_full.as_ref()?.parse().ok()?,
    };
    let time = status.time.as_ref()?.0;
    let candidate = Candidate { time, held: hold.map(|why| format!("hold: {why}")) };
    let made = record.creation_timestamp().map_or(time, |Time(made)| made);
    let complete = find(&status.conditions, COMPLETE);
    let is_complete = complete.is_some_and(|complete| complete.status == "True");
    let is_suspect = complete.is_some_and(|complete| complete.reason == Reason::NoQuorum.as_str());
    let raft_index = status.etcd.as_ref().and_then(|etcd| u64::try_from(etcd.raft_index?).ok());
    let known = Known {
        pair,
        candidate,
        made,
        raft_index: raft_index.unwrap_or_default(),
        lineage: status.lineage.clone(),
        is_complete,
        is_measure: shrink::has_shrunk(record) == Some(false) && !is_suspect,
    };
    (is_here && record.meta().deletion_timestamp.is_none()).then_some(known)
}

/// Holds what stays whatever the numbers say: the newest backup, the newest that a restore can do
/// with, and the newest from before the cluster was emptied, if it was; and all three of each lineage of
/// late, since a cluster that was restored by mistake must not age out what it was before.
///
/// The agent spares the same by what the repository says, and refuses a list that names any of it: so
/// this must spare no less.
fn spare(known: &mut [Known], now: Timestamp) {
    hold(known, "newest", now, |_| true);
    hold(known, "newest complete", now, |known| known.is_complete);
    hold(known, "newest that did not shrink", now, |known| known.is_measure);
}

/// Holds the backup whose shrinking was accepted until a newer one can take its part: it is what the next one is
/// measured by.
fn spare_accepted(known: &mut [Known], accepted: Option<&SnapshotId>, now: Timestamp) {
    let Some(index) = known.iter().position(|known| Some(&known.pair.etcd) == accepted) else {
        return;
    };
    let [_, _, by_etcd] = AGES;
    let newer = |other: &Known| by_etcd(other) > by_etcd(&known[index]);
    let is_served =
        known.iter().any(|other| other.is_measure && newer(other) && other.lineage == known[index].lineage);
    // After a change of lineage none will come that could.
    if !is_served && known[index].is_young(now) {
        known[index].candidate.held.get_or_insert_with(|| "accepted shrinking".to_owned());
    }
}

/// Tells which of two backups is the newer one.
type Age = fn(&Known) -> (u64, Timestamp);

/// When a backup was made: by the node's clock, by the API server's, and by etcd's own count.
const AGES: [Age; 3] = [
    |known| (0, known.candidate.time),
    |known| (0, known.made),
    |known| (known.raft_index, known.candidate.time),
];

/// Of those that are meant holds the newest, and the newest of each lineage of late, by whatever tells
/// their age: any clock may be wrong.
fn hold(known: &mut [Known], why: &str, now: Timestamp, is_meant: impl Fn(&Known) -> bool) {
    for age in AGES {
        let mut heads: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for (index, found) in known.iter().enumerate().filter(|(_, found)| is_meant(found)) {
            let head = heads.entry(found.lineage.as_deref()).or_insert(index);
            if age(found) > age(&known[*head]) {
                *head = index;
            }
        }
        let heads: Vec<usize> = heads.into_values().collect();
        let newest = AGES[..2]
            .iter()
            .filter_map(|clock| heads.iter().copied().max_by_key(|head| clock(&known[*head])));
        let newest: Vec<usize> = newest.collect();
        for head in heads {
            let found = &mut known[head];
            if newest.contains(&head) {
                found.candidate.held.get_or_insert_with(|| why.to_owned());
            } else if found.is_young(now) {
                found.candidate.held.get_or_insert_with(|| format!("{why} of its lineage"));
            }
        }
    }
}
