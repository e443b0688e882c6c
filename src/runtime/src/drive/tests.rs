use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use crate::apiserver::{Step, answers, context, refuses};

const PATH: &str = "/api/v1/namespaces/backup/pods/etcd";

fn an_event() -> Step {
    answers("POST /apis/events.k8s.io/v1/namespaces/backup/events", 201, json!({ "metadata": {} }))
}

struct Surroundings(Context);

impl AsRef<Context> for Surroundings {
    fn as_ref(&self) -> &Context {
        &self.0
    }
}

/// An object of one of our kinds; a Pod stands for it, since this crate knows none.
fn stored(spec: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "spec": spec, "status": { "phase": "Running" },
        "metadata": { "name": "etcd", "namespace": "backup", "uid": "u", "generation": 3, "resourceVersion": "7" },
    })
}

fn target() -> Target {
    let pod: Pod = serde_json::from_value(stored(&json!({ "containers": [] }))).expect("a pod");
    Target::of(&pod)
}

async fn outcome(
    script: Vec<Step>,
    result: fn() -> Result<Done, Error>,
) -> (Result<Action, Error>, Vec<(String, Value)>) {
    let (ctx, heard) = context(script);
    let wiring = Wiring {
        name: "test",
        complaint: Some(Complaint {
            conditions: &["Ready", "Fresh"],
            event: "BackupFailed",
            action: "backup",
        }),
        meter: Meter::default(),
        stop: CancellationToken::new(),
    };
    let reconcile = move |_: Arc<Pod>, _: Arc<Surroundings>| std::future::ready(result());
    let done = supervise(&wiring, &target(), Arc::new(Surroundings(ctx)), reconcile).await;
    (done, heard.await.expect("every expected request arrived"))
}

fn taken() -> Result<Done, Error> {
    Err(Error::NameTaken { kind: "Job".to_owned(), name: "a".to_owned() })
}

#[tokio::test]
async fn a_deleted_object_is_not_reconciled() {
    let (done, _) = outcome(vec![refuses(&format!("GET {PATH}"), 404, "NotFound")], taken).await;
    assert_eq!(done.expect("done"), Action::await_change());
}

#[tokio::test]
async fn a_failed_reconcile_says_so_in_the_objects_status_and_in_an_event() {
    let object = stored(&json!({ "containers": [] }));
    let (done, heard) = outcome(
        vec![
            answers(&format!("GET {PATH}"), 200, object.clone()),
            answers(&format!("GET {PATH}"), 200, object.clone()),
            answers(&format!("PATCH {PATH}/status"), 200, object),
            an_event(),
        ],
        taken,
    )
    .await;
    done.expect_err("it failed");
    let status = &heard[2].1["status"];
    assert_eq!(status["phase"], "Running", "what was known stays");
    assert_eq!(status["observedGeneration"], 3);
    assert_eq!(status["conditions"][0]["reason"], "NameTaken");
    assert_eq!(status["conditions"][1]["status"], "Unknown");
    assert_eq!(heard[2].1["metadata"]["resourceVersion"], "7", "nobody else's write is undone");
    let event = &heard[3].1;
    assert_eq!(event["note"], "NameTaken: Job \"a\" exists but is not ours");
    assert_eq!((&event["reason"], &event["action"]), (&json!("BackupFailed"), &json!("backup")));
    assert_eq!((&event["regarding"]["kind"], &event["regarding"]["uid"]), (&json!("Pod"), &json!("u")));
}

/// The look wrote the status itself, with all else that it found.
#[tokio::test]
async fn what_the_status_says_already_since_this_look_is_told_in_an_event_too() {
    let before = stored(&json!({ "containers": [] }));
    let mut after = before.clone();
    after["status"] = said(&after["status"]);
    let script = vec![
        answers(&format!("GET {PATH}"), 200, before),
        answers(&format!("GET {PATH}"), 200, after),
        an_event(),
    ];
    let (_, heard) = outcome(script, taken).await;
    assert_eq!(heard[2].1["note"], "NameTaken: Job \"a\" exists but is not ours");
}

/// A status that says that the name is taken.
fn said(status: &Value) -> Value {
    let error = taken().expect_err("an error");
    let page = Page { previous: &[], generation: Some(3), now: crate::apiserver::noon() };
    conditions::failed(&page, status, &["Ready", "Fresh"], &error)
}

#[tokio::test]
async fn an_object_of_another_shape_says_so_and_is_not_reconciled() {
    let malformed = stored(&json!({ "containers": "many" }));
    let (done, heard) = outcome(
        vec![
            answers(&format!("GET {PATH}"), 200, malformed.clone()),
            answers(&format!("GET {PATH}"), 200, malformed.clone()),
            answers(&format!("PATCH {PATH}/status"), 200, malformed),
            an_event(),
        ],
        || Ok(Done::default()),
    )
    .await;
    done.expect_err("it cannot be read");
    assert_eq!(heard[2].1["status"]["conditions"][0]["reason"], "InvalidSpec");
}

#[tokio::test]
async fn what_was_said_before_is_not_written_again() {
    let mut object = stored(&json!({ "containers": [] }));
    object["status"] = said(&object["status"]);
    let read = || answers(&format!("GET {PATH}"), 200, object.clone());
    let (done, heard) = outcome(vec![read(), read()], taken).await;
    done.expect_err("it failed");
    assert_eq!(heard.len(), 2);
}

#[tokio::test]
async fn an_api_server_that_cannot_even_be_told_changes_nothing() {
    let (done, _) = outcome(
        vec![
            refuses(&format!("GET {PATH}"), 500, "InternalError"),
            refuses(&format!("GET {PATH}"), 500, "InternalError"),
        ],
        taken,
    )
    .await;
    assert_eq!(done.expect_err("it failed").reason(), model::Reason::ApiReadFailed);
}
