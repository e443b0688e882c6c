//! Which backups stay.
//!
//! Pure: the caller brings the backups and what holds them; nothing is deleted here.
use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};

/// How many backups to keep, and of which kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many.
    pub last: usize,
    /// The newest of each of the last so many hours that have one.
    pub hourly: usize,
    /// The newest of each of the last so many days that have one.
    pub daily: usize,
    /// The newest of each of the last so many ISO weeks that have one.
    pub weekly: usize,
    /// The newest of each of the last so many months that have one.
    pub monthly: usize,
    /// The newest of each of the last so many years that have one.
    pub yearly: usize,
    /// All that are younger than this, counted back from the newest backup, not from a
    /// clock: after an outage or with a wrong clock nothing ages out by itself.
    pub within: Option<Within>,
}

/// A length of time in calendar units, as restic writes it: `1y6m14d3h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Within {
    years: i32,
    months: i32,
    days: i32,
    hours: i32,
}

/// A text that is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration such as \"1y6m14d3h\" (years, months, days, hours)")]
pub struct NotADuration(String);

impl std::str::FromStr for Within {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || NotADuration(text.chars().take(80).collect());
        let mut within = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(refused)?;
            // Four digits are more years than any calendar type bears, and never overflow.
            let number: i32 =
                rest[..end].parse().ok().filter(|number| *number <= 9999).ok_or_else(refused)?;
            let unit = match rest.as_bytes()[end] {
                b'y' => &mut within.years,
                b'm' => &mut within.months,
                b'd' => &mut within.days,
                b'h' => &mut within.hours,
                _ => return Err(refused()),
            };
            *unit = number;
            rest = &rest[end + 1..];
        }
        if within == Self::default() { Err(refused()) } else { Ok(within) }
    }
}

impl Within {
    /// The moment that lies so long before `newest`; the beginning of time where the calendar ends.
    fn before(self, newest: Timestamp) -> Timestamp {
        let span = jiff::Span::new()
            .try_years(self.years)
            .and_then(|span| span.try_months(self.months))
            .and_then(|span| span.try_days(self.days))
            .and_then(|span| span.try_hours(self.hours));
        span.and_then(|span| newest.to_zoned(TimeZone::UTC).checked_sub(span))
            .map_or(Timestamp::MIN, |moment| moment.timestamp())
    }
}

/// One backup as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// When its etcd stream began.
    pub time: Timestamp,
    /// Why it must stay whatever the rules say: a hold, a newest proven one.
    pub held: Option<String>,
}

/// What retention says of one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stays, for this reason: `last 3`, `daily`, `hold: audit`.
    Kept(String),
    /// No rule keeps it.
    Expired,
}

impl Retention {
    /// Judges each backup, in the order given.
    ///
    /// # Guarantees
    ///
    /// The newest backup is always kept, whatever the numbers say. A hold adds to
    /// what the rules keep and takes nothing away from it.
    pub fn judge(&self, backups: &[Candidate]) -> Vec<Verdict> {
        let mut newest_first: Vec<usize> = (0..backups.len()).collect();
        newest_first.sort_by_key(|index| std::cmp::Reverse((backups[*index].time, *index)));
        let mut verdicts = vec![Verdict::Expired; backups.len()];
        let mut keepers = self.keepers(newest_first.first().map(|index| backups[*index].time));
        for index in newest_first {
            let backup = &backups[index];
            let ruled: Vec<&str> =
                keepers.iter_mut().filter_map(|keeper| keeper.keeps(backup.time)).collect();
            verdicts[index] = match (&backup.held, ruled.is_empty()) {
                (Some(why), _) => Verdict::Kept(why.clone()),
                (None, false) => Verdict::Kept(ruled.join(", ")),
                (None, true) => Verdict::Expired,
            };
        }
        verdicts
    }

    fn keepers(&self, newest: Option<Timestamp>) -> Vec<Keeper> {
        let since = self.within.zip(newest).map(|(within, newest)| within.before(newest));
        vec![
            Keeper::Last(self.last.max(1)),
            Keeper::Since(since),
            Keeper::calendar("hourly", self.hourly, "%Y-%m-%d %H"),
            Keeper::calendar("daily", self.daily, "%Y-%m-%d"),
            Keeper::calendar("weekly", self.weekly, "%G-%V"),
            Keeper::calendar("monthly", self.monthly, "%Y-%m"),
            Keeper::calendar("yearly", self.yearly, "%Y"),
        ]
    }
}

