//! A schedule, as a person may write it, and the slots that follow from it.
use std::iter::successors;

use jiff::{SignedDuration, Timestamp};
use model::Schedule;

use crate::is_line;

/// What is in front of the schedule: a moment, and how long something took from it, seconds.
const HEAD: usize = 8;
/// The longest word on what is wrong: of 80 characters, told twice and escaped.
const LONGEST_WORD: usize = 2500;
/// Slots that are looked at, one after the other.
const FEW: usize = 20;
const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Reads a schedule and, behind the end of its line, a time zone; and asks for slots.
pub fn check(input: &[u8]) {
    let Some((&[a, b, c, d, length @ ..], text)) = input.split_first_chunk::<HEAD>() else { return };
    let text = String::from_utf8_lossy(text);
    let (text, zone) = text.split_once('\n').map_or((&*text, None), |(text, zone)| (text, Some(zone)));
    let schedule = match Schedule::parse(text, zone) {
        Ok(schedule) => schedule,
        Err(error) => return assert!(is_line(&error.to_string(), LONGEST_WORD), "{error:?}"),
    };
    check_spelling(&schedule, text, zone);
    let since =
        Timestamp::from_second(i32::from_le_bytes([a, b, c, d]).into()).expect("between 1901 and 2038");
    let now = since + SignedDuration::from_secs(u32::from_le_bytes(length).into());
    check_next(&schedule, since, zone.is_none());
    check_last(&schedule, since, now);
}

/// What is between the fields does not matter.
fn check_spelling(schedule: &Schedule, text: &str, zone: Option<&str>) {
    if text.starts_with('@') {
        return;
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let again = Schedule::parse(&format!(" {}\t", fields.join("  ")), zone);
    assert_eq!(again.as_ref(), Ok(schedule));
}

/// Slots follow one another, and where clocks do not change none is farther from the one before than was said, or nearer.
fn check_next(schedule: &Schedule, since: Timestamp, is_utc: bool) {
    let slots: Vec<_> = successors(Some(since), |slot| schedule.next_after(*slot)).take(FEW).collect();
    assert!(slots.is_sorted_by(|one, other| one < other), "{slots:?}");
    let (shortest, longest) = (schedule.shortest_interval(since), schedule.longest_interval(since));
    let within = slots.iter().skip(1).take_while(|slot| **slot < since + YEAR).collect::<Vec<_>>();
    for pair in within.windows(2).filter(|_| is_utc) {
        let apart = Some(pair[1].duration_since(*pair[0]));
        assert!(shortest <= apart && apart <= longest, "{pair:?} {shortest:?} {longest:?}");
    }
}

/// The last slot is one that has passed, and no other has passed since.
fn check_last(schedule: &Schedule, since: Timestamp, now: Timestamp) {
    let last = schedule.last_between(since, now);
    assert!(last.is_none_or(|last| since < last && last <= now), "{last:?}");
    assert!(schedule.next_after(last.unwrap_or(since)).is_none_or(|next| next > now), "{last:?}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "0 3 * * *",
        "*/15 9-17 1,15 jan-jun MON-FRI\nEurope/Berlin",
        "@every 1h30m",
        "@hourly\nAmerica/Sao_Paulo",
        "0 0 29 2 ?",
        "30 2 */7 * 0",
        ", * * * *",
        "61 * * * *",
        "@every 1.5us\u{b5}s",
    ];
    let head = [0x00, 0x10, 0x20, 0x60, 0x80, 0x51, 0x01, 0x00];
    texts.iter().map(|text| [&head, text.as_bytes()].concat()).collect()
}
