use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::apiserver::{Step, answers, client, ignores, noon, refuses};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/backup/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/backup/leases/kubedr-operator";

fn lease(holder: &str, renewed: &str, transitions: i32) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "kubedr-operator", "namespace": "backup", "resourceVersion": "7" },
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 10, "leaseTransitions": transitions,
            "acquireTime": "2030-01-01T11:00:00.000000Z", "renewTime": renewed,
        },
    })
}

fn mine() -> Value {
    lease("me", "2030-01-01T12:00:00.000000Z", 1)
}

fn theirs(renewed: &str) -> Value {
    lease("them", renewed, 1)
}

fn elector(script: Vec<Step>) -> (Elector, crate::apiserver::Heard) {
    let (client, heard) = client(script);
    (Elector::new(client, "backup", ("kubedr-operator", "me".to_owned()), noon), heard)
}

fn read(body: Value) -> Step {
    answers(&format!("GET {LEASE}"), 200, body)
}

fn written(body: Value) -> Step {
    answers(&format!("PUT {LEASE}"), 200, body)
}

#[tokio::test(start_paused = true)]
async fn the_first_makes_the_lease() {
    let (mut elector, heard) = elector(vec![
        refuses(&format!("GET {LEASE}"), 404, "NotFound"),
        answers(&format!("POST {LEASES}"), 201, mine()),
    ]);
    elector.acquire().await;
    drop(elector);
    let heard = heard.await.expect("every request");
    assert_eq!(heard[1].1["spec"]["holderIdentity"], "me");
}

/// The holder's clock is a year behind: only that its record does not change counts.
#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_followed_after_the_record_stood_still_for_its_duration() {
    let old = "2029-01-01T12:00:00.000000Z";
    let mut script: Vec<Step> = (0..5).map(|_| read(theirs(old))).collect();
    script.extend([read(theirs(old)), written(mine())]);
    let (mut elector, heard) = elector(script);
    let begun = Instant::now();
    elector.acquire().await;
    assert_eq!(begun.elapsed().as_secs(), 10);
    drop(elector);
    let put = &heard.await.expect("every request")[6].1;
    assert_eq!(put["spec"]["leaseTransitions"], 2);
    assert_eq!(put["metadata"]["resourceVersion"], "7");
}

/// It ends between two tries.
#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_followed_in_the_moment_in_which_its_record_ends() {
    let mut short = theirs("2030-01-01T12:00:00.000000Z");
    short["spec"]["leaseDurationSeconds"] = json!(5);
    let mut script: Vec<Step> = (0..4).map(|_| read(short.clone())).collect();
    script.push(written(mine()));
    let (mut elector, heard) = elector(script);
    let begun = Instant::now();
    elector.acquire().await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    drop(elector);
    heard.await.expect("every request");
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_not_asked_about_without_a_pause() {
    let mut short = theirs("2030-01-01T12:00:00.000000Z");
    short["spec"]["leaseDurationSeconds"] = json!(1);
    let script = vec![
        read(short.clone()),
        read(short.clone()),
        refuses(&format!("PUT {LEASE}"), 500, "InternalError"),
        read(short),
        written(mine()),
    ];
    let (mut elector, _heard) = elector(script);
    let begun = Instant::now();
    elector.acquire().await;
    assert_eq!(begun.elapsed().as_secs(), 1 + PAUSE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_is_waited_for() {
    let script = (10..40).map(|second| read(theirs(&format!("2030-01-01T12:00:{second}.000000Z")))).collect();
    let (mut elector, heard) = elector(script);
    tokio::time::timeout(Duration::from_secs(59), elector.acquire()).await.expect_err("they hold it");
    drop(elector);
    heard.await.expect("every request");
}

#[tokio::test(start_paused = true)]
async fn of_two_that_are_equally_fast_one_waits() {
    let (mut elector, heard) = elector(vec![
        read(lease("", "2030-01-01T12:00:00.000000Z", 1)),
        refuses(&format!("PUT {LEASE}"), 409, "Conflict"),
        read(theirs("2030-01-01T12:00:01.000000Z")),
    ]);
    tokio::time::timeout(Duration::from_secs(3), elector.acquire()).await.expect_err("they were faster");
    drop(elector);
    heard.await.expect("every request");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_begins() {
    let script = vec![read(mine()), written(mine()), ignores(&format!("GET {LEASE}"))];
    let (mut elector, _heard) = elector(script);
    elector.acquire().await;
    let begun = Instant::now();
    elector.hold().await;
    assert!(begun.elapsed() < DURATION, "{:?}", begun.elapsed());
}

/// Of several API servers one has lost its power: another answers the next request.
#[tokio::test(start_paused = true)]
async fn one_request_that_hangs_costs_no_leadership() {
    let script = vec![
        read(mine()),
        written(mine()),
        ignores(&format!("GET {LEASE}")),
        read(mine()),
        written(mine()),
        read(mine()),
        ignores(&format!("PUT {LEASE}")),
        read(mine()),
        written(mine()),
        read(theirs("2030-01-01T12:00:01.000000Z")),
    ];
    let (mut elector, _heard) = elector(script);
    elector.acquire().await;
    elector.hold().await;
    assert_eq!(elector.holder(), "them", "all was asked");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_lease_does_not_wait_for_a_request_that_hangs() {
    let script = vec![ignores(&format!("GET {LEASE}")), read(mine()), written(mine())];
    let (mut elector, _heard) = elector(script);
    let begun = Instant::now();
    elector.acquire().await;
    assert_eq!(begun.elapsed().as_secs(), LONGEST.as_secs());
}

/// The reconciles of a leader that is told to stop are held by the lease, and not for longer than before.
#[rstest]
#[case::is_refused(refuses(&format!("GET {LEASE}"), 500, "InternalError"))]
#[case::hangs(ignores(&format!("GET {LEASE}")))]
#[tokio::test(start_paused = true)]
async fn who_holds_again_leads_no_longer_where_each_request(#[case] first: Step) {
    let mut script = vec![read(mine()), written(mine()), first];
    script.extend((0..2).map(|_| ignores(&format!("GET {LEASE}"))));
    let (mut elector, _heard) = elector(script);
    elector.acquire().await;
    let begun = Instant::now();
    tokio::time::timeout(PAUSE + LONGEST, elector.hold()).await.expect_err("there is time left");
    elector.hold().await;
    assert_eq!(begun.elapsed().as_secs(), DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_replaced_stops_at_once() {
    let script = vec![read(mine()), written(mine()), read(theirs("2030-01-01T12:00:01.000000Z"))];
    let (mut elector, _heard) = elector(script);
    elector.acquire().await;
    let begun = Instant::now();
    elector.hold().await;
    assert_eq!(begun.elapsed(), PAUSE);
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_free_and_one_of_others_is_left_alone() {
    let (mut first, heard) = elector(vec![read(mine()), written(mine())]);
    first.release().await;
    drop(first);
    let put = &heard.await.expect("every request")[1].1;
    assert_eq!(put["spec"].get("holderIdentity"), None);
    let (mut second, heard) = elector(vec![read(theirs("2030-01-01T12:00:01.000000Z"))]);
    second.release().await;
    drop(second);
    heard.await.expect("every request");
}
