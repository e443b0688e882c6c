//! How long it may be from one slot of a calendar to the next.
use jiff::{SignedDuration, ToSpan, civil::Date};

use super::calendar::{Calendar, Unit};

/// Days that are looked at.
const YEAR: i64 = 366;
/// Days in which two slots must lie: what is due on the 29th of February alone was not in 1900 and will not be in 2100.
const MOST: i64 = 9 * YEAR;
const MINUTES_OF_A_DAY: i64 = 24 * 60;

/// The longest time from one slot to the next, from a day on.
pub fn longest(calendar: &Calendar, from: Date) -> Option<SignedDuration> {
    let minutes = minutes(calendar, from);
    let (first, last) = (minutes.first()?, minutes.last()?);
    let within = minutes.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    let between = longest_in_days(calendar, from)? * MINUTES_OF_A_DAY - last + first;
    Some(SignedDuration::from_mins(within.max(between)))
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

/// The most days from one on which something is due to the next.
fn longest_in_days(calendar: &Calendar, from: Date) -> Option<i64> {
    let (mut newest, mut longest) = (None, None);
    for day in 0..MOST {
        if day > YEAR && longest.is_some() {
            break;
        }
        let midnight = from.checked_add(day.days()).ok()?.at(0, 0, 0, 0);
        if calendar.allows(Unit::Month, midnight) && calendar.allows(Unit::Day, midnight) {
            longest = longest.max(newest.map(|newest| day - newest));
            newest = Some(day);
        }
    }
    longest
}
