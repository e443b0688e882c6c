//! When a backup is due, exactly as a CronJob of Kubernetes has it.
//!
//! ```text
//! schedule ──▶ grammar ──▶ Calendar or seconds ─┐
//! timeZone ──▶ TimeZone ────────────────────────┴▶ Schedule ──▶ walk ──▶ slot
//! ```
//!
//! Kubernetes leaves grammar and slots to one Go library (robfig/cron 3.0.1) and refuses a little more
//! by itself. Both are told here as they are, with what looks wrong in them: whoever foresees a run must
//! expect what the controller will do. `tests/schedule` holds this to answers of Kubernetes' own code.
mod calendar;
mod duration;
mod grammar;
mod interval;
mod walk;

use calendar::Calendar;
use jiff::{
    SignedDuration, Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

/// How many slots are gone through one by one before larger steps are taken.
///
/// From as many on the controller of a CronJob says that too many were missed: then that they were is what
/// counts, and not whether the last of them lies on a day that a walk from afar passes over.
const FEW: usize = 100;

/// When something is due: `schedule` and `timeZone` of a CronJob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    rhythm: Rhythm,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rhythm {
    Calendar(Calendar),
    /// So many seconds after one another, counted from wherever one asks.
    Every(i64),
}

/// Why Kubernetes would refuse a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// The schedule itself is none.
    #[error("{found:?} is not a schedule: {problem}")]
    Schedule {
        /// The beginning of what was found.
        found: String,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// The time zone is unknown.
    #[error(
        "{0:?} is not a time zone: allowed are names of the IANA database, spelled as there: \"Europe/Berlin\""
    )]
    TimeZone(String),
}

impl InvalidSchedule {
    /// The field of a CronJob that is wrong: `schedule` or `timeZone`.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Schedule { .. } => "schedule",
            Self::TimeZone(_) => "timeZone",
        }
    }
}

impl Schedule {
    /// Reads a schedule that Kubernetes would accept, and no other.
    ///
    /// Without a time zone it is UTC's. In a cluster it is that of the controller-manager, which nothing
    /// outside of it can know and which is UTC unless someone has changed its image.
    ///
    /// A schedule that is never due, `0 0 30 2 *`, is accepted, as it is there.
    pub fn parse(schedule: &str, time_zone: Option<&str>) -> Result<Self, InvalidSchedule> {
        Ok(Self { rhythm: rhythm(schedule)?, zone: time_zone.map_or(Ok(TimeZone::UTC), zone)? })
    }

    /// Everything for which [`Self::parse`] refuses the two: whoever corrects one should not learn of the
    /// other only then.
    pub fn flaws(schedule: &str, time_zone: Option<&str>) -> Vec<InvalidSchedule> {
        let zone = time_zone.and_then(|name| zone(name).err());
        rhythm(schedule).err().into_iter().chain(zone).collect()
    }

    /// Of `@every`, how long from one slot to the next.
    pub fn period(&self) -> Option<SignedDuration> {
        match self.rhythm {
            Rhythm::Every(seconds) => Some(SignedDuration::from_secs(seconds)),
            Rhythm::Calendar(_) => None,
        }
    }

    /// The longest time from one slot to the next, of those in the year after a moment; none if there are
    /// no two slots. An hour more or less where clocks change is not looked at.
    ///
    /// Whoever asks whether a backup is too old must not take a weekend for an outage.
    pub fn longest_interval(&self, moment: Timestamp) -> Option<SignedDuration> {
        self.intervals(moment).map(|[_, longest]| longest)
    }

    /// The shortest one, as [`Self::longest_interval`] is the longest: what takes longer is in the way of the
    /// next run.
    pub fn shortest_interval(&self, moment: Timestamp) -> Option<SignedDuration> {
        self.intervals(moment).map(|[shortest, _]| shortest)
    }

    fn intervals(&self, moment: Timestamp) -> Option<[SignedDuration; 2]> {
        match &self.rhythm {
            Rhythm::Calendar(calendar) => interval::extremes(calendar, self.zone.to_datetime(moment).date()),
            Rhythm::Every(seconds) => Some([SignedDuration::from_secs(*seconds); 2]),
        }
    }

    /// The next slot after a moment; none if there is none within five years.
    ///
    /// The answer depends on the moment more than one might think: `@every` counts from it, and where a
    /// day has no midnight its slots may be passed over from before and yet be there from within that day.
    /// The controller asks from the last slot that it served, or else from the CronJob's creation; but from no earlier
    /// than its start deadline ago, so that `@every` is never due whose period is longer than that deadline.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        match &self.rhythm {
            Rhythm::Calendar(calendar) => walk::next_after(calendar, &self.zone, moment),
            Rhythm::Every(seconds) => {
                Timestamp::from_second(whole_second(moment).checked_add(*seconds)?).ok()
            }
        }
    }

    /// The last slot after `since` that is not after `now`.
    ///
    /// It is the last that [`Self::next_after`] leads to, slot by slot from `since`, if these are no more
    /// than a hundred. If they are more, it is one after which no other is due until `now`, found in a
    /// few dozen steps however long that is ago.
    pub fn last_between(&self, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        if let Rhythm::Every(seconds) = self.rhythm {
            return last_multiple(seconds, since, now);
        }
        let mut last = self.due(since, now)?;
        for _ in 0..FEW {
            match self.due(last, now) {
                Some(slot) => last = slot,
                None => return Some(last),
            }
        }
        Some(self.last_of_many(last, now))
    }

    /// The slot after a moment, if it is not after `now`.
    fn due(&self, moment: Timestamp, now: Timestamp) -> Option<Timestamp> {
        self.next_after(moment).filter(|slot| *slot <= now)
    }

    /// Halves the time in which the last slot must lie.
    fn last_of_many(&self, mut last: Timestamp, now: Timestamp) -> Timestamp {
        let mut beyond = now;
        while let Some(slot) = self.due(last, now) {
            last = slot;
            let middle = last + beyond.duration_since(last) / 2;
            match self.due(middle, now) {
                Some(slot) => last = last.max(slot),
                None => beyond = middle,
            }
        }
        last
    }
}

fn last_multiple(seconds: i64, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let passed = whole_second(now) - whole_second(since);
    let slot = whole_second(since) + passed - passed.rem_euclid(seconds);
    (passed >= seconds).then(|| Timestamp::from_second(slot).ok()).flatten()
}

fn rhythm(schedule: &str) -> Result<Rhythm, InvalidSchedule> {
    grammar::rhythm(schedule)
        .map_err(|problem| InvalidSchedule::Schedule { found: beginning(schedule), problem })
}

/// The zone of that name, from the database in this program: a machine's own may lack or differ.
fn zone(name: &str) -> Result<TimeZone, InvalidSchedule> {
    let found = TimeZoneDatabase::bundled().get(name).ok();
    // Looking it up takes any case for the right one, and knows a zone that is called unknown.
    let known = found.filter(|zone| zone.iana_name() == Some(name) && !zone.is_unknown());
    known.ok_or_else(|| InvalidSchedule::TimeZone(beginning(name)))
}

/// The second that a moment lies in.
fn whole_second(moment: Timestamp) -> i64 {
    moment.as_second() - i64::from(moment.subsec_nanosecond() < 0)
}

fn beginning(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
