//! Reads what may be written into `schedule`, in the dialect of Kubernetes.
use super::{
    Rhythm, beginning,
    calendar::{Calendar, Values},
    duration,
};

/// What is said whenever something is no schedule at all.
const ALLOWED: &str = "allowed are five fields (minute, hour, day of month, month, day of week), @hourly, \
                       @daily, @midnight, @weekly, @monthly, @yearly, @annually, and \"@every 1h30m\"";

const MINUTE: Field = Field { name: "minute", lowest: 0, highest: 59, names: &[] };
const HOUR: Field = Field { name: "hour", lowest: 0, highest: 23, names: &[] };
const DAY: Field = Field { name: "day of month", lowest: 1, highest: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    lowest: 1,
    highest: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Sunday is 0, and never 7.
const WEEKDAY: Field = Field {
    name: "day of week",
    lowest: 0,
    highest: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// Reads a schedule, or says what is wrong with it and what is allowed.
pub fn rhythm(text: &str) -> Result<Rhythm, String> {
    // The library would take a time zone in front; Kubernetes refuses the letters wherever they stand.
    if text.contains("TZ") {
        return Err("a time zone belongs into timeZone".to_owned());
    }
    if text.starts_with('@') { descriptor(text) } else { calendar(text).map(Rhythm::Calendar) }
}

fn descriptor(text: &str) -> Result<Rhythm, String> {
    if let Some(duration) = text.strip_prefix("@every ") {
        let found = beginning(duration);
        let refused = || format!("{found:?} is not a duration such as \"1h30m\" (h, m, s, ms, us, ns)");
        return duration::whole_seconds(duration).map(Rhythm::Every).ok_or_else(refused);
    }
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return Err(ALLOWED.to_owned()),
    };
    calendar(fields).map(Rhythm::Calendar)
}

fn calendar(text: &str) -> Result<Calendar, String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(format!("it has {} fields; {ALLOWED}", fields.len()));
    };
    Ok(Calendar {
        minutes: MINUTE.values(minute)?,
        hours: HOUR.values(hour)?,
        days: DAY.values(day)?,
        months: MONTH.values(month)?,
        weekdays: WEEKDAY.values(weekday)?,
    })
}

/// What one of the five fields may say.
struct Field {
    name: &'static str,
    lowest: u64,
    highest: u64,
    /// Of the lowest value and those that follow.
    names: &'static [&'static str],
}

impl Field {
    /// A list: what lies between commas, where nothing may lie too.
    fn values(&self, text: &str) -> Result<Values, String> {
        let ranges = text.split(',').filter(|range| !range.is_empty());
        let ranges = ranges.map(|range| self.range(range).ok_or_else(|| self.refusal(range)));
        ranges.reduce(|all, more| Ok(all?.and(more?))).unwrap_or(Ok(Values::default()))
    }

    /// One value or range, with a step or without: `5`, `1-5`, `*/15`, `5/15`.
    fn range(&self, text: &str) -> Option<Values> {
        let (span, step) = match text.split('/').collect::<Vec<_>>()[..] {
            [span] => (span, None),
            [span, step] => (span, Some(number(step)?)),
            _ => return None,
        };
        let ends: Vec<&str> = span.split('-').collect();
        let (from, to) = match ends[..] {
            // Whatever follows a star is never looked at.
            ["*" | "?", ..] => (self.lowest, self.highest),
            [from] if step.is_some() => (self.value(from)?, self.highest),
            [only] => self.value(only).map(|value| (value, value))?,
            [from, to] => (self.value(from)?, self.value(to)?),
            _ => return None,
        };
        let has_star = matches!(ends[0], "*" | "?") && step.unwrap_or(1) == 1;
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
        let fits = self.lowest <= from && from <= to && to <= self.highest && step > 0;
        fits.then(|| Values::new((from..=to).step_by(step), has_star))
    }

    fn value(&self, text: &str) -> Option<u64> {
        let name = lower_case(text);
        let named = (self.lowest..).zip(self.names).find(|(_, known)| **known == name);
        named.map(|(value, _)| value).or_else(|| number(text))
    }

    fn refusal(&self, found: &str) -> String {
        let names = match self.names {
            [first, .., last] => format!(" or {first:?} to {last:?}"),
            _ => String::new(),
        };
        format!(
            "{} {:?} is not allowed; allowed are {} to {}{names}, \"*\", ranges (\"1-5\"), steps (\"*/5\") \
             and lists (\"1,3\") of them",
            self.name,
            beginning(found),
            self.lowest,
            self.highest
        )
    }
}

/// A number as Go's `Atoi` reads it: a sign is allowed.
fn number(text: &str) -> Option<u64> {
    text.parse::<i64>().ok().and_then(|number| number.try_into().ok())
}

/// Lower case as Go has it: one character for one, which makes an `i` of the Turkish `İ`.
fn lower_case(text: &str) -> String {
    text.chars().filter_map(|character| character.to_lowercase().next()).collect()
}
