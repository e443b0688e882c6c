//! When the next backup is due, and whether one that was due never began.
//!
//! The controller-manager alone starts runs; what it did shows in the CronJob.
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::batch::v1::{CronJob, CronJobSpec},
    apimachinery::pkg::apis::meta::v1::Time,
};
use model::Schedule;

use super::{MANAGER, build::START_DEADLINE, history::History, observe::World};
use crate::ownership::controls;

/// How long after its slot a run is called missing: it may begin until its deadline, and then take this long to show.
const MISSING: SignedDuration = SignedDuration::from_secs(START_DEADLINE + 600);

/// What a policy's schedule says of now. Empty while nothing is due: suspended, without a CronJob, or where nobody can
/// know the time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// When the next run is due.
    pub next: Option<Timestamp>,
    /// The newest slot without a run, too long ago for one still to begin.
    pub missed: Option<Timestamp>,
    /// In how long the next slot would be missed.
    pub again: Option<Duration>,
}

impl Slots {
    /// Those of a policy's CronJob as it is stored.
    pub fn of(world: &World, history: &History) -> Self {
        let cronjob = world.cronjob.as_ref().filter(|cronjob| controls(&world.policy, *cronjob));
        let Some((cronjob, spec)) = cronjob.and_then(|cronjob| Some((cronjob, cronjob.spec.as_ref()?)))
        else {
            return Self::default();
        };
        let since = seen(cronjob, history);
        match schedule(spec, last(cronjob)) {
            Some(schedule) if spec.suspend != Some(true) => {
                Self::since(&schedule, since, (world.now, history.is_busy()))
            }
            _ => Self::default(),
        }
    }

    fn since(schedule: &Schedule, since: Timestamp, (now, is_busy): (Timestamp, bool)) -> Self {
        let newest = schedule.last_between(since, now).unwrap_or(since);
        let next = schedule.next_after(newest);
        // A run that goes on is why the next one waits.
        let missed = schedule.last_between(since, now - MISSING).filter(|_| !is_busy);
        let first = schedule.next_after(since).filter(|_| missed.is_none());
        let again = first.map(|slot| (slot + MISSING).duration_since(now));
        Self {
            next,
            missed,
            again: again.filter(SignedDuration::is_positive).map(SignedDuration::unsigned_abs),
        }
    }
}

/// Since when slots count: from before that nothing is missing, since a run was there, or another schedule.
fn seen(cronjob: &CronJob, history: &History) -> Timestamp {
    let made = cronjob.metadata.creation_timestamp.as_ref().map(|Time(time)| *time);
    let moments = [made, applied(cronjob), last(cronjob), history.newest_sign()];
    moments.into_iter().flatten().max().unwrap_or(Timestamp::UNIX_EPOCH)
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

/// The schedule, if it is known in which time zone the controller-manager reads it.
///
/// Without `timeZone` it is that of its own clock, which nothing tells: UTC, unless it was seen to start a run when none
/// was due in UTC.
fn schedule(spec: &CronJobSpec, last: Option<Timestamp>) -> Option<Schedule> {
    let schedule = Schedule::parse(&spec.schedule, spec.time_zone.as_deref()).ok()?;
    let is_due = |slot: Timestamp| schedule.next_after(slot - SignedDuration::from_secs(1)) == Some(slot);
    let needs_zone = spec.time_zone.is_none() && !spec.schedule.starts_with("@every");
    (!needs_zone || last.is_none_or(is_due)).then_some(schedule)
}
