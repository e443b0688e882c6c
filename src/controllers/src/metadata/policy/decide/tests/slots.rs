//! What is said of runs that are due: it is noon of 2030-01-01.
use super::*;

/// A CronJob that was made the day before, and what the controller-manager did with it.
pub fn scheduled(schedule: &str, zone: Option<&str>, last: Option<&str>) -> World {
    let mut world = running();
    let cronjob = world.cronjob.as_mut().expect("a cronjob");
    cronjob.metadata.creation_timestamp = Some(object(json!("2029-12-31T00:30:00Z")));
    cronjob.status = Some(object(json!({ "lastScheduleTime": last })));
    let spec = cronjob.spec.as_mut().expect("a spec");
    (spec.schedule, spec.time_zone) = (schedule.to_owned(), zone.map(str::to_owned));
    world.with(|spec| (spec.schedule, spec.time_zone) = (schedule.to_owned(), zone.map(str::to_owned)))
}

fn changed(mut world: World, at: &str) -> World {
    let cronjob = world.cronjob.as_mut().expect("a cronjob");
    let ours = json!([{ "manager": "kubedr-operator/policy", "operation": "Apply", "time": at }]);
    cronjob.metadata.managed_fields = Some(object(ours));
    world
}

fn suspended_there(mut world: World) -> World {
    world.cronjob.as_mut().and_then(|cronjob| cronjob.spec.as_mut()).expect("a spec").suspend = Some(true);
    world.with(|spec| spec.suspend = true)
}

pub const HOURLY: &str = "0 * * * *";

#[rstest]
#[case::begin_as_they_should(
    scheduled(HOURLY, None, Some("2030-01-01T12:00:00Z")),
    "Unknown/Pending",
    "13:00"
)]
#[case::may_still_begin(scheduled(HOURLY, None, Some("2030-01-01T11:00:00Z")), "Unknown/Pending", "13:00")]
#[case::do_not_begin(scheduled(HOURLY, None, Some("2030-01-01T10:00:00Z")), "False/MissedRun", "13:00")]
#[case::never_began(scheduled(HOURLY, Some("UTC"), None), "False/MissedRun", "13:00")]
#[case::are_of_a_schedule_that_was_changed_since(
    changed(scheduled(HOURLY, None, Some("2030-01-01T03:00:00Z")), "2030-01-01T11:30:00Z"),
    "Unknown/Pending",
    "13:00"
)]
#[case::wait_for_one_that_goes_on(
    scheduled(HOURLY, None, Some("2030-01-01T10:00:00Z")).backing_up(), "Unknown/Pending", "13:00"
)]
#[case::were_taken_by_one_that_took_long(
    scheduled(HOURLY, None, Some("2030-01-01T09:00:00Z")).succeeded("11:05"), "True/Fresh", "13:00"
)]
#[case::failed_before_that(
    scheduled(HOURLY, None, Some("2030-01-01T09:00:00Z")).failed("09:05"), "False/MissedRun", "13:00"
)]
#[case::are_suspended(suspended_there(scheduled(HOURLY, None, None)), "Unknown/Pending", "")]
#[case::are_due_elsewhere(
    scheduled("30 6 * * *", Some("America/New_York"), Some("2029-12-31T11:30:00Z")),
    "False/MissedRun",
    "11:30"
)]
#[case::wait_for_one_that_goes_on_for_hours(
    scheduled(HOURLY, None, Some("2030-01-01T09:00:00Z")).begun_at_half_past_nine(6 * 3600), "Unknown/Pending", "13:00"
)]
#[case::began_but_nobody_ended_them(
    scheduled(HOURLY, None, Some("2030-01-01T09:00:00Z")).begun_at_half_past_nine(3600), "False/MissedRun", "13:00"
)]
#[case::are_of_another_schedule_than_the_last_one(
    changed(scheduled("0 3 * * *", None, Some("2030-01-01T02:00:00Z")), "2030-01-01T02:30:00Z"),
    "Unknown/Pending",
    "03:00"
)]
#[case::follow_one_another_whatever_a_person_asks_for(
    scheduled("@every 3h", None, Some("2030-01-01T09:30:00Z")).succeeded("11:00"), "True/Fresh", "12:30"
)]
#[case::have_never_begun_where_nobody_knows_the_zone(
    scheduled("0 0 * * *", None, None),
    "Unknown/Pending",
    "00:00"
)]
#[case::are_due_by_a_clock_that_nobody_knows(
    scheduled("0 6 * * *", None, Some("2029-12-31T05:00:00Z")),
    "Unknown/Pending",
    ""
)]
#[case::follow_one_another(
    scheduled("@every 3h", None, Some("2030-01-01T07:00:00Z")),
    "False/MissedRun",
    "13:00"
)]
#[case::never_come(scheduled("0 0 30 2 *", None, None), "Unknown/Pending", "")]
fn runs_that(#[case] world: World, #[case] fresh: &str, #[case] next: &str) {
    let plan = decide(&world);
    assert_eq!(said(&world, FRESH), fresh);
    let found = told(&plan, &world).next_schedule_time.map(|next| next.0.to_string());
    assert_eq!(found.as_deref().map_or("", |time| &time[11..16]), next, "{found:?}");
    let warned = plan.events.iter().filter(|event| event.word == Reason::MissedRun).count();
    assert_eq!(warned, usize::from(fresh.ends_with("MissedRun")), "{:?}", plan.events);
    assert!(decide(&world.written()).events.is_empty(), "told once");
}

