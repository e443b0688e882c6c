//! Results that no agent wrote.
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const ID: &str = "abababababababababababababababababababababababababababababababab";

fn initialized() -> String {
    format!(r#"{{"v":1,"verb":"init","ok":true,"repositoryId":"{ID}","created":true}}"#)
}

/// What an agent leaves of a backup, with what it lacks.
fn backup() -> Value {
    let mut result: Value = serde_json::from_str(include_str!("backup.json")).expect("JSON");
    result["incomplete"] = json!({ "reason": "NeedsKms", "message": "vault" });
    result["encryptionConfigs"] = json!(["/etc/kubernetes/encryption.yaml"]);
    result
}

fn reason<Success: for<'a> Deserialize<'a>>(verb: &str, text: &str) -> Option<Reason> {
    parse::<Success>(verb, text).err().map(|failure| failure.reason)
}

#[rstest]
#[case::id_in_upper_case("/snapshotId", json!(ID.to_uppercase()))]
#[case::id_that_is_a_path("/filesSnapshotId", json!("../../keys"))]
#[case::id_with_a_line_behind_it("/repositoryId", json!(format!("{ID}\n")))]
#[case::id_of_no_text("/snapshotId", Value::Null)]
#[case::short_id_for_a_full_one("/snapshotId", json!("abababab"))]
#[case::lineage_of_64_digits("/lineage", json!(ID))]
#[case::hash_of_63_digits("/etcd/sha256", json!(ID[1..]))]
#[case::node_that_moves_the_cursor("/node", json!("node1\u{1b}[2J"))]
#[case::node_longer_than_any("/node", json!("n".repeat(254)))]
#[case::uid_of_two_lines("/clusterUid", json!("1\n2"))]
#[case::version_longer_than_any("/etcd/version", json!("3".repeat(129)))]
#[case::cluster_id_longer_than_any("/etcd/clusterId", json!("c".repeat(65)))]
#[case::member_id_that_is_turned_around("/etcd/memberId", json!("e\u{202e}1"))]
#[case::number_below_zero("/filesNew", json!(-1))]
#[case::number_with_a_fraction("/dataAdded", json!(1.5))]
#[case::number_of_more_than_64_bits("/etcd/dbSizeBytes", json!(1e20))]
#[case::number_as_a_text("/etcd/raftIndex", json!("689"))]
#[case::time_that_kubernetes_cannot_write("/time", json!("-009999-01-02T01:59:59Z"))]
#[case::time_without_a_zone("/time", json!("2030-01-01T11:50:05"))]
#[case::lack_that_is_none("/incomplete/reason", json!("Complete"))]
#[case::lack_that_nobody_knows("/incomplete/reason", json!("\u{1b}[31mHooray"))]
#[case::file_of_two_lines("/encryptionConfigs/0", json!("/etc/a\nb"))]
#[case::file_with_a_longer_path_than_any("/encryptionConfigs/0", json!(format!("/{}", "a".repeat(512))))]
#[case::file_without_a_name("/encryptionConfigs/0", json!(""))]
#[case::file_of_no_folder("/encryptionConfigs/0", json!("enc.yaml"))]
#[case::file_of_another_folder("/encryptionConfigs/0", json!("/etc/kubernetes/../shadow"))]
#[case::more_files_than_any("/encryptionConfigs", json!(["/a", "/b", "/c", "/d", "/e"]))]
#[case::list_for_an_object("/etcd", json!([1, 2]))]
#[case::version_of_another_agent("/v", json!(2))]
#[case::version_as_a_text("/v", json!("1"))]
#[case::word_for_a_truth_value("/ok", json!("true"))]
#[case::verb_of_another_pod("/verb", json!("forget"))]
fn a_backup_is_not_believed_with_a(#[case] field: &str, #[case] forged: Value) {
    let mut result = backup();
    assert_eq!(reason::<Backup>("backup", &result.to_string()), None, "as an agent writes it");
    *result.pointer_mut(field).expect("a field") = forged;
    let failure = parse::<Backup>("backup", &result.to_string()).expect_err("forged");
    assert_eq!(failure.reason, Reason::Unknown);
    assert_eq!(failure.message, line::of(&failure.message, MAX_MESSAGE_BYTES), "what is repeated of it");
}

#[rstest]
#[case::key_twice(r#"{"v":1,"verb":"init","ok":false,"ok":true,"repositoryId":"ID","created":true}"#)]
#[case::id_twice(r#"{"v":1,"verb":"init","ok":true,"repositoryId":"ID","created":true,"repositoryId":"ID"}"#)]
#[case::second_result_behind_it(r#"{"v":1,"verb":"init","ok":true,"repositoryId":"ID","created":true}{}"#)]
#[case::number_that_no_program_has(
    r#"{"v":1e999,"verb":"init","ok":true,"repositoryId":"ID","created":true}"#
)]
#[case::half_of_a_character(r#"{"v":1,"verb":"init","ok":false,"reason":"Bug","message":"\ud800"}"#)]
#[case::byte_order_mark(
    "\u{feff}{\"v\":1,\"verb\":\"init\",\"ok\":true,\"repositoryId\":\"ID\",\"created\":true}"
)]
#[case::nothing_but_a_zero_byte("\0")]
#[case::list_of_the_values(r#"[1,"init",true,"ID",true]"#)]
fn a_result_is_not_believed_with_a(#[case] text: &str) {
    assert_eq!(reason::<Initialization>("init", &text.replace("ID", ID)), Some(Reason::Unknown));
}

