//! How long it may be from one slot of a calendar to the next.
use jiff::{SignedDuration, ToSpan, civil::Date};

use super::calendar::{Calendar, Unit};

/// Days that are looked at.
const YEAR: i64 = 366;
/// Days in which two slots must lie: what is due on the 29th of February alone was not in 1900 and will not be in 2100.
const MOST: i64 = 9 * YEAR;
const MINUTES_OF_A_DAY: i64 = 24 * 60;

/// The shortest and the longest time from one slot to the next, from a day on.
pub fn extremes(calendar: &Calendar, from: Date) -> Option<[SignedDuration; 2]> {
    let minutes = minutes(calendar, from);
    let (first, last) = (minutes.first()?, minutes.last()?);
    let within = minutes.windows(2).map(|pair| pair[1] - pair[0]);
    let between = days_apart(calendar, from)?.map(|days| days * MINUTES_OF_A_DAY - last + first);
    let all: Vec<i64> = within.chain(between).collect();
    let (shortest, longest) = (all.iter().min()?, all.iter().max()?);
    Some([*shortest, *longest].map(SignedDuration::from_mins))
}

/// The minutes of any day on which something is due.
fn minutes(calendar: &Calendar, day: Date) -> Vec<i64> {
    let all = (0..24).flat_map(|hour| (0..60).map(move |minute| (hour, minute)));
    let due = all.filter(|(hour, minute)| {
        let wall = day.at(*hour, *minute, 0, 0);
        calendar.allows(Unit::Hour, wall) && calendar.allows(Unit::Minute, wall)
    });
    due.map(|(hour, minute)| i64::from(hour) * 60 + i64::from(minute)).collect()
}

/// The fewest and the most days from one on which something is due to the next.
fn days_apart(calendar: &Calendar, from: Date) -> Option<[i64; 2]> {
    let (mut newest, mut apart) = (None, None);
    for day in 0..MOST {
        if day > YEAR && apart.is_some() {
            break;
        }
        let midnight = from.checked_add(day.days()).ok()?.at(0, 0, 0, 0);
        if calendar.allows(Unit::Month, midnight) && calendar.allows(Unit::Day, midnight) {
            apart = newest.map(|newest| wider(apart, day - newest)).or(apart);
            newest = Some(day);
        }
    }
    apart
}

fn wider(apart: Option<[i64; 2]>, days: i64) -> [i64; 2] {
    apart.map_or([days; 2], |[fewest, most]| [fewest.min(days), most.max(days)])
}
