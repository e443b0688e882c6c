//! How many runs of a policy came to what, each counted once.
//!
//! Kept in memory only: each leader begins at 0, as upstream's counters did with each process, and whoever
//! reads counters knows that they do. What another leader counted shows in the status, which tells of a run
//! once it has ended, and of the next slot, before which that leader looked for the last time. What may have
//! been seen by either of two leaders counts as seen by the first: nothing is counted twice, but a slot that
//! became missed, or an older run that ended, between the first one's end and the next slot may lack.
use std::collections::BTreeMap;

use api::conditions::FRESH;
use jiff::Timestamp;
use kube::ResourceExt;
use runtime::{conditions::Verdict, metrics::Histogram};

use super::{
    history::{History, Made},
    observe::World,
    slots::Missed,
    told::Told,
};
use crate::run::{Ended, Run};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
/// Upstream's.
const SECONDS: &[f64] = &[
    15.0,
    30.0,
    MINUTE,
    5.0 * MINUTE,
    10.0 * MINUTE,
    15.0 * MINUTE,
    30.0 * MINUTE,
    HOUR,
    2.0 * HOUR,
    3.0 * HOUR,
    4.0 * HOUR,
    5.0 * HOUR,
    6.0 * HOUR,
    7.0 * HOUR,
    8.0 * HOUR,
    9.0 * HOUR,
    10.0 * HOUR,
];

/// What was counted of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    /// Runs that made a backup.
    pub succeeded: i64,
    /// Runs that did not.
    pub failed: i64,
    /// Slots for which no run began.
    pub missed: i64,
    /// How many seconds the successful runs took.
    pub durations: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self { succeeded: 0, failed: 0, missed: 0, durations: Histogram::new(SECONDS) }
    }
}

impl Counts {
    fn take(&mut self, ended: &Ended<Made>) {
        match &ended.outcome {
            Ok(made) => {
                self.succeeded += 1;
                if let Some(seconds) = seconds(made) {
                    self.durations.observe(seconds);
                }
            }
            Err(_) => self.failed += 1,
        }
    }
}

/// Whole seconds, rounded up, as upstream had them.
fn seconds(made: &Made) -> Option<f64> {
    match made {
        Made::Told(backup) => Some(backup.total_duration_secs.ceil()),
        Made::Recorded { record, .. } => {
            let seconds = record.as_ref()?.status.as_ref()?.duration_seconds?;
            Some(f64::from(u32::try_from(seconds).ok()?))
        }
    }
}

/// Counts the runs of one policy.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Counts,
    /// Jobs by their UIDs, and whether each had ended when it was last seen.
    jobs: BTreeMap<String, bool>,
    /// The newest slot that is known to be missed.
    missed: Option<Timestamp>,
    has_looked: bool,
}

impl Tally {
    /// Takes in what there is to see and was not there before.
    pub fn count(&mut self, world: &World) {
        let history = History::of(world);
        self.count_runs(world, &history);
        self.count_missed(world, &history);
        // Without the CronJob nobody can tell whose the Jobs are.
        self.has_looked |= world.cronjob.is_some();
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn count_runs(&mut self, world: &World, history: &History) {
        let is_there = |uid: &String| world.backups.iter().any(|job| job.metadata.uid.as_ref() == Some(uid));
        self.jobs.retain(|uid, _| is_there(uid));
        let told = Told::of(world);
        for entry in history.entries() {
            let Some(uid) = entry.job.uid() else { continue };
            let Run::Ended(ended) = &entry.run else {
                self.jobs.insert(uid, false);
                continue;
            };
            let is_news = match self.jobs.insert(uid, true) {
                Some(had_ended) => !had_ended,
                // One that was not there at the last look has begun and ended since then.
                None => self.has_looked || told.lacks(ended) || told.is_before(ended.at),
            };
            if is_news {
                self.counts.take(ended);
            }
        }
    }

    fn count_missed(&mut self, world: &World, history: &History) {
        let slots = history.slots.all_missed(world, self.missed);
        let told = Told::of(world);
        // Whoever told of the first has counted others too. What is told of a run that hangs comes before it.
        let was_failing = Verdict::stored(world.conditions(), FRESH).holds == Some(false);
        let is_news = |missed: &&Missed| self.has_looked || !was_failing || told.is_before(missed.at);
        let news = slots.iter().filter(is_news).count() as u64;
        self.counts.missed = self.counts.missed.saturating_add_unsigned(news);
        self.missed = slots.last().map(|missed| missed.slot).or(self.missed);
    }
}
