//! Bodies that no API server sends: each is answered with a review, in bounded time and memory.
use std::{convert::Infallible, time::Duration};

use api::{
    BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore,
    names::{Verb, webhook_path},
    samples,
};
use axum::body::{Body, Bytes};
use futures::{StreamExt, stream};
use rstest::rstest;
use serde_json::{Value, json};

use crate::reviews::{Reply, UID, admission, asked, created, judged, review, stored};

/// The largest body that is read.
const MOST: usize = 7 << 20;

async fn sent(body: impl Into<Body>) -> Reply {
    asked(admission(), &webhook_path::<MetadataBackupPolicy>(Verb::Validate), body).await
}

/// A review that is accepted.
fn good() -> Value {
    review::<MetadataBackupPolicy>("CREATE", &stored(&samples::policy(), &json!({})), &Value::Null)
}

fn with(pointer: &str, value: Value) -> String {
    let mut review = good();
    *review.pointer_mut(pointer).expect("a field") = value;
    review.to_string()
}

fn without(field: &str) -> String {
    let mut review = good();
    review["request"].as_object_mut().expect("a request").remove(field);
    review.to_string()
}

#[rstest]
#[case::nothing(String::new(), "the body is no AdmissionReview of admission.k8s.io/v1: EOF while parsing")]
#[case::no_json("\u{0}\u{1b}[2J".to_owned(), "the body is no AdmissionReview")]
#[case::a_list("[]".to_owned(), r#"the body is "" of "", and must be"#)]
#[case::brackets_without_end("[".repeat(1 << 20), "the body is no AdmissionReview")]
#[case::two_reviews(format!("{}{}", good(), good()), "trailing characters")]
#[case::a_field_twice(r#"{"request":null,"request":null}"#.to_owned(), "duplicate field `request`")]
#[case::something_else("{}".to_owned(), r#"the body is "" of "", and must be "AdmissionReview" of "admission.k8s.io/v1""#)]
#[case::another_kind(with("/kind", json!("ConversionReview")), r#"the body is "ConversionReview" of "admission.k8s.io/v1", and must be"#)]
#[case::another_version(with("/apiVersion", json!("admission.k8s.io/v1beta1")), r#"of "admission.k8s.io/v1beta1", and must be"#)]
#[case::no_request(with("/request", Value::Null), "the review lacks its request")]
#[case::no_uid(without("uid"), "missing field `uid`")]
#[case::no_kind(without("kind"), "missing field `kind`")]
#[case::no_operation(without("operation"), "missing field `operation`")]
#[case::another_operation(with("/request/operation", json!("CONNECT")), "unknown variant `CONNECT`, expected one of `CREATE`, `UPDATE`, `DELETE`")]
#[case::no_object(without("object"), "the request lacks its object")]
#[case::a_word_for_an_object(with("/request/object", json!("policy")), "invalid type: string")]
#[case::a_number_for_a_name(with("/request/object/metadata/name", json!(5)), "invalid type: integer `5`")]
#[case::an_object_of_another_kind(
    with("/request/kind/kind", json!("BackupLocation")),
    r#"the request is about "BackupLocation" of "kubedr.catalogicsoftware.com/v1alpha1", and must be about "MetadataBackupPolicy" of"#
)]
#[case::an_object_of_another_version(with("/request/kind/version", json!("v1")), r#"of "kubedr.catalogicsoftware.com/v1", and must be"#)]
#[case::an_object_of_another_group(with("/request/kind/group", json!("apps")), r#"of "apps/v1alpha1", and must be"#)]
#[tokio::test]
async fn is_refused_that_is(#[case] body: String, #[case] said: &str) {
    let reply = sent(body).await;
    assert_eq!((reply.is_allowed(), reply.code()), (false, Some(400)), "{reply:?}");
    assert!(reply.message().contains(said), "{reply:?}");
    assert_eq!(reply.0["status"]["reason"], "BadRequest");
}

#[rstest]
#[case::a_spec_that_is_missing(without_spec(Value::Null), "spec: is missing")]
#[case::a_list_for_a_spec(without_spec(json!([])), "spec: cannot be read: ")]
#[case::a_field_that_is_missing(without_spec(json!({"destination": "s3"})), "spec: cannot be read: missing field `schedule`")]
#[case::a_long_spec(without_spec(json!({"x": "x".repeat(300_000)})), "spec: has 300008 bytes, allowed are 262144")]
#[case::a_deep_spec(deep(), "spec: cannot be read: ")]
#[tokio::test]
async fn a_policy_is_refused_by_name_for(#[case] body: String, #[case] said: &str) {
    let reply = sent(body).await;
    assert_eq!((reply.is_allowed(), reply.code(), reply.fields()), (false, Some(422), vec!["spec"]));
    assert!(reply.message().contains(said), "{reply:?}");
    assert_eq!(reply.0["uid"], UID);
}

