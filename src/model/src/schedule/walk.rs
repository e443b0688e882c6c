//! Looks for the next slot by walking towards it, from months to seconds.
//!
//! The way matters where clocks change. The walk of Kubernetes' library adds absolute hours and minutes but
//! civil days and months, rounds down once, and asks about a day again only when an hour is 0. So a slot in
//! a skipped hour is left out, one in a repeated hour comes twice, and where a day has no midnight that day
//! or most of a month may be passed over. All of that is what will happen in the cluster.
use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{DateTime, Time},
    tz::{Offset, TimeZone},
};

use super::{
    calendar::{Calendar, Unit},
    whole_second,
};

/// How many calendar years are searched after the one that the walk begins in.
const YEARS: i16 = 5;

/// Finds the next slot after a moment.
pub fn next_after(calendar: &Calendar, zone: &TimeZone, moment: Timestamp) -> Option<Timestamp> {
    if calendar.is_never() {
        return None;
    }
    let begin = Timestamp::from_second(whole_second(moment).checked_add(1)?).ok()?;
    let mut walk = Walk { calendar, place: Place::at(zone, begin), is_round: false };
    let last_year = walk.place.wall.year() + YEARS;
    while walk.place.wall.year() <= last_year {
        if walk.arrives()? {
            return Some(walk.place.instant);
        }
    }
    None
}

struct Walk<'a> {
    calendar: &'a Calendar,
    place: Place<'a>,
    /// Whether what is finer than the first unit that did not fit was set back to its beginning.
    is_round: bool,
}

impl Walk<'_> {
    /// Steps through each unit until it fits. False if one of them began anew, so that those above it have to
    /// be looked at again; none at the end of the calendar.
    fn arrives(&mut self) -> Option<bool> {
        for unit in Unit::COARSE_TO_FINE {
            while !self.calendar.allows(unit, self.place.wall) {
                self.step(unit)?;
                if unit.is_first_in(self.place.wall) {
                    return Some(false);
                }
            }
        }
        Some(true)
    }

    fn step(&mut self, unit: Unit) -> Option<()> {
        if !self.is_round {
            self.place = self.place.rounded_down(unit)?;
            self.is_round = true;
        }
        self.place = self.place.forward(unit)?;
        Some(())
    }
}

/// A moment, and what clocks show then.
#[derive(Clone, Copy)]
struct Place<'a> {
    zone: &'a TimeZone,
    instant: Timestamp,
    wall: DateTime,
}

impl<'a> Place<'a> {
    fn at(zone: &'a TimeZone, instant: Timestamp) -> Self {
        Self { zone, instant, wall: zone.to_datetime(instant) }
    }

    /// The moment at which clocks show `wall`; where they never do or do twice, the one that Go takes: with
    /// the offset of the moment that one finds with the offset of the moment at which UTC's clocks show it.
    fn on(self, wall: DateTime) -> Option<Self> {
        let mut offset = Offset::UTC;
        for _ in 0..2 {
            offset = self.zone.to_offset(offset.to_timestamp(wall).ok()?);
        }
        Some(Self::at(self.zone, offset.to_timestamp(wall).ok()?))
    }

    fn later(self, by: SignedDuration) -> Option<Self> {
        Some(Self::at(self.zone, self.instant.checked_add(by).ok()?))
    }

    fn rounded_down(self, unit: Unit) -> Option<Self> {
        let date = self.wall.date();
        match unit {
            Unit::Month => self.on(date.first_of_month().to_datetime(Time::midnight())),
            Unit::Day => self.on(date.to_datetime(Time::midnight())),
            Unit::Hour => self.on(date.at(self.wall.hour(), 0, 0, 0)),
            Unit::Minute => self.later(SignedDuration::from_secs(-self.instant.as_second().rem_euclid(60))),
            Unit::Second => Some(self),
        }
    }

    fn forward(self, unit: Unit) -> Option<Self> {
        match unit {
            Unit::Month => self.next_month(),
            Unit::Day => self.next_day(),
            Unit::Hour => self.later(SignedDuration::from_hours(1)),
            Unit::Minute => self.later(SignedDuration::from_mins(1)),
            Unit::Second => self.later(SignedDuration::from_secs(1)),
        }
    }

    /// The same day of the next month; where that has fewer days, so many days into the month after it.
    fn next_month(self) -> Option<Self> {
        let first = self.wall.first_of_month().checked_add(1.month()).ok()?;
        self.on(first.checked_add((i32::from(self.wall.day()) - 1).days()).ok()?)
    }

    /// The next day, brought towards midnight if clocks have changed since.
    fn next_day(self) -> Option<Self> {
        // A zone that changed sides of the date line left a day out, and who asks for it stays where he is:
        // Kubernetes' controller would never come back. This is the one thing not done as it does.
        let mut days = (1..=2).filter_map(|days| self.on(self.wall.checked_add(days.days()).ok()?));
        let next = days.find(|day| day.instant > self.instant)?;
        let hour = i64::from(next.wall.hour());
        next.later(SignedDuration::from_hours(if hour > 12 { 24 - hour } else { -hour }))
    }
}
