//! When the next backup is due, and whether one that was due never began.
//!
//! The controller-manager alone starts runs; what it did shows in the CronJob.
use std::{iter::successors, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::batch::v1::{CronJob, CronJobSpec},
    apimachinery::pkg::apis::meta::v1::Time,
};
use model::Schedule;

use super::{MANAGER, history::Entry, observe::World};
use crate::{
    ownership::controls,
    run::{self, Run},
};

/// What a run that may begin until its deadline, or must have ended by it, may take to show.
const SLACK: SignedDuration = SignedDuration::from_mins(10);
/// Between the slots of UTC and those of any other zone.
const ZONES: SignedDuration = SignedDuration::from_hours(14);
/// Missed slots that are named at once; the others are when they are asked for next.
const MANY: usize = 100_000;

/// What a policy's schedule says of now. Empty while nothing is due: suspended, without a CronJob, or where nobody can
/// know the time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// When the next run is due.
    pub next: Option<Timestamp>,
    /// The first slot without a run of those that came since one began, too long ago for it still to begin.
    pub missed: Option<Timestamp>,
    /// In how long a slot would be missed.
    pub again: Option<Duration>,
}

impl Slots {
    /// Those of a policy's CronJob as it is stored, and of its runs.
    pub fn of(world: &World, runs: &[Entry]) -> Self {
        let cronjob = world.cronjob.as_ref().filter(|cronjob| controls(&world.policy, *cronjob));
        let rhythm = cronjob.and_then(Rhythm::of);
        rhythm.map(|rhythm| rhythm.slots(runs, world.now)).unwrap_or_default()
    }

    /// The slots from the first missed one on that are missed too, oldest first; without those up to `known`, unless it
    /// is still to come: a clock that was ahead called it missed.
    pub fn all_missed(self, world: &World, known: Option<Timestamp>) -> Vec<Missed> {
        let rhythm = world.cronjob.as_ref().and_then(Rhythm::of);
        let Some((rhythm, first)) = rhythm.zip(self.missed) else { return Vec::new() };
        let next = |slot: &Timestamp| rhythm.schedule.next_after(*slot);
        let known = known.filter(|known| (first..=world.now).contains(known));
        let begin = known.map_or(Some(first), |known| next(&known));
        let missed = successors(begin, next).map(|slot| Missed { slot, at: slot + rhythm.missing });
        missed.take_while(|missed| missed.at <= world.now).take(MANY).collect()
    }
}

/// A slot for which no run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// When one was due.
    pub slot: Timestamp,
    /// Since when none can begin any more.
    pub at: Timestamp,
}

/// What the controller-manager makes of a CronJob.
struct Rhythm {
    schedule: Schedule,
    /// From where it counts: the last slot that it served, else the CronJob's creation.
    base: Timestamp,
    /// When the CronJob became what it is: what was due before is not looked for.
    applied: Option<Timestamp>,
    /// How long after its slot a run is called missing.
    missing: SignedDuration,
}

impl Rhythm {
    /// None where none is due, or none can be known.
    fn of(cronjob: &CronJob) -> Option<Self> {
        let spec = cronjob.spec.as_ref().filter(|spec| spec.suspend != Some(true))?;
        let Time(made) = cronjob.metadata.creation_timestamp.as_ref()?;
        let schedule = Schedule::parse(&spec.schedule, spec.time_zone.as_deref()).ok()?;
        let applied = applied(cronjob);
        // One from before a change may be no slot of the schedule as it is now.
        let last = last(cronjob).filter(|last| applied.is_none_or(|applied| *last > applied));
        let is_certain = is_of_this_zone(&schedule, spec, last)?;
        let deadline = SignedDuration::from_secs(spec.starting_deadline_seconds.unwrap_or_default());
        let missing = deadline + SLACK + if is_certain { SignedDuration::ZERO } else { ZONES };
        Some(Self { schedule, base: last.unwrap_or(*made), applied, missing })
    }

    fn slots(&self, runs: &[Entry], now: Timestamp) -> Slots {
        let signs = runs.iter().map(newest_sign).chain(self.applied);
        let since = signs.fold(self.base, Timestamp::max);
        let first = self.after(since).map(|slot| (slot, slot + self.missing));
        // A run that goes on is why the next one waits.
        let is_busy = runs.iter().any(|entry| goes_on(entry, now));
        let missed = first.filter(|(_, until)| *until <= now && !is_busy).map(|(slot, _)| slot);
        let left = first.map(|(_, until)| until.duration_since(now)).filter(SignedDuration::is_positive);
        Slots { next: self.after(now), missed, again: left.map(SignedDuration::unsigned_abs) }
    }

    /// The first slot after a moment. Those of `@every` follow from the base.
    fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        self.schedule.next_after(self.schedule.last_between(self.base, moment).unwrap_or(self.base))
    }
}

/// Whether a schedule is read in the time zone in which the controller-manager reads it; none if it is not.
///
/// Without `timeZone` that is the zone of its own clock, which nothing tells: UTC, unless it was seen to start a run when
/// none was due in UTC. Until it starts one nobody can be certain.
fn is_of_this_zone(schedule: &Schedule, spec: &CronJobSpec, last: Option<Timestamp>) -> Option<bool> {
    if spec.time_zone.is_some() || schedule.period().is_some() {
        return Some(true);
    }
    let is_due = |slot: Timestamp| schedule.next_after(slot - SignedDuration::from_secs(1)) == Some(slot);
    match last {
        None => Some(false),
        Some(last) => is_due(last).then_some(true),
    }
}

/// When a run last began or ended.
fn newest_sign(entry: &Entry) -> Timestamp {
    match &entry.run {
        Run::Ended(ended) => ended.at,
        _ => run::started(entry.job),
    }
}

/// Whether a run has not ended. Past its deadline it has, but nobody is there who would write that down.
fn goes_on(entry: &Entry, now: Timestamp) -> bool {
    let deadline = entry.job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let is_over = |seconds| run::started(entry.job) + SignedDuration::from_secs(seconds) + SLACK < now;
    !matches!(entry.run, Run::Ended(_)) && !deadline.is_some_and(is_over)
}

/// When the CronJob became what it is: the API server notes it.
fn applied(cronjob: &CronJob) -> Option<Timestamp> {
    let entries = cronjob.metadata.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    ours.filter_map(|entry| entry.time.as_ref()).map(|Time(time)| *time).max()
}

/// The last slot for which the controller-manager made a Job.
fn last(cronjob: &CronJob) -> Option<Timestamp> {
    cronjob.status.as_ref()?.last_schedule_time.as_ref().map(|Time(time)| *time)
}