fn without_spec(instead: Value) -> String {
    with("/request/object/spec", instead)
}

/// Brackets that no reader may follow one by one.
fn deep() -> String {
    let brackets = format!(r#"{{"options":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    without_spec(json!("here")).replace("\"here\"", &brackets)
}

#[tokio::test]
async fn a_review_that_ends_anywhere_is_refused() {
    let whole = good().to_string();
    for end in 0..whole.len() {
        let reply = sent(whole.as_bytes()[..end].to_vec()).await;
        assert_eq!((reply.is_allowed(), reply.code()), (false, Some(400)), "{end} bytes: {reply:?}");
    }
    assert!(sent(whole).await.is_allowed());
}

#[rstest]
#[case::a_quote(b'"')]
#[case::a_bracket(b'{')]
#[case::a_digit(b'0')]
#[case::no_character(0xff)]
#[tokio::test]
async fn a_review_is_answered_with_a_byte_replaced_by(#[case] byte: u8) {
    let whole = good().to_string();
    for place in 0..whole.len() {
        let mut damaged = whole.clone().into_bytes();
        damaged[place] = byte;
        let reply = sent(damaged).await;
        assert!(reply.is_allowed() || !reply.message().is_empty(), "{place}: {reply:?}");
    }
}

#[tokio::test]
async fn what_is_said_is_a_few_short_lines_whatever_was_sent() {
    let long = "\u{1b}[2J\n".repeat(2_000);
    let paths: Vec<_> = (0..2).map(|index| json!({ "path": format!("{index}{long}") })).collect();
    let options: serde_json::Map<_, _> = (0..200).map(|index| (format!("key-{index}"), json!(""))).collect();
    for fields in [
        json!({"schedule": long}),
        json!({"timeZone": long, "extraHostPaths": paths}),
        json!({"options": options}),
    ] {
        let reply = created::<MetadataBackupPolicy>(admission(), &stored(&samples::policy(), &fields)).await;
        assert!(!reply.is_allowed() && !reply.fields().is_empty());
        assert!(!reply.0.to_string().contains("\\u001b") && !reply.message().contains('\n'), "{reply:?}");
        assert!(reply.0.to_string().len() < 32_000 && reply.fields().len() <= 64, "{reply:?}");
    }
    let reply = created::<MetadataBackupPolicy>(
        admission(),
        &stored(&samples::policy(), &json!({"options": options})),
    )
    .await;
    assert!(reply.message().ends_with("; and 136 more"), "{reply:?}");
}

#[tokio::test]
async fn a_uid_that_is_none_is_not_repeated() {
    let reply = sent(with("/request/uid", json!("u".repeat(1000)))).await;
    assert_eq!(reply.0["uid"], "");
}

#[tokio::test]
async fn what_is_around_a_spec_may_be_as_large_as_objects_can_be() {
    let mut large = stored(&samples::restore(), &json!({}));
    large["metadata"]["annotations"] = json!({ "notes": "n".repeat(3 << 20) });
    let mut changed = large.clone();
    changed["spec"]["subPath"] = json!("../a");
    let review = review::<MetadataRestore>("UPDATE", &changed, &large);
    assert!(review.to_string().len() > 6 << 20);
    assert_eq!(judged::<MetadataRestore>(admission(), review).await.fields(), ["spec.subPath"]);
}

#[rstest]
#[case::as_announced(Body::from(vec![b' '; MOST + 1]))]
#[case::that_was_not_announced(Body::from_stream(pieces(MOST + 1)))]
#[case::without_end(Body::from_stream(pieces(usize::MAX)))]
#[tokio::test]
async fn a_body_is_too_large(#[case] body: Body) {
    let reply = sent(body).await;
    assert_eq!((reply.is_allowed(), reply.code()), (false, Some(413)), "{reply:?}");
    assert_eq!(reply.message(), "the body has more than the 7340032 bytes that are allowed");
}

#[tokio::test]
async fn a_body_as_large_as_may_be_is_read_to_its_end() {
    let mut body = good().to_string().into_bytes();
    body.resize(MOST, b' ');
    assert!(sent(body).await.is_allowed());
}

/// A review up to its object, in the order in which an API server writes it.
fn beginning(operation: &str) -> Bytes {
    let kind = json!({ "group": api::GROUP, "version": api::VERSION, "kind": "MetadataBackupPolicy" });
    let name = "n".repeat(253);
    let text = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"{UID}","kind":{kind},"name":"{name}","operation":"{operation}","object":"#
    );
    Bytes::from(text)
}