/// One rule, asked about backups from the newest to the oldest.
enum Keeper {
    Last(usize),
    Since(Option<Timestamp>),
    Calendar { name: &'static str, left: usize, format: &'static str, seen: BTreeSet<String> },
}

impl Keeper {
    fn calendar(name: &'static str, left: usize, format: &'static str) -> Self {
        Self::Calendar { name, left, format, seen: BTreeSet::new() }
    }

    fn keeps(&mut self, time: Timestamp) -> Option<&'static str> {
        match self {
            Self::Last(0) | Self::Since(None) => None,
            Self::Last(left) => {
                *left -= 1;
                Some("last")
            }
            Self::Since(Some(since)) => (time >= *since).then_some("within"),
            Self::Calendar { name, left, format, seen } => {
                let bucket = time.strftime(format).to_string();
                (*left > 0 && seen.insert(bucket)).then(|| {
                    *left -= 1;
                    *name
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn at(time: &str) -> Candidate {
        Candidate { time: time.parse().expect("a timestamp"), held: None }
    }

    fn kept(retention: &Retention, backups: &[Candidate]) -> Vec<usize> {
        let verdicts = retention.judge(backups);
        (0..backups.len()).filter(|index| verdicts[*index] != Verdict::Expired).collect()
    }

    fn four_days() -> Vec<Candidate> {
        [
            "2030-01-01T01:00:00Z",
            "2030-01-01T23:00:00Z",
            "2030-01-02T01:00:00Z",
            "2030-01-03T01:00:00Z",
            "2030-01-04T01:00:00Z",
        ]
        .map(at)
        .to_vec()
    }

    #[rstest]
    #[case::the_last_two(Retention { last: 2, ..Retention::default() }, &[3, 4])]
    #[case::never_nothing(Retention::default(), &[4])]
    #[case::newest_of_each_day(Retention { daily: 9, ..Retention::default() }, &[1, 2, 3, 4])]
    #[case::two_days(Retention { daily: 2, ..Retention::default() }, &[3, 4])]
    #[case::one_month(Retention { monthly: 3, ..Retention::default() }, &[4])]
    #[case::a_day_back_from_the_newest(Retention { within: "1d".parse().ok(), ..Retention::default() }, &[3, 4])]
    #[case::a_week_across_the_year(Retention { weekly: 1, ..Retention::default() }, &[4])]
    fn keeps(#[case] retention: Retention, #[case] expected: &[usize]) {
        assert_eq!(kept(&retention, &four_days()), expected);
    }

    #[test]
    fn a_held_backup_stays_beside_what_the_rules_keep() {
        let mut backups = four_days();
        backups[0].held = Some("hold: audit".to_owned());
        let retention = Retention { last: 2, ..Retention::default() };
        assert_eq!(kept(&retention, &backups), [0, 3, 4]);
        assert_eq!(retention.judge(&backups)[0], Verdict::Kept("hold: audit".to_owned()));
    }

    #[rstest]
    #[case::all_units("1y6m14d3h", true)]
    #[case::nothing("", false)]
    #[case::zero("0d", false)]
    #[case::no_unit("14", false)]
    #[case::unknown_unit("3w", false)]
    #[case::no_number("d", false)]
    #[case::too_many_digits("99999999999999999999d", false)]
    #[case::umlaut("1ä", false)]
    fn duration_parses(#[case] text: &str, #[case] fits: bool) {
        assert_eq!(text.parse::<Within>().is_ok(), fits, "{text:?}");
    }

    #[test]
    fn the_longest_duration_keeps_everything_and_does_not_fail() {
        let retention = Retention { within: "9999y9999m9999d9999h".parse().ok(), ..Retention::default() };
        assert_eq!(kept(&retention, &four_days()).len(), 5);
    }

    proptest! {
        #[test]
        fn the_newest_is_always_kept(
            seconds in prop::collection::vec(0_i64..4_000_000_000, 1..40),
            last in 0_usize..5, daily in 0_usize..5, yearly in 0_usize..3,
        ) {
            let backups: Vec<_> = seconds.iter()
                .map(|second| Candidate { time: Timestamp::from_second(*second).expect("in range"), held: None })
                .collect();
            let retention = Retention { last, daily, yearly, ..Retention::default() };
            let newest = backups.iter().map(|backup| backup.time).max().expect("not empty");
            let kept = kept(&retention, &backups);
            prop_assert!(kept.iter().any(|index| backups[*index].time == newest));
            prop_assert!(kept.len() >= last.min(backups.len()));
        }
    }
}
