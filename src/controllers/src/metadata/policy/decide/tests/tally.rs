//! What metrics count of runs: it is noon of 2030-01-01.
use super::{
    slots::{HOURLY, scheduled},
    *,
};
use crate::metadata::policy::tally::Tally;

/// Succeeded, failed and missed.
fn counts(tally: &Tally) -> (i64, i64, i64) {
    let counts = tally.counts();
    (counts.succeeded, counts.failed, counts.missed)
}

/// What one who has seen nothing of these worlds counts, looking at each of them so often.
fn counted<'a>(worlds: impl IntoIterator<Item = &'a World>, times: usize) -> (i64, i64, i64) {
    let mut tally = Tally::default();
    for world in worlds {
        (0..times).for_each(|_| tally.count(world));
    }
    counts(&tally)
}

/// The world after its plan was carried out.
fn reported(mut world: World) -> World {
    let plan = decide(&world);
    world.policy.status = Some(told(&plan, &world));
    world
}

#[rstest]
#[case::nothing_while_nothing_ended(running().backing_up(), (0, 0, 0))]
#[case::one_that_succeeded(running().succeeded("11:00"), (1, 0, 0))]
#[case::one_that_failed(running().failed("11:00"), (0, 1, 0))]
#[case::each_of_several(running().succeeded("10:00").failed("10:30").succeeded("11:00"), (2, 1, 0))]
#[case::one_whose_pod_is_gone_but_has_a_record(running().succeeded("11:00").marked().drained(), (1, 0, 0))]
#[case::none_that_cannot_begin(running().hanging("ImagePullBackOff"), (0, 0, 0))]
fn counts_once(#[case] world: World, #[case] expected: (i64, i64, i64)) {
    assert_eq!(counted([&world], 1), expected);
    assert_eq!(counted([&world, &reported(world.clone())], 3), expected, "however often it looks");
}

#[test]
fn a_run_is_counted_when_it_ends_and_not_before() {
    let before = reported(running().succeeded("10:00"));
    let under_way = before.clone().backing_up();
    let mut tally = Tally::default();
    tally.count(&before);
    assert_eq!(counts(&tally), (0, 0, 0), "another leader has told of it, and counted it");
    tally.count(&under_way);
    tally.count(&before.clone().failed("11:30"));
    assert_eq!(counts(&tally), (0, 1, 0));
    tally.count(&reported(before.failed("11:30").succeeded("11:45")));
    assert_eq!(counts(&tally), (1, 1, 0));
}

#[test]
fn what_ended_while_nobody_led_is_counted_by_the_next_leader() {
    let world = reported(running().succeeded("10:00")).failed("10:30").succeeded("11:00");
    assert_eq!(counted([&world], 2), (1, 1, 0));
    assert_eq!(counted([&reported(world)], 2), (0, 0, 0));
}

#[test]
fn one_that_began_before_another_and_ended_after_it_is_counted_by_who_saw_it_run() {
    // Jobs of fixtures begin a minute before they end: what was started at 10:59 ends at last.
    let slow = running().succeeded("11:00");
    let mut under_way = slow.clone();
    under_way.backups[0].status.as_mut().expect("a status").conditions = None;
    under_way.pods.clear();
    let quick = reported(under_way.clone().failed("11:30"));
    let mut tally = Tally::default();
    tally.count(&under_way);
    tally.count(&quick);
    assert_eq!(counts(&tally), (0, 1, 0));
    let mut both = quick;
    both.backups[0] = slow.backups[0].clone();
    both.pods.extend(slow.pods);
    tally.count(&both);
    assert_eq!(counts(&tally), (1, 1, 0));
}

#[test]
fn a_cronjob_that_is_not_seen_for_a_moment_makes_nothing_new() {
    let world = running().succeeded("11:00");
    let unseen = World { cronjob: None, ..world.clone() };
    assert_eq!(counted([&world, &unseen, &world], 1), (1, 0, 0));
    let told = reported(world);
    let unseen = World { cronjob: None, ..told.clone() };
    assert_eq!(counted([&unseen, &told], 1), (0, 0, 0));
}

#[test]
fn the_time_of_a_success_is_counted_in_whole_seconds() {
    let mut tally = Tally::default();
    tally.count(&running().succeeded("10:00").failed("11:00"));
    let durations = &tally.counts().durations;
    assert_eq!((durations.count(), durations.sum().to_string()), (1, "3".to_owned()), "2.532 s, rounded up");
}

