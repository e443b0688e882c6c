//! BackupLocation.
use api::{BackupLocation, samples};
use rstest::rstest;
use serde_json::{Value, json};
use webhooks::{Admission, Others, Services};

use crate::reviews::{self, Reply, admission, stored};

/// A location of a server that nobody has doubts about.
fn location(fields: &Value) -> Value {
    stored(&stored(&samples::location(), &json!({"url": "https://s3.example.com"})), fields)
}

async fn created(fields: &Value) -> Reply {
    reviews::created::<BackupLocation>(admission(), &location(fields)).await
}

#[rstest]
#[case::nothing_else(json!({}))]
#[case::a_port_and_a_slash(json!({"url": "https://s3.example.com:9000/"}))]
#[case::a_bucket_with_dots(json!({"bucketName": "backups.of.a"}))]
#[case::a_folder(json!({"prefix": "clusters/a"}))]
#[case::maintenance(json!({"maintenance": {"schedule": "@weekly", "timeZone": "Europe/Berlin"}}))]
#[tokio::test]
async fn a_location_is_accepted_with(#[case] fields: Value) {
    created(&fields).await.accepts();
}

#[rstest]
#[case::a_url_without_scheme(json!({"url": "s3.example.com"}), &["spec.url"])]
#[case::a_url_with_a_user(json!({"url": "https://user:password@s3.example.com"}), &["spec.url"])]
#[case::a_url_with_a_path(json!({"url": "https://s3.example.com/bucket"}), &["spec.url"])]
#[case::a_url_with_a_query(json!({"url": "https://s3.example.com?region=a"}), &["spec.url"])]
#[case::a_bucket_in_upper_case(json!({"bucketName": "Backups"}), &["spec.bucketName"])]
#[case::a_short_bucket(json!({"bucketName": "ab"}), &["spec.bucketName"])]
#[case::a_long_bucket(json!({"bucketName": "b".repeat(64)}), &["spec.bucketName"])]
#[case::a_bucket_like_an_address(json!({"bucketName": "10.0.0.1"}), &["spec.bucketName"])]
#[case::a_bucket_with_two_dots(json!({"bucketName": "a..b"}), &["spec.bucketName"])]
#[case::a_bucket_with_a_hyphen_beside_a_dot(json!({"bucketName": "a.-b"}), &["spec.bucketName"])]
#[case::a_bucket_of_a_form_that_amazon_keeps(
    json!({"url": "https://s3.eu-central-1.amazonaws.com", "bucketName": "xn--backups"}), &["spec.bucketName"]
)]
#[case::a_folder_above(json!({"prefix": "../a"}), &["spec.prefix"])]
#[case::no_secret(json!({"credentials": "Minio"}), &["spec.credentials"])]
#[case::two_authorities(json!({"caBundle": {"secretName": "a", "configMapName": "b"}}), &["spec.caBundle"])]
#[case::a_schedule_of_six_fields(json!({"maintenance": {"schedule": "0 0 3 * * 0"}}), &["spec.maintenance.schedule"])]
#[case::an_unknown_time_zone(json!({"maintenance": {"timeZone": "Mars"}}), &["spec.maintenance.timeZone"])]
#[tokio::test]
async fn a_location_is_refused_with(#[case] fields: Value, #[case] paths: &[&str]) {
    created(&fields).await.refuses(paths);
}

#[tokio::test]
async fn a_refusal_does_not_repeat_a_password() {
    let reply = created(&json!({"url": "https://user:hunter2@s3.example.com"})).await;
    assert!(!reply.0.to_string().contains("hunter2"), "{reply:?}");
}

#[rstest]
#[case::plain_http("http://s3.example.com", "spec.url: is plain http")]
#[case::a_service(
    "https://minio.storage.svc",
    r#"spec.url: is a server of this cluster, "minio.storage.svc""#
)]
#[case::a_service_in_full(
    "https://minio.storage.svc.cluster.local:9000",
    "spec.url: is a server of this cluster"
)]
#[case::the_node("https://localhost:9000", r#"spec.url: is the node itself, "localhost""#)]
#[case::the_nodes_address("https://127.0.0.1:9000", "spec.url: is the node itself")]
#[case::the_name_of_a_service("https://minio:9000", r#"spec.url: is a server of this cluster, "minio""#)]
#[tokio::test]
async fn a_location_is_accepted_with_a_warning_of(#[case] url: &str, #[case] said: &str) {
    let reply = created(&json!({ "url": url })).await;
    assert!(reply.warns(said), "{reply:?}");
}

