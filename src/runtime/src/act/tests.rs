use k8s_openapi::api::core::v1::ConfigMap;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::apiserver::{Step, answers, context, ignores, refuses};

const JOBS: &str = "/apis/batch/v1/namespaces/backup/jobs";
const JOB: &str = "/apis/batch/v1/namespaces/backup/jobs/etcd-1";

fn job(owner: &str, deleted: bool) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": "etcd-1", "namespace": "backup", "uid": "job-uid",
            "deletionTimestamp": deleted.then_some("2030-01-01T11:00:00Z"),
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "Policy", "name": "etcd", "uid": owner, "controller": true },
            ],
        },
    })
}

fn ours() -> DynamicObject {
    serde_json::from_value(job("ours", false)).expect("an object")
}

fn policy() -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": "etcd", "namespace": "backup", "uid": "ours" } }))
        .expect("an object")
}

fn target() -> Target {
    Target {
        types: ours().types.expect("a type"),
        namespace: "backup".into(),
        name: "etcd-1".into(),
        uid: "job-uid".into(),
        version: None,
    }
}

fn event() -> Event {
    Event {
        importance: Importance::Warning,
        reason: "BackupFailed",
        action: "backup",
        word: model::Reason::EtcdUnreachable,
        message: "nothing answers".to_owned(),
    }
}

async fn outcome(plan: Plan, script: Vec<Step>) -> (Result<Done, Error>, Vec<(String, Value)>) {
    let (ctx, heard) = context(script);
    let result = act(&ctx, &policy(), plan).await;
    drop(ctx);
    (result, heard.await.expect("every expected request arrived"))
}

fn reason(result: &Result<Done, Error>) -> Option<&'static str> {
    result.as_ref().err().map(|error| error.reason().as_str())
}

#[tokio::test]
async fn writes_happen_in_the_order_of_the_plan() {
    let plan = Plan {
        create: vec![ours()],
        apply: vec![ours()],
        delete: vec![target()],
        status: Some(ours()),
        events: vec![event()],
        patch: vec![MetadataPatch::annotation(target(), "a", "b")],
        again: Some(Duration::from_secs(5)),
    };
    let (result, heard) = outcome(
        plan,
        vec![
            answers(&format!("POST {JOBS}"), 201, job("ours", false)),
            answers(&format!("PATCH {JOB}"), 200, job("ours", false)),
            answers(&format!("DELETE {JOB}"), 200, job("ours", true)),
            answers(&format!("PATCH {JOB}/status"), 200, job("since", false)),
            answers("POST /apis/events.k8s.io/v1/namespaces/backup/events", 201, json!({ "metadata": {} })),
            answers(&format!("PATCH {JOB}"), 200, job("ours", false)),
        ],
    )
    .await;
    let stored =
        ["ours", "since"].map(|owner| serde_json::from_value(job(owner, false)).expect("an object")).into();
    assert_eq!(result.expect("done"), Done { writes: 6, again: Some(Duration::from_secs(5)), stored });
    assert!(heard[1].0.contains("force=true") && heard[1].0.contains("fieldManager=kubedr-operator%2Ftest"));
    assert_eq!(heard[2].1["preconditions"]["uid"], "job-uid");
    assert_eq!(heard[2].1["propagationPolicy"], "Foreground");
    assert_eq!(heard[4].1["note"], "EtcdUnreachable: nothing answers");
    assert_eq!(heard[4].1["regarding"]["uid"], "ours");
    assert_eq!(heard[5].1, json!({ "metadata": { "uid": "job-uid", "annotations": { "a": "b" } } }));
}

#[rstest]
#[case::own_leftover_is_adopted(job("ours", false), None)]
#[case::own_leftover_that_is_going_away_is_waited_for(job("ours", true), Some("ApiWriteFailed"))]
#[case::a_strangers_is_not(job("theirs", false), Some("NameTaken"))]
#[tokio::test]
async fn an_object_that_exists(#[case] found: Value, #[case] refused: Option<&str>) {
    let plan = Plan { create: vec![ours()], ..Plan::default() };
    let (result, _) = outcome(
        plan,
        vec![
            refuses(&format!("POST {JOBS}"), 409, "AlreadyExists"),
            answers(&format!("GET {JOB}"), 200, found),
        ],
    )
    .await;
    assert_eq!(reason(&result), refused);
}