#[rstest]
#[case::none_while_one_may_still_begin(scheduled(HOURLY, None, Some("2030-01-01T11:00:00Z")), 0)]
#[case::one(scheduled(HOURLY, None, Some("2030-01-01T10:00:00Z")), 1)]
#[case::each_of_several(scheduled(HOURLY, None, Some("2030-01-01T03:00:00Z")), 8)]
#[case::none_that_a_long_run_took(scheduled(HOURLY, None, Some("2030-01-01T03:00:00Z")).succeeded("11:05"), 0)]
fn misses(#[case] world: World, #[case] expected: i64) {
    assert_eq!(counted([&world, &reported(world.clone())], 2).2, expected);
}

/// Of an hourly schedule these are eleven years.
#[test]
fn a_clock_that_is_ahead_for_years_counts_no_more_than_many_at_a_look_and_hides_nothing_later() {
    let noon = scheduled(HOURLY, None, Some("2030-01-01T10:00:00Z"));
    let at_the_time = |time: &str| World { now: at(time), ..noon.clone() };
    let mut tally = Tally::default();
    tally.count(&at_the_time("2099-01-01T00:00:00Z"));
    assert_eq!(counts(&tally), (0, 0, 100_000));
    tally.count(&at_the_time("2030-01-01T11:00:00Z"));
    assert_eq!(counts(&tally), (0, 0, 100_000), "nothing is missing now");
    tally.count(&at_the_time("2030-01-01T12:30:00Z"));
    assert_eq!(counts(&tally), (0, 0, 100_002), "those of 11 and 12 o'clock");
}

#[test]
fn slots_that_another_leader_told_of_are_counted_by_it_and_later_ones_by_the_next() {
    let noon = scheduled(HOURLY, None, Some("2030-01-01T10:00:00Z"));
    let told = reported(noon.clone());
    let later = World { now: at("2030-01-01T13:30:00Z"), ..told.clone() };
    assert_eq!(counted([&noon, &later], 1).2, 3, "those of 11, 12 and 13 o'clock");
    assert_eq!(counted([&told, &later], 1).2, 2);
}

#[test]
fn slots_missed_while_nobody_led_are_counted_by_the_next_leader_but_for_what_the_last_may_have_counted() {
    let noon = scheduled(HOURLY, None, Some("2030-01-01T10:00:00Z"));
    let later = World { now: at("2030-01-01T15:30:00Z"), ..reported(noon) };
    assert_eq!(counted([&later], 2).2, 3, "13 to 15 o'clock: that of 12 may have been seen until 13 o'clock");
}

#[test]
fn slots_missed_behind_a_run_that_hangs_are_counted_by_who_says_that_it_hangs() {
    let mut hung = scheduled(HOURLY, None, Some("2030-01-01T09:00:00Z")).begun_at_half_past_nine(3600);
    hung.pods.clear();
    let job = hung.backups.last_mut().expect("a Job");
    (job.status, hung.troubles) = (None, vec![("run-x-uid".to_owned(), "no quota".to_owned())]);
    let told = reported(hung.clone());
    assert_eq!(said(&told, FRESH), "False/Unschedulable");
    assert_eq!((counted([&hung], 1).2, counted([&told], 1).2), (2, 0));
}

#[test]
fn a_slow_run_that_ended_after_a_newer_one_is_counted_if_the_last_leader_cannot_have_seen_it() {
    let mut world = scheduled(HOURLY, None, Some("2030-01-01T12:00:00Z")).failed("11:00").failed("11:30");
    let slow = world.clone();
    world.backups[0].status.as_mut().expect("a status").conditions = None;
    world.pods.remove(0);
    let ended = |time: &str| {
        let mut world =
            World { now: at("2030-01-01T13:15:00Z"), pods: slow.pods.clone(), ..reported(world.clone()) };
        world.backups = slow.backups.clone();
        let status = world.backups[0].status.as_mut().expect("a status");
        status.conditions.as_mut().expect("conditions")[0].last_transition_time = Some(object(json!(time)));
        world
    };
    assert_eq!(counted([&ended("2030-01-01T13:10:00Z")], 2), (0, 1, 0));
    assert_eq!(
        counted([&ended("2030-01-01T12:50:00Z")], 2),
        (0, 0, 0),
        "the last leader may have led until one"
    );
}
