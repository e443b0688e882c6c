//! MetadataBackupPolicy.
use api::{MetadataBackupPolicy, samples};
use rstest::rstest;
use serde_json::{Value, json};
use webhooks::{Admission, Others};

use crate::reviews::{self, Reply, admission, stored};

fn policy(fields: &Value) -> Value {
    stored(&samples::policy(), fields)
}

async fn created(fields: &Value) -> Reply {
    reviews::created::<MetadataBackupPolicy>(admission(), &policy(fields)).await
}

#[rstest]
#[case::nothing_else(json!({}))]
#[case::every_so_often(json!({"schedule": "@every 1h30m"}))]
#[case::time_zone(json!({"timeZone": "Europe/Berlin"}))]
#[case::no_certificates(json!({"certsDir": ""}))]
#[case::defaults_by_empty_words(json!({"etcdEndpoint": "", "etcdCreds": "", "timeZone": ""}))]
#[case::etcd_in_clear_on_the_node_itself(json!({"etcdEndpoint": "http://127.0.0.1:2379"}))]
#[case::further_files(json!({"extraHostPaths": [{"path": "/etc/kubernetes/e.yaml"}]}))]
#[case::own_label(json!({"options": {"master-node-label-name": "example.com/etcd"}}))]
#[case::a_field_of_a_later_version(json!({"suspendUntil": "tomorrow"}))]
#[tokio::test]
async fn a_policy_is_accepted_with(#[case] fields: Value) {
    created(&fields).await.accepts();
}

#[rstest]
#[case::six_fields(json!({"schedule": "0 0 3 * * *"}), &["spec.schedule"])]
#[case::a_time_zone_in_the_schedule(json!({"schedule": "CRON_TZ=UTC 0 3 * * *"}), &["spec.schedule"])]
#[case::a_short_one(json!({"schedule": "TZ=UTC 0 3 * * *"}), &["spec.schedule"])]
#[case::words_for_a_schedule(json!({"schedule": "every night"}), &["spec.schedule"])]
#[case::an_unknown_time_zone(json!({"timeZone": "Europe/Atlantis"}), &["spec.timeZone"])]
#[case::a_schedule_and_a_time_zone(json!({"schedule": "", "timeZone": "Local"}), &["spec.schedule", "spec.timeZone"])]
#[case::a_schedule_of_verify(json!({"verify": {"schedule": "0 0 3 * * *"}}), &["spec.verify.schedule"])]
#[case::a_time_zone_of_verify(json!({"verify": {"timeZone": "utc"}}), &["spec.verify.timeZone"])]
#[case::a_negative_number(json!({"retainNumBackups": -1}), &["spec.retainNumBackups"])]
#[case::a_large_number(json!({"retention": {"daily": 100_001}}), &["spec.retention.daily"])]
#[case::no_time(json!({"deadlineSeconds": 59}), &["spec.deadlineSeconds"])]
#[case::more_than_all(json!({"shrinkGuard": 101}), &["spec.shrinkGuard"])]
#[case::no_bytes(json!({"maxRate": 0}), &["spec.maxRate"])]
#[case::weeks(json!({"retention": {"within": "3w"}}), &["spec.retention.within"])]
#[case::an_unknown_option(json!({"options": {"master": "x"}}), &["spec.options"])]
#[case::no_label(json!({"options": {"master-node-label-name": "a b"}}), &["spec.options.master-node-label-name"])]
#[case::a_relative_path(json!({"certsDir": "etc/kubernetes"}), &["spec.certsDir"])]
#[case::a_path_that_climbs(json!({"certsDir": "/etc/kubernetes/../shadow"}), &["spec.certsDir"])]
#[case::a_path_outside_the_list(json!({"certsDir": "/root"}), &["spec.certsDir"])]
#[case::a_further_path_outside(json!({"extraHostPaths": [{"path": "/etc/kubernetes/a"}, {"path": "/etc/shadow"}]}), &["spec.extraHostPaths[1].path"])]
#[case::a_path_twice(json!({"extraHostPaths": [{"path": "/etc/etcd/a"}, {"path": "/etc/etcd/a/"}]}), &["spec.extraHostPaths[1].path"])]
#[case::an_endpoint_without_scheme(json!({"etcdEndpoint": "10.0.0.5:2379"}), &["spec.etcdEndpoint"])]
#[case::an_endpoint_with_a_user(json!({"etcdEndpoint": "https://root@10.0.0.5"}), &["spec.etcdEndpoint"])]
#[case::an_endpoint_with_a_path(json!({"etcdEndpoints": ["https://a", "https://b/v3"]}), &["spec.etcdEndpoints[1]"])]
#[case::an_endpoint_with_a_query(json!({"etcdEndpoint": "https://a?x=1"}), &["spec.etcdEndpoint"])]
#[case::no_object_to_go_to(json!({"destination": "S3"}), &["spec.destination"])]
#[case::no_secret(json!({"etcdCreds": "a/b"}), &["spec.etcdCreds"])]
#[case::all_at_once(json!({"schedule": "", "certsDir": "/root", "shrinkGuard": -1}), &["spec.schedule", "spec.certsDir", "spec.shrinkGuard"])]
#[case::a_word_for_a_number(json!({"retainNumBackups": "many"}), &["spec"])]
#[tokio::test]
async fn a_policy_is_refused_with(#[case] fields: Value, #[case] paths: &[&str]) {
    created(&fields).await.refuses(paths);
}