#[rstest]
#[case::is_not_valid(422, "Invalid", "InvalidSpec")]
#[case::is_forbidden(403, "Forbidden", "ApiWriteFailed")]
#[tokio::test]
async fn an_applied_object_that(#[case] code: u16, #[case] word: &str, #[case] expected: &str) {
    let plan = Plan { apply: vec![ours()], ..Plan::default() };
    let (result, _) = outcome(plan, vec![refuses(&format!("PATCH {JOB}"), code, word)]).await;
    assert_eq!(reason(&result), Some(expected));
    let text = model::chain(&result.expect_err("refused"));
    assert!(text.ends_with(&format!("it is {word}")), "{text}");
}

#[rstest]
#[case::deleted(404, "NotFound", None)]
#[case::replaced_by_another_of_the_same_name(409, "Conflict", None)]
#[case::protected(403, "Forbidden", Some("ApiWriteFailed"))]
#[tokio::test]
async fn deleting_what_was_already(#[case] code: u16, #[case] word: &str, #[case] refused: Option<&str>) {
    let plan = Plan { delete: vec![target()], ..Plan::default() };
    let (result, _) = outcome(plan, vec![refuses(&format!("DELETE {JOB}"), code, word)]).await;
    assert_eq!(reason(&result), refused);
}

#[tokio::test]
async fn status_of_a_deleted_object_is_not_an_error() {
    let plan = Plan { status: Some(ours()), ..Plan::default() };
    let (result, _) = outcome(plan, vec![refuses(&format!("PATCH {JOB}/status"), 404, "NotFound")]).await;
    assert_eq!(reason(&result), None);
}

#[tokio::test]
async fn a_lost_event_is_not_worth_a_failed_reconcile() {
    let plan = Plan { events: vec![event()], ..Plan::default() };
    let events = "POST /apis/events.k8s.io/v1/namespaces/backup/events";
    let (result, _) = outcome(plan, vec![refuses(events, 403, "Forbidden")]).await;
    assert_eq!(reason(&result), None);
}

#[tokio::test]
async fn an_event_is_where_its_object_is() {
    let mut elsewhere = policy();
    elsewhere.metadata.namespace = Some("elsewhere".to_owned());
    let events = "POST /apis/events.k8s.io/v1/namespaces/elsewhere/events";
    let (ctx, heard) = context(vec![answers(events, 201, json!({ "metadata": {} }))]);
    let plan = Plan { events: vec![event()], ..Plan::default() };
    act(&ctx, &elsewhere, plan).await.expect("done");
    drop(ctx);
    assert_eq!(heard.await.expect("the request arrived")[0].1["metadata"]["namespace"], "elsewhere");
}

fn owner(conditions: &Value) -> k8s_openapi::api::core::v1::Pod {
    let metadata = json!({ "name": "etcd", "namespace": "backup", "uid": "ours", "generation": 3 });
    serde_json::from_value(json!({ "metadata": metadata, "status": { "conditions": conditions } }))
        .expect("an object")
}

fn said(type_: &str, status: &str, reason: &str, since: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": "", "observedGeneration": 3,
        "lastTransitionTime": since,
    })
}

