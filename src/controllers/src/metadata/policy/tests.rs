use kube::{api::DynamicObject, runtime::watcher::Event};
use rstest::rstest;
use runtime::CallError;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::fixtures::{self, answering, world};

/// When the plan of a first look had it look again.
const PLANNED: Duration = Duration::from_secs(1);

#[rstest]
#[case::once_it_is_written(Ok(Done::default()), true)]
#[case::beside_an_object_that_is_refused(
    Err(Error::NameTaken { kind: "CronJob".to_owned(), name: "a".to_owned() }),
    true
)]
#[case::not_while_the_api_server_is_away(
    Err(Error::Write { kind: "status".to_owned(), name: "a".to_owned(), source: CallError::TimedOut }),
    false
)]
fn what_was_seen_is_told(#[case] done: Result<Done, Error>, #[case] expected: bool) {
    assert_eq!(may_be_told(&done), expected);
}

/// A policy, just created.
fn new(suspend: bool) -> World {
    let mut world = world();
    world.policy.spec.suspend = suspend;
    world
}

/// What the API server answers to the writes of a first look.
fn answers(world: &World) -> [Value; 2] {
    let plan = decide::decide(world);
    let (mut cronjob, mut policy) = (json!(plan.apply[0]), json!(world.policy));
    cronjob["metadata"]["uid"] = json!("cronjob-uid");
    cronjob["metadata"]["resourceVersion"] = json!("7");
    cronjob["metadata"]["creationTimestamp"] = json!("2030-01-01T12:00:00Z");
    policy["metadata"]["resourceVersion"] = json!("8");
    policy["status"] = plan.status.expect("a first status").data["status"].clone();
    [cronjob, policy]
}

/// When a look is followed by another, if these are the answers to what it wrote.
fn again(world: World, answers: [Value; 2]) -> Option<Duration> {
    let stored = answers.map(fixtures::object::<DynamicObject>).into();
    settled(world, Done { writes: 2, again: Some(PLANNED), stored }).again
}

#[test]
fn no_look_follows_one_that_left_nothing_to_do() {
    let world = new(true);
    let answers = answers(&world);
    assert_eq!(again(world, answers), None, "as if all had been read");
}

#[rstest]
#[case::the_cronjob_is_not_as_it_was_applied("/spec/schedule", json!("1 1 1 1 1"), 0)]
#[case::the_spec_has_changed_since_it_was_read("/spec/etcdEndpoint", json!("https://10.0.0.5:2379"), 1)]
#[case::the_policy_waits_for_a_finalizer_by_now("/metadata/finalizers", json!([api::names::UPSTREAM_FINALIZERS[1]]), 1)]
#[case::the_policy_has_another_shape_by_now("/spec/schedule", json!(7), 1)]
fn another_look_follows_where(#[case] path: &str, #[case] value: Value, #[case] of: usize) {
    let world = new(true);
    let mut answers = answers(&world);
    answers[of]["metadata"]["finalizers"] = json!([]);
    *answers[of].pointer_mut(path).expect("a field") = value;
    assert_eq!(again(world, answers), Some(Duration::ZERO));
}

/// When the first backup is due follows from when the CronJob was made.
#[test]
fn another_look_follows_where_there_is_more_to_tell() {
    let world = new(false);
    let answers = answers(&world);
    assert_eq!(again(world, answers), Some(Duration::ZERO));
}

/// An API server that takes a value back each time would otherwise be asked for it without a pause.
#[test]
fn a_write_that_changed_nothing_is_followed_by_the_look_that_was_planned() {
    let mut world = new(true);
    let [mut cronjob, _] = answers(&world);
    cronjob["spec"]["schedule"] = json!("1 1 1 1 1");
    world.cronjob = Some(fixtures::object(cronjob.clone()));
    let stored = vec![fixtures::object(cronjob)];
    assert_eq!(settled(world, Done { writes: 1, again: Some(PLANNED), stored }).again, Some(PLANNED));
}

/// What a watch brings if it brings these states of a policy while a look writes a status, which is answered by "7".
async fn brought(versions: impl IntoIterator<Item = &'static str>) -> Vec<String> {
    let written = fixtures::policy();
    let answer = |version: &str| {
        let mut answer = json!(written);
        answer["metadata"]["resourceVersion"] = json!(version);
        answer
    };
    let stored = answer("7");
    let context = Arc::new(fixtures::context(answering(move |_| (200, stored.clone()))));
    let status = runtime::status_of(&written, &json!({ "records": 0 }));
    let look = async {
        sleep(Duration::from_millis(50)).await;
        act(&context.runtime, &written, Plan { status, ..Plan::default() }).await
    };
    let heard = versions.into_iter().map(|version| fixtures::object::<MetadataBackupPolicy>(answer(version)));
    let changes = futures::stream::iter(heard.map(Event::Apply).map(Ok));
    let news = news(watch::held(changes).applied_objects(), context.clone());
    let versions = news.map_ok(|policy| policy.resource_version().unwrap_or_default()).try_collect();
    let (done, versions) = tokio::join!(look, versions);
    done.expect("written");
    versions.expect("no error")
}

#[tokio::test(start_paused = true)]
async fn a_watch_brings_all_but_what_a_look_wrote_also_where_it_is_sooner_than_the_answer() {
    assert_eq!(brought(["6", "7", "7", "8"]).await, ["6", "7", "8"]);
}
