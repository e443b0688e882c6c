//! Where reviews are answered, and who hears of it.
use std::sync::{Arc, Mutex};

use api::{
    BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore,
    names::{Verb, webhook_path},
    samples,
};
use axum::{body::Body, http::Request};
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;
use webhooks::{Admission, Told};

use crate::reviews::{UID, admission, asked, created, review, stored};

#[test]
fn paths_are_those_of_upstream() {
    let verbs = [Verb::Mutate, Verb::Validate];
    let before = verbs
        .map(webhook_path::<BackupLocation>)
        .into_iter()
        .chain(verbs.map(webhook_path::<MetadataBackupPolicy>));
    let all: Vec<_> = before
        .chain([
            webhook_path::<MetadataBackupRecord>(Verb::Validate),
            webhook_path::<MetadataRestore>(Verb::Validate),
        ])
        .collect();
    let expected = [
        "/mutate-kubedr-catalogicsoftware-com-v1alpha1-backuplocation",
        "/validate-kubedr-catalogicsoftware-com-v1alpha1-backuplocation",
        "/mutate-kubedr-catalogicsoftware-com-v1alpha1-metadatabackuppolicy",
        "/validate-kubedr-catalogicsoftware-com-v1alpha1-metadatabackuppolicy",
        "/validate-kubedr-catalogicsoftware-com-v1alpha1-metadatabackuprecord",
        "/validate-kubedr-catalogicsoftware-com-v1alpha1-metadatarestore",
    ];
    assert_eq!(all, expected);
}

/// Defaults are the schema's. What is wrong is said by whoever validates, which is the schema first.
#[rstest]
#[case::a_policy_with_upstreams_empty_words(json!({"etcdEndpoint": "", "etcdCreds": "", "retainNumBackups": 0}))]
#[case::a_policy_without_anything(json!({"schedule": null, "destination": null}))]
#[case::a_policy_that_is_wrong(json!({"schedule": 5}))]
#[tokio::test]
async fn no_manifest_is_rewritten(#[case] fields: Value) {
    let policy = stored(&samples::policy(), &fields);
    let body = review::<MetadataBackupPolicy>("CREATE", &policy, &Value::Null).to_string();
    let reply = asked(admission(), &webhook_path::<MetadataBackupPolicy>(Verb::Mutate), body).await;
    assert_eq!(reply.0, json!({ "uid": UID, "allowed": true }));
    let location = stored(&samples::location(), &json!({}));
    let body = review::<BackupLocation>("UPDATE", &location, &location).to_string();
    let reply = asked(admission(), &webhook_path::<BackupLocation>(Verb::Mutate), body).await;
    assert_eq!(reply.0, json!({ "uid": UID, "allowed": true }));
}

#[rstest]
#[case::anything_else_is_not_there("POST", "/convert", 404)]
#[case::records_have_no_defaults(
    "POST",
    "/mutate-kubedr-catalogicsoftware-com-v1alpha1-metadatabackuprecord",
    404
)]
#[case::a_browser_finds_nothing(
    "GET",
    "/validate-kubedr-catalogicsoftware-com-v1alpha1-metadatarestore",
    405
)]
#[tokio::test]
async fn elsewhere(#[case] method: &str, #[case] path: &str, #[case] status: u16) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    let answer = webhooks::router(admission()).oneshot(request).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), status);
}

#[tokio::test]
async fn each_answer_is_told() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = heard.clone();
    let told =
        move |told: &Told| listener.lock().expect("no panic").push((told.kind.to_string(), told.allowed));
    let admission = Admission { told: Arc::new(told), ..admission() };
    for destination in ["s3", "S3"] {
        let policy = stored(&samples::policy(), &json!({ "destination": destination }));
        created::<MetadataBackupPolicy>(admission.clone(), &policy).await;
    }
    asked(admission, &webhook_path::<BackupLocation>(Verb::Validate), "garbage").await;
    let expected =
        [("MetadataBackupPolicy", true), ("MetadataBackupPolicy", false), ("BackupLocation", false)];
    assert_eq!(*heard.lock().expect("no panic"), expected.map(|(kind, allowed)| (kind.to_owned(), allowed)));
}
