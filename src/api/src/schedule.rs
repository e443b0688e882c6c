//! Schedules and their time zones, wherever a spec has them.
use model::{Schedule, Violation};

/// Says everything that Kubernetes would refuse of a schedule and its time zone, which are fields of `parent`.
///
/// The CronJob would be refused for the same, but only after the object was stored, and in the words of
/// an object that the user does not know.
pub(crate) fn violations(parent: &str, schedule: &str, time_zone: Option<&str>) -> Vec<Violation> {
    let flaws = Schedule::flaws(schedule, given(time_zone));
    let field = |name| format!("{parent}.{name}");
    flaws.iter().map(|flaw| Violation::new(field(flaw.field()), flaw.to_string())).collect()
}

/// A time zone that is empty is none.
pub(crate) fn given(time_zone: Option<&str>) -> Option<&str> {
    time_zone.filter(|zone| !zone.is_empty())
}