#[tokio::test]
async fn a_refusal_says_what_was_found_and_what_is_allowed() {
    let reply = created(&json!({"certsDir": "/root", "shrinkGuard": 101})).await;
    let said =
        r#"HostPathNotAllowed: spec.certsDir: "/root" is not under an allowed host path: /etc/kubernetes, "#;
    assert!(reply.message().starts_with(said), "{reply:?}");
    assert!(reply.message().ends_with("; spec.shrinkGuard: is 101, allowed are 0 to 100"), "{reply:?}");
    let status = &reply.0["status"];
    assert_eq!(
        (reply.code(), &status["reason"], &status["status"]),
        (Some(422), &json!("Invalid"), &json!("Failure"))
    );
    let details = &status["details"];
    assert_eq!((&details["kind"], &details["name"]), (&json!("MetadataBackupPolicy"), &json!("test-backup")));
    let cause = json!({"reason": "InvalidSpec", "field": "spec.shrinkGuard", "message": "is 101, allowed are 0 to 100"});
    assert_eq!(details["causes"][1], cause);
}

#[rstest]
#[case::that_fits(37, true)]
#[case::that_is_too_long(38, false)]
#[tokio::test]
async fn a_policy_may_have_a_name(#[case] characters: usize, #[case] allowed: bool) {
    let mut named = policy(&json!({}));
    named["metadata"]["name"] = json!("n".repeat(characters));
    let reply = reviews::created::<MetadataBackupPolicy>(admission(), &named).await;
    assert_eq!(reply.is_allowed(), allowed, "{reply:?}");
    let made = json!({ "schedule": "0 4 * * *" });
    let changed = stored(&named, &made);
    let reply = reviews::changed::<MetadataBackupPolicy>(admission(), (&named, &changed)).await;
    assert!(reply.is_allowed(), "a name cannot be changed any more: {reply:?}");
}

#[tokio::test]
async fn a_policy_outside_of_the_operators_namespace_is_refused() {
    let mut elsewhere = policy(&json!({}));
    elsewhere["metadata"]["namespace"] = json!("default");
    let reply = reviews::created::<MetadataBackupPolicy>(admission(), &elsewhere).await;
    assert_eq!((reply.is_allowed(), reply.fields()), (false, vec!["metadata.namespace"]));
    assert!(
        reply.message().starts_with("WrongNamespace: ") && reply.message().contains("kubedr-system"),
        "{reply:?}"
    );
}

