use api::{BackupLocation, MetadataBackupPolicy};
use kube::core::error_boundary::InvalidObject;
use model::Reason;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{NOW, at, condition, location, object, policy, ready_location, record, settings};

fn guarded<K>(object: K) -> Arc<DeserializeGuard<K>> {
    Arc::new(DeserializeGuard(Ok(object)))
}

fn world() -> World {
    World {
        locations: Vec::new(),
        policies: Vec::new(),
        records: Vec::new(),
        restores: Vec::new(),
        misplaced: vec![("MetadataBackupPolicy".to_owned(), 0)],
        counted: HashMap::new(),
        cluster_uid: settings().cluster_uid.clone(),
        now: at(NOW),
    }
}

fn told(status: Value) -> MetadataBackupPolicy {
    let mut policy = policy();
    policy.metadata.creation_timestamp = Some(object(json!("2029-12-31T00:00:00Z")));
    policy.status = Some(object(status));
    policy
}

fn written(world: &World) -> String {
    let mut page = Page::default();
    write(&mut page, world);
    page.into_text()
}

/// The lines of a page that tell something of a metric.
fn of<'a>(page: &'a str, metric: &str) -> Vec<&'a str> {
    page.lines().filter_map(|line| line.strip_prefix(metric)).filter(|rest| rest.starts_with('{')).collect()
}

/// The seed's policy after a success and a failure.
fn lived_in() -> World {
    let status = json!({
        "records": 1, "lastSuccessfulTime": "2030-01-01T11:50:00Z", "nextScheduleTime": "2030-01-01T12:10:00Z",
        "conditions": [condition("Ready", "True", "Ready"), condition("Fresh", "False", "EtcdUnreachable")],
    });
    let policy = told(status);
    let mut newest = record('1', 2);
    let facts = json!({
        "addedBytes": 1000, "sizeBytes": 5000, "etcd": { "dbSizeBytes": 4096 }, "objects": { "count": 280 },
    });
    let mut known = json!(newest.status);
    known.as_object_mut().expect("an object").extend(facts.as_object().expect("an object").clone());
    newest.status = object(known);
    let mut counts = Counts { succeeded: 2, failed: 1, missed: 3, ..Counts::default() };
    counts.durations.observe(16.0);
    World {
        locations: vec![guarded(ready_location())],
        counted: [(policy.metadata.uid.clone().expect("a uid"), counts)].into(),
        policies: vec![guarded(policy)],
        records: vec![guarded(record('0', 1)), guarded(newest)],
        ..world()
    }
}

#[test]
fn everything_that_is_known_of_a_policy() {
    insta::assert_snapshot!(written(&lived_in()));
}

#[test]
fn what_is_not_known_is_absent_and_never_0() {
    let policies = vec![guarded(told(json!({})))];
    let page = written(&World { policies, ..world() });
    let said: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
    let created = at("2029-12-31T00:00:00Z").as_second();
    let expected = [
        format!("kubedr_policy_created_timestamp_seconds{{policyName=\"test-backup\"}} {created}"),
        "kubedr_schedule_interval_seconds{policyName=\"test-backup\"} 600".to_owned(),
    ];
    assert_eq!(said, expected);
    assert_eq!(written(&world()), "", "no object, no series");
}

#[rstest]
#[case::stopped_nothing_is_due(|policy: &mut MetadataBackupPolicy| policy.spec.suspend = true)]
#[case::never_nothing_is_due(|policy: &mut MetadataBackupPolicy| policy.spec.schedule = "0 0 30 2 *".to_owned())]
#[case::now_and_then_is_no_schedule(|policy: &mut MetadataBackupPolicy| policy.spec.schedule = "now and then".to_owned())]
fn has_no_interval(#[case] change: fn(&mut MetadataBackupPolicy)) {
    let mut policy = told(json!({}));
    change(&mut policy);
    let page = written(&World { policies: vec![guarded(policy)], ..world() });
    assert_eq!(of(&page, "kubedr_schedule_interval_seconds"), [""; 0]);
    assert_eq!(of(&page, "kubedr_policy_created_timestamp_seconds").len(), 1);
}

