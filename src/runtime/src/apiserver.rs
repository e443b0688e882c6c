//! A scripted API server for tests: the only mock there is.
use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::Context;

/// One request that is expected, and its answer; no answer means that it never comes.
pub struct Step {
    request: String,
    answer: Option<(StatusCode, Value)>,
}

/// A request that is answered.
pub fn answers(request: &str, code: u16, body: Value) -> Step {
    let code = StatusCode::from_u16(code).expect("a status code");
    Step { request: request.to_owned(), answer: Some((code, body)) }
}

/// A request that is refused.
pub fn refuses(request: &str, code: u16, reason: &str) -> Step {
    let message = format!("it is {reason}");
    let status =
        json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code });
    answers(request, code, status)
}

/// A request that gets no answer.
pub fn ignores(request: &str) -> Step {
    Step { request: request.to_owned(), answer: None }
}

/// What was sent, in order: path and body of each request. Known when the client is dropped.
pub type Heard = JoinHandle<Vec<(String, Value)>>;

/// A client whose server expects these requests in this order; one that nobody expects fails.
pub fn client(script: Vec<Step>) -> (Client, Heard) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let server = tokio::spawn(async move {
        let (mut heard, mut unanswered) = (Vec::new(), Vec::new());
        for Step { request: expected, answer } in script {
            let (request, reply) = handle.next_request().await.expect("a request");
            let found = format!("{} {}", request.method(), request.uri().path());
            assert_eq!(found, expected);
            let uri = request.uri().to_string();
            let body = request.into_body().collect_bytes().await.expect("a body");
            heard.push((uri, serde_json::from_slice(&body).unwrap_or_default()));
            match answer {
                Some((code, body)) => {
                    let body = Body::from(body.to_string().into_bytes());
                    reply.send_response(Response::builder().status(code).body(body).expect("a response"));
                }
                None => unanswered.push(reply),
            }
        }
        if !unanswered.is_empty() {
            // A request that is dropped would be an answer: keep it open until the client gives up.
            tokio::time::sleep(crate::TIMEOUT * 2).await;
        }
        // Ends when the client is gone.
        let unexpected = handle.next_request().await.map(|(request, _)| request.uri().to_string());
        assert_eq!(unexpected, None, "after the script");
        heard
    });
    (Client::new(service, "backup"), server)
}

/// The same with a context around it.
pub fn context(script: Vec<Step>) -> (Context, Heard) {
    let (client, heard) = client(script);
    (Context::new(client, "backup", "kubedr-operator/test", noon), heard)
}

/// The clock of tests.
pub fn noon() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().expect("a timestamp")
}