/// What was stored while nobody asked: with a schedule that is none, and paths that are forbidden.
fn wrong(fields: &Value) -> Value {
    let paths = json!([{"path": "/srv/a"}, {"path": "/srv/b"}]);
    let wrong = policy(&json!({"schedule": "every night", "certsDir": "/root", "extraHostPaths": paths}));
    stored(&wrong, fields)
}

#[rstest]
#[case::it_is_suspended(wrong(&json!({"suspend": true})), &[])]
#[case::one_of_two_flaws_is_corrected(wrong(&json!({"schedule": "0 3 * * *"})), &[])]
#[case::the_first_of_two_forbidden_paths_goes(wrong(&json!({"extraHostPaths": [{"path": "/srv/b"}]})), &[])]
#[case::a_good_path_comes_first(wrong(&json!({"extraHostPaths": [{"path": "/etc/etcd/a"}, {"path": "/srv/a"}, {"path": "/srv/b"}]})), &[])]
#[case::a_forbidden_path_comes_first(
    wrong(&json!({"extraHostPaths": [{"path": "/srv/c"}, {"path": "/srv/a"}, {"path": "/srv/b"}]})), &["spec.extraHostPaths[0].path"]
)]
#[case::a_flaw_becomes_another(wrong(&json!({"certsDir": "/home"})), &["spec.certsDir"])]
#[case::a_flaw_is_added(wrong(&json!({"shrinkGuard": 101})), &["spec.shrinkGuard"])]
#[tokio::test]
async fn a_wrong_policy_is_judged_by_what_a_change_makes_wrong(#[case] new: Value, #[case] refused: &[&str]) {
    let reply = reviews::changed::<MetadataBackupPolicy>(admission(), (&wrong(&json!({})), &new)).await;
    assert_eq!((reply.is_allowed(), reply.fields()), (refused.is_empty(), refused.to_vec()), "{reply:?}");
    let stays = reply.warnings().iter().filter(|warning| warning.contains("is as wrong as before: ")).count();
    assert_eq!(stays > 0, refused.is_empty(), "{reply:?}");
}