#[rstest]
#[case::kubeadms_and_the_samples("10.96.0.1", "10.96.57.3", true)]
#[case::kubeadms_last("10.96.0.1", "10.111.255.254", true)]
#[case::beyond_kubeadms("10.96.0.1", "10.112.0.1", false)]
#[case::k3s("10.43.0.1", "10.43.255.1", true)]
#[case::pods_of_k3s("10.43.0.1", "10.42.0.7", false)]
#[case::nodes_below_openshifts("172.30.0.1", "172.29.0.7", false)]
#[case::nodes_below_a_short_range("10.0.32.1", "10.0.0.5", false)]
#[case::version_6("fd00:10:96::1", "[fd00:10:96::f:ffff]", true)]
#[case::beyond_the_longest_of_version_6("fd00:10:96::1", "[fd00:10:96::10:0]", false)]
#[case::another_version("10.96.0.1", "[fd00:10:96::1]", false)]
#[case::an_api_server_with_a_name("api.example.com", "10.96.57.3", false)]
#[case::an_api_server_that_is_no_service("192.168.1.10", "192.168.1.20", false)]
#[case::no_address_at_all("0.0.0.0", "0.0.0.1", false)]
#[tokio::test]
async fn an_address_is_warned_of_that_may_be_a_services(
    #[case] api_server: &str,
    #[case] host: &str,
    #[case] expected: bool,
) {
    let here = Admission { services: Services::of(api_server), ..admission() };
    let location = location(&json!({ "url": format!("https://{host}:9000") }));
    let reply = reviews::created::<BackupLocation>(here, &location).await;
    assert_eq!(reply.warns("spec.url: may be a Service of this cluster, by its address, "), expected);
    assert_eq!(reply.warnings().is_empty(), !expected, "{reply:?}");
}

#[tokio::test]
async fn both_are_warned_of_at_once() {
    assert_eq!(created(&json!({"url": "http://minio:9000"})).await.warnings().len(), 2);
}

fn used_by(users: &'static [&str]) -> Admission {
    let users_of = move |location: &str| -> Vec<String> {
        let users = users.iter().map(|name| (*name).to_owned());
        users.filter(|_| location == "local-minio").collect()
    };
    Admission { others: Others::new(|_| None, users_of), ..admission() }
}

#[rstest]
#[case::by_one(&["etcd"], "metadata.name: \"local-minio\" is in use by etcd: no backup is made any more, stored ones stay")]
#[case::by_three(&["c", "a", "b"], "is in use by a, b, c: ")]
#[case::by_many(&["e", "d", "c", "a", "b"], "is in use by a, b, c and 2 more: ")]
#[tokio::test]
async fn a_location_can_be_removed_that_is_used(#[case] users: &'static [&str], #[case] said: &str) {
    let reply = reviews::removed::<BackupLocation>(used_by(users), &location(&json!({}))).await;
    assert!(reply.warns(said), "{reply:?}");
}

/// As `kubectl delete --all` has it: the request has no name.
#[tokio::test]
async fn a_location_that_goes_with_all_others_is_told_of_by_its_own_name() {
    let mut review = reviews::review::<BackupLocation>("DELETE", &Value::Null, &location(&json!({})));
    review["request"].as_object_mut().expect("a request").remove("name");
    let reply = reviews::judged::<BackupLocation>(used_by(&["etcd"]), review).await;
    assert!(reply.warns("metadata.name: \"local-minio\" is in use by etcd: "), "{reply:?}");
}

#[tokio::test]
async fn a_location_elsewhere_can_be_removed_without_a_word() {
    let mut elsewhere = location(&json!({}));
    elsewhere["metadata"]["namespace"] = json!("default");
    let reply = reviews::removed::<BackupLocation>(used_by(&["etcd"]), &elsewhere).await;
    assert!(reply.is_allowed() && reply.warnings().is_empty(), "{reply:?}");
}

#[tokio::test]
async fn a_location_that_nobody_uses_can_be_removed_without_a_word() {
    let reply = reviews::removed::<BackupLocation>(used_by(&[]), &location(&json!({}))).await;
    assert!(reply.is_allowed() && reply.warnings().is_empty(), "{reply:?}");
}
