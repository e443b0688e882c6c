use jiff::tz;
use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn at(time: &str) -> Timestamp {
    time.parse().expect("a timestamp")
}

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text, None).expect("a schedule")
}

#[rstest]
#[case::too_high("61 * * * *", "minute \"61\" is not allowed; allowed are 0 to 59")]
#[case::sunday_as_seven(
    "0 0 * * 7",
    "day of week \"7\" is not allowed; allowed are 0 to 6 or \"sun\" to \"sat\""
)]
#[case::backwards("0 22-6 * * *", "hour \"22-6\" is not allowed")]
#[case::the_bad_part_of_a_list("0 0 1,32 * *", "day of month \"32\" is not allowed")]
#[case::last_day_of_a_month("0 0 L * *", "day of month \"L\" is not allowed")]
#[case::seconds("0 0 0 * * *", "it has 6 fields; allowed are five fields")]
#[case::nothing("", "it has 0 fields; allowed are five fields")]
#[case::other_descriptor("@reboot", "allowed are five fields")]
#[case::no_duration("@every day", "\"day\" is not a duration")]
#[case::time_zone("TZ=UTC 0 0 * * *", "a time zone belongs into timeZone")]
fn refusal_says_what_is_allowed(#[case] text: &str, #[case] expected: &str) {
    let error = Schedule::parse(text, None).expect_err(text);
    assert_eq!(error.field(), "schedule");
    let said = error.to_string();
    assert!(said.starts_with(&format!("{text:?} is not a schedule: {expected}")), "{said}");
}

#[rstest]
#[case::other_case("europe/berlin")]
#[case::no_name("")]
#[case::of_the_machine("Local")]
#[case::jiffs_own("Etc/Unknown")]
#[case::rule("CET-1CEST,M3.5.0,M10.5.0/3")]
fn unknown_time_zone_is_refused(#[case] zone: &str) {
    let error = Schedule::parse("0 0 * * *", Some(zone)).expect_err(zone);
    assert_eq!(error.field(), "timeZone");
    assert!(error.to_string().starts_with(&format!("{zone:?} is not a time zone: allowed are")), "{error}");
}

#[test]
fn schedule_is_named_before_its_time_zone() {
    let error = Schedule::parse("never", Some("nowhere")).expect_err("both are wrong");
    assert_eq!(error.field(), "schedule");
}

#[rstest]
#[case::both("never", Some("nowhere"), &["schedule", "timeZone"])]
#[case::the_zone_alone("@daily", Some("nowhere"), &["timeZone"])]
#[case::the_schedule_alone("never", Some("Europe/Berlin"), &["schedule"])]
#[case::a_schedule_without_a_zone("never", None, &["schedule"])]
#[case::neither("@daily", None, &[])]
fn all_flaws_are_named_of(#[case] text: &str, #[case] zone: Option<&str>, #[case] expected: &[&str]) {
    let fields: Vec<_> = Schedule::flaws(text, zone).iter().map(InvalidSchedule::field).collect();
    assert_eq!(fields, expected);
}

