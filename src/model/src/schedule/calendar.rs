//! What the five fields of a schedule allow.
use jiff::civil::{Date, DateTime};

/// Minutes, hours and days on which something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub minutes: Values,
    pub hours: Values,
    pub days: Values,
    pub months: Values,
    pub weekdays: Values,
}

/// Parts of a date and time, each with values that a schedule allows or does not.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    pub const COARSE_TO_FINE: [Self; 5] = [Self::Month, Self::Day, Self::Hour, Self::Minute, Self::Second];

    /// Whether this part has its first value, so that the parts above it have just changed.
    pub fn is_first_in(self, wall: DateTime) -> bool {
        match self {
            Self::Month => wall.month() == 1,
            Self::Day => wall.day() == 1,
            Self::Hour => wall.hour() == 0,
            Self::Minute => wall.minute() == 0,
            Self::Second => wall.second() == 0,
        }
    }
}

impl Calendar {
    pub fn allows(&self, unit: Unit, wall: DateTime) -> bool {
        match unit {
            Unit::Month => self.months.has(wall.month()),
            Unit::Day => self.allows_day(wall.date()),
            Unit::Hour => self.hours.has(wall.hour()),
            Unit::Minute => self.minutes.has(wall.minute()),
            Unit::Second => wall.second() == 0,
        }
    }

    /// Of two restricted day fields one is enough. A star restricts nothing, so that the other decides;
    /// one with a step restricts.
    fn allows_day(&self, date: Date) -> bool {
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        if self.days.has_star || self.weekdays.has_star { day && weekday } else { day || weekday }
    }

    /// Whether there is no minute of a day to look for. A field of nothing but commas is accepted and
    /// allows nothing; without this, each question would cost a walk through five years of minutes.
    pub fn is_never(&self) -> bool {
        self.minutes.bits == 0 || self.hours.bits == 0
    }
}

/// A set of small numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    bits: u64,
    /// Whether it was written as a star without a step, alone or among others.
    has_star: bool,
}

impl Values {
    pub fn new(numbers: impl Iterator<Item = u64>, has_star: bool) -> Self {
        Self { bits: numbers.fold(0, |bits, number| bits | (1 << number)), has_star }
    }

    pub fn and(self, more: Self) -> Self {
        Self { bits: self.bits | more.bits, has_star: self.has_star || more.has_star }
    }

    fn has(self, number: i8) -> bool {
        self.bits & (1 << number) != 0
    }
}