/// The rest of the status is no less true because one object was refused.
#[rstest]
#[case::invalid(422, "Invalid", "InvalidSpec")]
#[case::forbidden(403, "Forbidden", "ApiWriteFailed")]
#[tokio::test]
async fn what_the_api_server_refuses_silences_nothing_else(
    #[case] code: u16,
    #[case] word: &str,
    #[case] expected: &str,
) {
    let before = json!([said("Ready", "False", "InvalidSpec", "2030-01-01T10:00:00Z")]);
    let (owner, object) = (owner(&before), target());
    let now = "2030-01-01T12:00:00Z";
    let planned =
        json!([said("Ready", "True", "Ready", now), said("Fresh", "False", "EtcdUnreachable", now)]);
    let plan = Plan {
        apply: vec![ours()],
        status: status_of(&owner, &json!({ "message": "new", "conditions": planned })),
        events: vec![event()],
        patch: vec![MetadataPatch::annotation(object, "a", "b")],
        ..Plan::default()
    };
    let (ctx, heard) = context(vec![
        refuses(&format!("PATCH {JOB}"), code, word),
        answers("PATCH /api/v1/namespaces/backup/pods/etcd/status", 200, json!({ "metadata": {} })),
        answers("POST /apis/events.k8s.io/v1/namespaces/backup/events", 201, json!({ "metadata": {} })),
        answers(&format!("PATCH {JOB}"), 200, json!({ "metadata": {} })),
    ]);
    let result = act(&ctx, &owner, plan).await;
    drop(ctx);
    let heard = heard.await.expect("every expected request arrived");
    assert_eq!(reason(&result), Some(expected));
    let status = &heard[1].1["status"];
    assert_eq!(status["message"], "new");
    let told = |index: usize| {
        let condition = &status["conditions"][index];
        format!("{} {} {}", condition["type"], condition["reason"], condition["lastTransitionTime"])
            .replace('"', "")
    };
    let since_when = format!("Ready {expected} 2030-01-01T10:00:00Z");
    assert_eq!(told(0), since_when, "since when, not when again");
    assert_eq!(told(1), "Fresh EtcdUnreachable 2030-01-01T12:00:00Z");
    let ends_by_itself = expected == "ApiWriteFailed";
    let kstatus = if ends_by_itself { "Reconciling" } else { "Stalled" };
    assert_eq!(told(2).split(' ').next(), Some(kstatus));
}

/// It would be news again at each try.
#[tokio::test]
async fn what_ready_was_to_say_is_told_when_it_says_it() {
    let owner = owner(&json!([]));
    let planned = json!([said("Ready", "False", "EtcdUnreachable", "2030-01-01T12:00:00Z")]);
    let plan = Plan {
        apply: vec![ours()],
        status: status_of(&owner, &json!({ "conditions": planned })),
        events: vec![event()],
        ..Plan::default()
    };
    let (ctx, heard) = context(vec![
        refuses(&format!("PATCH {JOB}"), 403, "Forbidden"),
        answers("PATCH /api/v1/namespaces/backup/pods/etcd/status", 200, json!({ "metadata": {} })),
    ]);
    let result = act(&ctx, &owner, plan).await;
    drop(ctx);
    assert_eq!(reason(&result), Some("ApiWriteFailed"));
    assert_eq!(heard.await.expect("every expected request arrived").len(), 2, "no event");
}

#[tokio::test]
async fn a_refused_object_keeps_no_other_from_being_written_but_nothing_goes() {
    let plan = Plan {
        create: vec![ours()],
        apply: vec![ours()],
        delete: vec![target()],
        patch: vec![MetadataPatch::annotation(target(), "a", "b")],
        ..Plan::default()
    };
    let (result, heard) = outcome(
        plan,
        vec![
            refuses(&format!("POST {JOBS}"), 403, "Forbidden"),
            refuses(&format!("PATCH {JOB}"), 422, "Invalid"),
        ],
    )
    .await;
    let told = (reason(&result), heard.len());
    assert_eq!(told, (Some("InvalidSpec"), 2), "what a person must mend comes first, and no mark is set");
}

#[tokio::test]
async fn what_is_only_to_go_as_it_was_seen_is_deleted_at_that_version() {
    let seen = Target { version: Some("7".to_owned()), ..target() };
    let plan = Plan { delete: vec![seen], ..Plan::default() };
    let (result, heard) = outcome(plan, vec![refuses(&format!("DELETE {JOB}"), 409, "Conflict")]).await;
    assert_eq!(reason(&result), None, "it went on: it stays");
    assert_eq!(heard[0].1["preconditions"]["resourceVersion"], "7");
}

#[tokio::test]
async fn a_failed_write_stops_before_the_status_claims_that_it_was_made() {
    let plan = Plan { create: vec![ours()], status: Some(ours()), ..Plan::default() };
    let (result, heard) = outcome(plan, vec![refuses(&format!("POST {JOBS}"), 500, "InternalError")]).await;
    assert_eq!(reason(&result), Some("ApiWriteFailed"));
    assert_eq!(heard.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_ends() {
    let plan = Plan { create: vec![ours()], ..Plan::default() };
    let (result, _) = outcome(plan, vec![ignores(&format!("POST {JOBS}"))]).await;
    let text = model::chain(&result.expect_err("timed out"));
    assert_eq!(text, "failed to write Job \"etcd-1\": no answer within 10 s");
}