#[rstest]
#[case::in_which_none_are_named(json!([]))]
#[case::that_does_not_say(Value::Null)]
fn a_backup_is_believed_without_files_with_keys(#[case] files: Value) {
    let mut result = backup();
    result["encryptionConfigs"] = files;
    let read = parse::<Backup>("backup", &result.to_string()).expect("a backup");
    assert!(read.encryption_configs.is_empty());
}

#[test]
fn a_result_that_is_cut_off_anywhere_is_none() {
    let whole = initialized();
    for end in 1..whole.len() {
        assert_eq!(reason::<Initialization>("init", &whole[..end]), Some(Reason::Unknown), "at {end}");
    }
}

#[test]
fn a_result_is_as_long_as_a_termination_message_can_be_and_no_longer() {
    let padded = |length: usize| format!("{:length$}", initialized());
    assert_eq!(reason::<Initialization>("init", &padded(MAX_BYTES)), None);
    assert_eq!(reason::<Initialization>("init", &padded(MAX_BYTES + 1)), Some(Reason::Unknown));
}

#[test]
fn what_is_nested_without_end_is_no_result() {
    let (open, close) = ("[".repeat(1900), "]".repeat(1900));
    let text = initialized().replacen('{', &format!("{{\"new\":{open}{close},"), 1);
    assert!(text.len() <= MAX_BYTES);
    assert_eq!(reason::<Initialization>("init", &text), Some(Reason::Unknown));
}

#[test]
fn what_a_failed_pod_says_is_one_short_line() {
    let said = format!("one\r\n\u{1b}[31mtwo\0{}", "3".repeat(1500));
    let text =
        json!({ "v": 1, "verb": "init", "ok": false, "reason": "Bug", "message": said, "field": said });
    let failure = parse::<Initialization>("init", &text.to_string()).expect_err("failed");
    assert_eq!(failure.reason, Reason::Bug);
    assert!(failure.message.starts_with("one   [31mtwo 333") && failure.message.ends_with('3'));
    let field = failure.field.expect("a field");
    assert!(field.starts_with("one   [31mtwo 333") && field.ends_with('…') && field.len() <= 512, "{field}");
}

#[test]
fn a_pod_that_says_nothing_readable_names_no_field() {
    let text = r#"{"v":1,"verb":"init","ok":false,"reason":"Bug","message":"\n","field":"\u0007"}"#;
    let expected = Failure { reason: Reason::Bug, message: String::new(), field: None };
    assert_eq!(parse::<Initialization>("init", text), Err(expected));
}

#[test]
fn what_a_forged_lack_says_is_one_line() {
    let mut result = backup();
    result["incomplete"]["message"] = json!("key\n\u{9b}2J1");
    let read = parse::<Backup>("backup", &result.to_string()).expect("a backup");
    assert_eq!(read.incomplete.map(|lack| lack.message).as_deref(), Some("key  2J1"));
}