impl World {
    /// With a Job that has not ended and may take so many seconds.
    pub(super) fn begun_at_half_past_nine(self, deadline: i64) -> Self {
        let mut world = self.backing_up();
        let job = world.backups.last_mut().expect("a Job");
        let began = json!("2030-01-01T09:30:00Z");
        job.metadata.creation_timestamp = Some(object(began.clone()));
        job.status = Some(object(json!({ "startTime": began })));
        job.spec = Some(object(json!({ "activeDeadlineSeconds": deadline, "template": {} })));
        world
    }
}

#[test]
fn a_run_that_was_missed_stays_so_until_a_later_one_has_ended() {
    let missed = scheduled(HOURLY, None, Some("2030-01-01T10:00:00Z")).succeeded("09:05").written();
    let mut changed = changed(missed, "2030-01-01T11:50:00Z");
    let told = changed.policy.status.as_mut().expect("a status");
    let fresh = told.conditions.iter_mut().find(|condition| condition.type_ == FRESH).expect("Fresh");
    fresh.last_transition_time = object(json!("2030-01-01T11:21:00Z"));
    assert_eq!(said(&changed, FRESH), "False/MissedRun");
    assert_eq!(said(&changed.clone().succeeded("11:21"), FRESH), "False/MissedRun", "it began at 11:20");
    assert_eq!(said(&changed.succeeded("11:22"), FRESH), "True/Fresh", "it began in the same second");
}

#[test]
fn what_is_due_every_so_often_may_begin_as_late() {
    let deadline = |schedule: &str| {
        let world = new().with(|spec| spec.schedule = schedule.to_owned());
        built(&world).spec.and_then(|spec| spec.starting_deadline_seconds)
    };
    assert_eq!((deadline("@every 3h"), deadline("@daily")), (Some(600 + 3 * 3600), Some(600)));
}

#[test]
fn a_run_that_may_still_begin_is_looked_for_when_it_may_no_more() {
    let mut world = scheduled(HOURLY, None, Some("2030-01-01T11:00:00Z"));
    world.now = at("2030-01-01T12:17:00Z");
    assert_eq!(decide(&world).again, Some(Duration::from_mins(3)));
    world.now = at("2030-01-01T12:20:00Z");
    assert_eq!(said(&world, FRESH), "False/MissedRun");
}

/// The same at another time of the operator's clock.
fn seen_at(world: &World, time: &str) -> World {
    World { now: at(time), ..world.clone() }
}

#[test]
fn a_clock_that_was_ahead_for_years_is_not_believed_once_it_is_right_again() {
    let noon = scheduled(HOURLY, None, Some("2030-01-01T12:00:00Z")).succeeded("11:05").written();
    let ahead = seen_at(&noon, "2099-01-01T00:00:00Z");
    assert_eq!(said(&ahead, FRESH), "False/MissedRun");
    let back = World { now: noon.now, ..ahead.written() };
    assert_eq!(said(&back, FRESH), "True/Fresh");
    let missing = seen_at(&back.written(), "2030-01-01T13:20:00Z");
    assert_eq!(said(&missing, FRESH), "False/MissedRun", "what is missing by a right clock is");
}

#[test]
fn a_clock_that_was_ahead_is_forgotten_with_the_next_run_where_there_was_none() {
    let noon = scheduled(HOURLY, None, Some("2030-01-01T12:00:00Z"));
    let back = World { now: noon.now, ..seen_at(&noon, "2099-01-01T00:00:00Z").written() };
    assert_eq!(said(&back, FRESH), "False/MissedRun", "nothing better is known");
    assert_eq!(said(&back.succeeded("11:59"), FRESH), "True/Fresh");
}

#[rstest]
#[case::before_the_cronjob_was_made("2029-12-30T00:00:00Z", "2029-12-31T01:00:00Z")]
#[case::that_begins_anew("1970-01-01T00:00:00Z", "2029-12-31T01:00:00Z")]
fn by_a_clock_that_is_behind_nothing_is_missing(#[case] now: &str, #[case] next: &str) {
    let world = scheduled(HOURLY, Some("UTC"), None);
    let early = seen_at(&world, now);
    assert_eq!(said(&early, FRESH), "Unknown/Pending");
    let told = told(&decide(&early), &early);
    assert_eq!(told.next_schedule_time.map(|next| next.0), Some(at(next)));
    assert_eq!(said(&seen_at(&early.written(), NOW), FRESH), "False/MissedRun");
}