#[test]
fn every_reason_that_a_condition_has_is_its_label() {
    for reason in Reason::ALL {
        let conditions = json!({ "conditions": [condition("Fresh", "False", reason.as_str())] });
        let failed = BackupLocation {
            status: Some(object(json!({ "conditions": [condition("Ready", "False", reason.as_str())] }))),
            ..location()
        };
        let world =
            World { policies: vec![guarded(told(conditions))], locations: vec![guarded(failed)], ..world() };
        let page = written(&world);
        let expected = [
            format!(
                r#"{{kind="BackupLocation",name="local-minio",type="Ready",status="False",reason="{reason}"}} 1"#
            ),
            format!(
                r#"{{kind="MetadataBackupPolicy",name="test-backup",type="Fresh",status="False",reason="{reason}"}} 1"#
            ),
        ];
        assert_eq!(of(&page, "kubedr_condition"), expected);
    }
}

#[test]
fn conditions_of_others_and_words_of_others_make_no_labels() {
    let conditions = [condition("Theirs", "False", "Bug"), condition("Ready", "False", "TheirWord")];
    let policies = vec![guarded(told(json!({ "conditions": conditions })))];
    let page = written(&World { policies, ..world() });
    let expected =
        r#"{kind="MetadataBackupPolicy",name="test-backup",type="Ready",status="False",reason="Unknown"} 1"#;
    assert_eq!(of(&page, "kubedr_condition"), [expected]);
}

#[test]
fn an_object_without_the_shape_of_its_kind_says_so() {
    let metadata = told(json!({})).metadata;
    let invalid = InvalidObject { error: "no schedule".to_owned(), metadata };
    let policies = vec![Arc::new(DeserializeGuard(Err(invalid)))];
    let page = written(&World { policies, ..world() });
    let expected = r#"{kind="MetadataBackupPolicy",name="test-backup",type="Ready",status="False",reason="InvalidSpec"} 1"#;
    assert_eq!(of(&page, "kubedr_condition"), [expected]);
    assert_eq!(of(&page, "kubedr_policy_created_timestamp_seconds").len(), 1);
}

#[test]
fn objects_in_a_wrong_namespace_are_counted_by_kind() {
    let page = written(&World { misplaced: vec![("MetadataBackupPolicy".to_owned(), 2)], ..world() });
    assert_eq!(of(&page, "kubedr_wrong_namespace_objects"), [r#"{kind="MetadataBackupPolicy"} 2"#]);
}

#[test]
fn a_policy_that_is_gone_takes_its_series_with_it() {
    let mut world = lived_in();
    world.policies.clear();
    let page = written(&world);
    assert!(!page.contains("test-backup"), "{page}");
}

#[test]
fn a_policy_made_again_under_its_name_begins_anew() {
    let mut world = lived_in();
    let mut again = told(json!({}));
    again.metadata.uid = Some("another".to_owned());
    world.policies = vec![guarded(again)];
    assert_eq!(of(&written(&world), "kubedr_num_backups"), [""; 0]);
}

#[test]
fn the_newest_backup_is_one_of_this_cluster() {
    let mut world = lived_in();
    world.cluster_uid = "another".to_owned();
    assert_eq!(of(&written(&world), "kubedr_backup_size_bytes"), [""; 0]);
}

#[test]
fn each_metric_has_its_place_in_the_contract_and_a_sound_name() {
    let contract = include_str!("../../../../docs/contract.md");
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words: Vec<&str> = contract.split(|letter| !is_word(letter)).collect();
    for metric in all() {
        let bare = metric.name.strip_prefix("kubedr_").expect("the prefix");
        assert!(words.contains(&bare) || words.contains(&metric.name), "docs/contract.md lacks {bare}");
        assert!(metric.labels.iter().all(|label| words.contains(label)), "{:?}", metric.labels);
        assert!(metric.help.ends_with('.'), "{}", metric.name);
    }
    let names: std::collections::BTreeSet<_> = all().map(|metric| metric.name).collect();
    assert_eq!(names.len(), all().count(), "a name stands for one metric");
}