#[rstest]
#[case::no_descriptor("@", None)]
#[case::long_duration("@every ", None)]
#[case::long_field("* * * * ", None)]
#[case::long_zone("* * * * *", Some("x"))]
fn long_text_is_cut_in_what_is_said_of_it(#[case] begin: &str, #[case] zone: Option<&str>) {
    let (text, zone) = match zone {
        None => (format!("{begin}{}", "x".repeat(10_000)), None),
        Some(zone) => (begin.to_owned(), Some(zone.repeat(10_000))),
    };
    let error = Schedule::parse(&text, zone.as_deref()).expect_err("no schedule");
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn equal_schedules_are_equal_however_they_are_written() {
    assert_eq!(schedule("@daily"), schedule(" 0 0 ? * *\t"));
    assert_ne!(schedule("0 0 * * *"), schedule("0 0 1-31 * *"), "a full range restricts, a star does not");
}

#[rstest]
#[case::none_yet("2030-01-01T00:00:00Z", "2030-01-01T23:59:59Z", None)]
#[case::now("2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z", Some("2030-01-02T00:00:00Z"))]
#[case::not_the_one_that_was_served("2030-01-02T00:00:00Z", "2030-01-02T12:00:00Z", None)]
#[case::a_year("2029-01-01T00:00:00Z", "2030-01-02T12:00:00Z", Some("2030-01-02T00:00:00Z"))]
#[case::clock_was_put_back("2030-01-05T00:00:00Z", "2030-01-01T00:00:00Z", None)]
fn last_daily_slot(#[case] since: &str, #[case] now: &str, #[case] expected: Option<&str>) {
    assert_eq!(schedule("@daily").last_between(at(since), at(now)), expected.map(at));
    assert_eq!(schedule("@every 24h").last_between(at(since), at(now)), expected.map(at));
}

#[test]
fn schedule_that_is_never_due_has_no_slots() {
    for never in ["0 0 30 2 *", ", * * * *", "* , * * *", "* * , * *", "* * * , *", "* * * * ,"] {
        let never = schedule(never);
        assert_eq!(never.next_after(at("2030-01-01T00:00:00Z")), None);
        assert_eq!(never.last_between(at("1970-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z")), None);
    }
}

#[rstest]
#[case::every_ten_minutes("*/10 * * * *", Some(10))]
#[case::of_hours_that_the_step_does_not_divide("*/7 * * * *", Some(7))]
#[case::duration("@every 90m", Some(90))]
#[case::daily("@daily", Some(24 * 60))]
#[case::night_after_office_hours("0 9-17 * * *", Some(16 * 60))]
#[case::weekend("0 9-17 * * 1-5", Some(64 * 60))]
#[case::longest_month("0 0 1 * *", Some(31 * 24 * 60))]
#[case::leap_year("0 0 1 1 *", Some(366 * 24 * 60))]
#[case::leap_days("0 0 29 2 *", Some(1461 * 24 * 60))]
#[case::never("0 0 30 2 *", None)]
#[case::no_minute(", * * * *", None)]
fn longest_interval(#[case] text: &str, #[case] minutes: Option<i64>) {
    let longest = schedule(text).longest_interval(at("2031-06-01T12:00:00Z"));
    assert_eq!(longest, minutes.map(SignedDuration::from_mins));
}

#[rstest]
#[case::every_ten_minutes("*/10 * * * *", Some(10))]
#[case::of_hours_that_the_step_does_not_divide("*/7 * * * *", Some(4))]
#[case::duration("@every 90m", Some(90))]
#[case::daily("@daily", Some(24 * 60))]
#[case::office_hours("0 9-17 * * 1-5", Some(60))]
#[case::around_midnight("0 1,23 * * *", Some(2 * 60))]
#[case::around_a_midnight_between_days_that_are_apart("0 1,23 * * 1,3", Some(22 * 60))]
#[case::shortest_month("0 0 1 * *", Some(29 * 24 * 60))]
#[case::never("0 0 30 2 *", None)]
fn shortest_interval(#[case] text: &str, #[case] minutes: Option<i64>) {
    let shortest = schedule(text).shortest_interval(at("2031-06-01T12:00:00Z"));
    assert_eq!(shortest, minutes.map(SignedDuration::from_mins));
}

#[rstest]
#[case::calendar("* * * * *")]
#[case::interval("@every 1m")]
#[case::long_interval("@every 2562047h")]
fn end_of_time_has_no_next_slot(#[case] text: &str) {
    assert_eq!(schedule(text).next_after(Timestamp::MAX), None);
    assert!(schedule(text).next_after(Timestamp::MIN).is_some());
    assert!(schedule(text).last_between(Timestamp::MIN, Timestamp::MAX).is_some());
}

#[test]
fn every_zone_of_the_database_is_known() {
    for name in tz::TimeZoneDatabase::bundled().available() {
        let zone = Schedule::parse("@daily", Some(name.as_str())).expect("known").zone;
        assert_eq!(zone.iana_name(), Some(name.as_str()));
    }
}

fn fields() -> impl Strategy<Value = String> {
    let field = || prop_oneof![Just("*".to_owned()), "[1-6]", "\\*/[1-9]", "[1-3]-[4-6]", "[1-6],[1-6]"];
    (field(), field(), field(), field(), field())
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

proptest! {
    #[test]
    fn any_text_is_accepted_or_refused(text in "[ -~]{0,40}|@every .{0,20}|([0-9*?/,a-z-]{1,5} ){5}") {
        drop(Schedule::parse(&text, Some(&text)));
    }

    #[test]
    fn next_slot_is_later(text in fields(), second in -2_000_000_000_i64..5_000_000_000) {
        let moment = Timestamp::from_second(second).expect("in range");
        let schedule = Schedule::parse(&text, Some("Europe/Berlin")).expect("a schedule");
        prop_assert!(schedule.next_after(moment).is_none_or(|slot| slot > moment));
    }

    #[test]
    fn no_interval_of_the_coming_year_is_longer_or_shorter(text in fields(), second in 0_i64..4_000_000_000) {
        let moment = Timestamp::from_second(second).expect("in range");
        let (schedule, year) = (schedule(&text), moment + SignedDuration::from_hours(365 * 24));
        let slots = std::iter::successors(schedule.next_after(moment), |slot| schedule.next_after(*slot));
        let slots: Vec<_> = slots.take_while(|slot| *slot < year).take(300).collect();
        let (shortest, longest) = (schedule.shortest_interval(moment), schedule.longest_interval(moment));
        for pair in slots.windows(2) {
            let apart = Some(pair[1].duration_since(pair[0]));
            prop_assert!(shortest <= apart && apart <= longest, "{pair:?} {shortest:?} {longest:?}");
        }
    }

    #[test]
    fn no_slot_follows_the_last(
        text in fields(), second in 0_i64..4_000_000_000, length in 0_i64..400_000_000,
    ) {
        let since = Timestamp::from_second(second).expect("in range");
        let now = Timestamp::from_second(second + length).expect("in range");
        let schedule = schedule(&text);
        match schedule.last_between(since, now) {
            Some(last) => {
                prop_assert!(since < last && last <= now);
                prop_assert!(schedule.next_after(last).is_none_or(|slot| slot > now));
            }
            None => prop_assert!(schedule.next_after(since).is_none_or(|slot| slot > now)),
        }
    }
}