/// A review that begins soundly, and what comes then.
fn begun(operation: &str, then: impl stream::Stream<Item = Bytes> + Send + 'static) -> Body {
    let beginning = beginning(operation);
    // Piece by piece, as networks have it.
    let pieces: Vec<_> = beginning.chunks(100).map(Bytes::copy_from_slice).collect();
    Body::from_stream(stream::iter(pieces).chain(then).map(Ok::<_, Infallible>))
}

fn spaces(bytes: usize) -> impl stream::Stream<Item = Bytes> {
    pieces(bytes).map(|Ok(piece)| piece)
}

#[rstest]
#[case::no_object(begun("CREATE", stream::empty()), 400)]
#[case::garbage(begun("UPDATE", stream::iter([Bytes::from_static(b"\0\x1b[")])), 400)]
#[case::more_than_is_read(begun("CREATE", spaces(MOST)), 413)]
#[case::more_than_is_read_at_once(Body::from([&*beginning("UPDATE"), &vec![b' '; MOST]].concat()), 413)]
#[case::nothing_more_in_time(begun("CREATE", stream::pending()), 408)]
#[tokio::test(start_paused = true)]
async fn an_api_server_hears_of_its_review_with(#[case] body: Body, #[case] code: u64) {
    let reply = sent(body).await;
    assert_eq!((reply.code(), &reply.0["uid"]), (Some(code), &json!(UID)), "{reply:?}");
}

/// The API server goes on without an answer, and a refusal would be one.
#[rstest]
#[case::to_remove_something(webhook_path::<BackupLocation>(Verb::Validate), "DELETE")]
#[case::for_defaults(webhook_path::<BackupLocation>(Verb::Mutate), "CREATE")]
#[case::for_a_record(webhook_path::<MetadataBackupRecord>(Verb::Validate), "CREATE")]
#[case::for_a_restore(webhook_path::<MetadataRestore>(Verb::Validate), "CREATE")]
#[tokio::test(start_paused = true)]
async fn nobody_is_kept_waiting_for_what_nobody_answers_who_asks(
    #[case] path: String,
    #[case] operation: &str,
) {
    for then in [stream::pending().boxed(), spaces(MOST).boxed(), stream::empty().boxed()] {
        let reply = asked(admission(), &path, begun(operation, then)).await;
        assert_eq!((reply.is_allowed(), &reply.0["uid"]), (false, &json!("")), "{reply:?}");
    }
}

/// So many spaces, one piece after the other.
fn pieces(bytes: usize) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    let piece = Bytes::from(vec![b' '; 1 << 16]);
    stream::repeat(piece).map(Ok).take(bytes.div_ceil(1 << 16))
}

/// A body that begins with so many spaces and does not end.
fn endless(bytes: usize) -> Body {
    Body::from_stream(pieces(bytes).chain(stream::pending()))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_answered() {
    let reply = sent(endless(1)).await;
    assert_eq!((reply.is_allowed(), reply.code()), (false, Some(408)), "{reply:?}");
    assert_eq!(reply.message(), "the body did not come within 1s");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_answered() {
    let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);
    let reply = sent(Body::from_stream(broken)).await;
    assert_eq!(reply.message(), "failed to read the body: gone");
}

/// Whoever sends large bodies slowly keeps nobody waiting but others that do, and those no longer than his own may take.
#[tokio::test(start_paused = true)]
async fn only_large_bodies_wait_for_large_ones() {
    let router = webhooks::router(admission());
    let request = |body: Body| {
        let request =
            axum::http::Request::post(webhook_path::<MetadataBackupPolicy>(Verb::Validate)).body(body);
        tower::ServiceExt::oneshot(router.clone(), request.expect("a request"))
    };
    let begun = tokio::time::Instant::now();
    let slow: Vec<_> = (0..4).map(|_| tokio::spawn(request(endless(MOST)))).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let small = request(Body::from(good().to_string())).await.expect("an answer");
    assert_eq!((small.status().as_u16(), begun.elapsed()), (200, Duration::from_millis(500)));
    let mut large = good().to_string().into_bytes();
    large.resize(MOST / 2, b' ');
    let large = request(Body::from(large)).await.expect("an answer");
    assert_eq!((large.status().as_u16(), begun.elapsed()), (200, Duration::from_secs(1)));
    for slow in slow {
        slow.await.expect("no panic").expect("an answer");
    }
}