#[tokio::test]
async fn a_wrong_policy_can_lose_its_finalizers_and_change_its_labels() {
    let (old, mut new) = (wrong(&json!({})), wrong(&json!({})));
    new["metadata"]["labels"] = json!({ "team": "a" });
    let reply = reviews::changed::<MetadataBackupPolicy>(admission(), (&old, &new)).await;
    assert!(reply.is_allowed() && reply.warnings().is_empty(), "{reply:?}");
    let mut going = policy(&json!({"shrinkGuard": 101}));
    going["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    let reply = reviews::changed::<MetadataBackupPolicy>(admission(), (&old, &going)).await;
    assert!(reply.is_allowed(), "it is on its way out: {reply:?}");
    let reply = reviews::removed::<MetadataBackupPolicy>(admission(), &old).await;
    assert!(reply.is_allowed() && reply.warnings().is_empty(), "{reply:?}");
}

#[tokio::test]
async fn what_is_made_anew_is_judged_whatever_is_said_to_have_been_there() {
    let review = reviews::review::<MetadataBackupPolicy>("CREATE", &wrong(&json!({})), &wrong(&json!({})));
    assert!(!reviews::judged::<MetadataBackupPolicy>(admission(), review).await.is_allowed());
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_can_be_mended() {
    let old = policy(&json!({"retainNumBackups": "many"}));
    let reply = reviews::changed::<MetadataBackupPolicy>(admission(), (&old, &policy(&json!({})))).await;
    assert!(reply.is_allowed(), "{reply:?}");
}

fn knowing(there: &'static [&str]) -> Admission {
    let others = Others::new(move |name| Some(there.contains(&name)), |_| Vec::new());
    Admission { others, ..admission() }
}

#[rstest]
#[case::is_there(knowing(&["local-minio"]), false)]
#[case::is_not_there(knowing(&["s3"]), true)]
#[case::may_be_there(admission(), false)]
#[tokio::test]
async fn a_destination_is_warned_of_that(#[case] knowing: Admission, #[case] expected: bool) {
    let reply = reviews::created::<MetadataBackupPolicy>(knowing, &policy(&json!({}))).await;
    assert!(reply.is_allowed());
    assert_eq!(
        reply.warns(r#"spec.destination: no BackupLocation is called "local-minio" yet"#),
        expected,
        "{reply:?}"
    );
}

#[tokio::test]
async fn etcd_in_clear_is_warned_of() {
    let reply = created(&json!({"etcdEndpoint": "http://10.0.0.5:2379"})).await;
    assert!(reply.warns(r#"spec.etcdEndpoint: "http://10.0.0.5:2379" is plain http"#), "{reply:?}");
}

/// A policy whose last backup took that long.
fn took(seconds: &Value) -> Value {
    let mut policy = policy(&json!({}));
    policy["status"] = json!({ "totalDurationSecs": seconds });
    policy
}

#[rstest]
#[case::closer(json!("95.250"), "* * * * *", true)]
#[case::as_close_once_a_day(json!("95.250"), "0,1 3 * * *", true)]
#[case::closer_than_upstream_says(json!("90500m"), "@every 1m", true)]
#[case::farther(json!("95.250"), "*/10 * * * *", false)]
#[case::of_unknown_distance(json!("long"), "* * * * *", false)]
#[case::of_no_distance(json!("95.250"), "0 0 30 2 *", false)]
#[tokio::test]
async fn a_schedule_is_warned_of_that_is(
    #[case] seconds: Value,
    #[case] schedule: &str,
    #[case] expected: bool,
) {
    let old = took(&seconds);
    let new = stored(&old, &json!({ "schedule": schedule }));
    let reply = reviews::changed::<MetadataBackupPolicy>(admission(), (&old, &new)).await;
    assert_eq!(
        reply.warns("spec.schedule: is due again after 60 s, and the last backup took 9"),
        expected,
        "{reply:?}"
    );
    assert_eq!(reply.warnings().is_empty(), !expected, "{reply:?}");
}

/// A policy whose last snapshot held what this condition says.
fn said(status: &str, reason: &str, message: &str) -> Value {
    let mut policy = policy(&json!({"extraHostPaths": [{"path": "/etc/kubernetes/a"}]}));
    policy["status"] = json!({ "conditions": [{
        "type": "Complete", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2030-01-01T00:00:00Z",
    }] });
    policy
}

fn lacking() -> Value {
    said("False", "EncryptionKeyMissing", "")
}

fn shrunk_and_lacking() -> Value {
    said("False", "Shrunk", "there is 1 object; EncryptionKeyMissing: \"key1\" of \"aescbc\"")
}

/// A policy whose last snapshot held objects that need keys of these files, which it had.
fn encrypted_by(files: &[&str], spec: &Value) -> Value {
    let mut policy = policy(spec);
    policy["status"] = json!({ "encryptionConfigs": files });
    policy
}

/// With the file by its own path, beside a folder.
fn by_path() -> Value {
    let extra = json!([{"path": "/etc/kubernetes/enc.yaml"}]);
    let spec = json!({"certsDir": "/etc/kubernetes/pki", "extraHostPaths": extra});
    encrypted_by(&["/etc/kubernetes/enc.yaml"], &spec)
}

/// The same, where the snapshot also lacked a key.
fn by_path_and_lacking() -> Value {
    let mut policy = by_path();
    policy["status"]["conditions"] = lacking()["status"]["conditions"].clone();
    policy
}

/// With the file somewhere in the folder with certificates.
fn by_folder() -> Value {
    encrypted_by(&["/etc/kubernetes/pki/e/enc.yaml"], &json!({"certsDir": "/etc/kubernetes/pki/"}))
}

/// With the file and a copy of it.
fn by_two() -> Value {
    let mut policy = by_path();
    policy["status"]["encryptionConfigs"] =
        json!(["/etc/kubernetes/pki/enc.yaml", "/etc/kubernetes/enc.yaml"]);
    policy
}

const EXTRA: Option<&str> = Some("spec.extraHostPaths: ");
const FOLDER: Option<&str> = Some("spec.certsDir: ");

#[rstest]
#[case::that_goes(by_path(), json!({"extraHostPaths": []}), EXTRA)]
#[case::that_goes_where_one_was_lacking(by_path_and_lacking(), json!({"extraHostPaths": []}), EXTRA)]
#[case::that_goes_for_another(by_path(), json!({"extraHostPaths": [{"path": "/etc/kubernetes/enc.yam"}]}), EXTRA)]
#[case::whose_folder_comes_instead(by_path(), json!({"certsDir": "/etc/kubernetes", "extraHostPaths": []}), None)]
#[case::that_stays(by_path(), json!({"certsDir": ""}), None)]
#[case::whose_folder_goes(by_folder(), json!({"certsDir": "/etc/kubernetes/pk"}), FOLDER)]
#[case::whose_folder_is_named_no_more(by_folder(), json!({"certsDir": ""}), FOLDER)]
#[case::whose_folder_stays(by_folder(), json!({"suspend": true}), None)]
#[case::whose_copy_stays(by_two(), json!({"extraHostPaths": []}), None)]
#[case::that_goes_with_its_copy(by_two(), json!({"certsDir": "", "extraHostPaths": []}), FOLDER)]
#[tokio::test]
async fn a_change_is_warned_of_that_leaves_out_the_file_with_the_keys(
    #[case] old: Value,
    #[case] change: Value,
    #[case] expected: Option<&str>,
) {
    let new = stored(&old, &change);
    let reply = reviews::changed::<MetadataBackupPolicy>(admission(), (&old, &new)).await;
    let warning = expected.map(|field| format!("{field}leaves out the keys "));
    assert_eq!(reply.warnings().len(), warning.iter().len(), "{reply:?}");
    assert!(warning.is_none_or(|warning| reply.warns(&warning)), "{reply:?}");
}

/// More than anyone writes there, around what else would be warned of.
fn lacking_at_length() -> Value {
    let mut policy = lacking();
    policy["status"]["backupErrorMessage"] = json!("x".repeat(300_000));
    policy
}

#[rstest]
#[case::said_by_a_status_too_long_to_be_read(lacking_at_length(), json!({"suspend": true}), false)]
#[case::lacking_their_keys(lacking(), json!({"suspend": true}), true)]
#[case::lacking_them_and_more(shrunk_and_lacking(), json!({"suspend": true}), true)]
#[case::lacking_them_with_fewer_paths(lacking(), json!({"extraHostPaths": []}), true)]
#[case::with_one_more_path(lacking(), json!({"extraHostPaths": [{"path": "/etc/kubernetes/enc.yaml"}]}), false)]
#[case::with_another_folder(lacking(), json!({"certsDir": "/etc/kubernetes"}), false)]
#[case::lacking_a_key_service(said("False", "NeedsKms", ""), json!({"suspend": true}), false)]
#[case::complete(said("True", "Complete", ""), json!({"suspend": true}), false)]
#[tokio::test]
async fn encrypted_objects_are_warned_of(#[case] old: Value, #[case] change: Value, #[case] expected: bool) {
    let new = stored(&old, &change);
    let reply = reviews::changed::<MetadataBackupPolicy>(admission(), (&old, &new)).await;
    assert_eq!(
        reply.warns("spec.extraHostPaths: lacks an encryption configuration: "),
        expected,
        "{reply:?}"
    );
    assert_eq!(reply.warnings().is_empty(), !expected, "{reply:?}");
}
