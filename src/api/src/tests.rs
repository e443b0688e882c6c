//! What the schema and `validate()` accept and refuse, each with a sentence per case.
use kube::CustomResourceExt;
use rstest::rstest;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::*;

/// A sample with some fields of its spec replaced.
fn with<Kind: Serialize + DeserializeOwned>(sample: &Kind, fields: &Value) -> Kind {
    let mut object = serde_json::to_value(sample).expect("a sample is JSON");
    let fields = fields.as_object().expect("fields of a spec").clone();
    object["spec"].as_object_mut().expect("a spec").extend(fields);
    serde_json::from_value(object).expect("fields of the right type")
}

fn named<Kind: kube::Resource>(mut object: Kind, characters: usize) -> Kind {
    object.meta_mut().name = Some("n".repeat(characters));
    object
}

fn location(fields: &Value) -> BackupLocation {
    with(&samples::location(), fields)
}

fn policy(fields: &Value) -> MetadataBackupPolicy {
    with(&samples::policy(), fields)
}

fn restore(fields: &Value) -> MetadataRestore {
    with(&samples::restore(), fields)
}

/// Paths of the fields that either side finds fault with.
fn fields(found: &[Violation]) -> Vec<&str> {
    found.iter().map(|violation| violation.path.as_str()).collect()
}

#[rstest]
#[case::url_with_a_port(json!({"url": "https://[::1]:9000"}))]
#[case::url_with_a_slash_at_the_end(json!({"url": "https://s3.example.com/"}))]
#[case::bucket_of_three(json!({"bucketName": "a-1"}))]
#[case::bucket_of_sixty_three(json!({"bucketName": "b".repeat(63)}))]
#[case::bucket_that_amazon_would_refuse(json!({"bucketName": "sthree-data"}))]
#[case::bucket_that_amazon_would_refuse_at_a_server_named_alike(json!({"url": "https://s3.notamazonaws.com", "bucketName": "etcd--x-s3"}))]
#[case::folder(json!({"prefix": "clusters/a.b_c=1/"}))]
#[case::folder_named_with_dots(json!({"prefix": "..a"}))]
#[case::authority_in_a_secret(json!({"caBundle": {"secretName": "ca", "key": "ca.crt"}}))]
#[case::deleting_keys(json!({"maintenanceCredentials": "may-delete"}))]
#[case::time_zone_of_maintenance(json!({"maintenance": {"timeZone": "Europe/Berlin"}}))]
#[case::sizes(json!({"maintenance": {"maxUnused": "500M", "checkSubset": "1/12", "schedule": "@daily", "suspend": true}}))]
fn a_location_may_have(#[case] fields: Value) {
    let location = location(&fields);
    assert_eq!(location.validate(), []);
    location.validate_cel().expect("accepted by the rules of the schema");
}

#[rstest]
#[case::no_scheme(json!({"url": "10.0.0.1:9000"}), "spec.url")]
#[case::user_in_the_url(json!({"url": "http://user:password@host"}), "spec.url")]
#[case::path_in_the_url(json!({"url": "http://host/bucket"}), "spec.url")]
#[case::query_in_the_url(json!({"url": "http://host?x"}), "spec.url")]
#[case::upper_case_bucket(json!({"bucketName": "Bucket"}), "spec.bucketName")]
#[case::bucket_like_an_address(json!({"bucketName": "10.0.0.1"}), "spec.bucketName")]
#[case::bucket_with_two_dots(json!({"bucketName": "a..b"}), "spec.bucketName")]
#[case::bucket_that_ends_with_a_hyphen(json!({"bucketName": "abc-"}), "spec.bucketName")]
#[case::folder_from_the_root(json!({"prefix": "/a"}), "spec.prefix")]
#[case::folder_above(json!({"prefix": "a/../b"}), "spec.prefix")]
#[case::empty_part_of_a_folder(json!({"prefix": "a//b"}), "spec.prefix")]
#[case::escaped_folder(json!({"prefix": "a%2fb"}), "spec.prefix")]
#[case::no_object(json!({"credentials": "Minio_Creds"}), "spec.credentials")]
#[case::no_object_to_delete_with(json!({"maintenanceCredentials": "-"}), "spec.maintenanceCredentials")]
#[case::two_authorities(json!({"caBundle": {"secretName": "a", "configMapName": "a"}}), "spec.caBundle")]
#[case::no_authority(json!({"caBundle": {}}), "spec.caBundle")]
fn a_location_may_not_have(#[case] given: Value, #[case] field: &str) {
    let location = location(&given);
    assert_eq!(fields(&location.validate()), [field]);
    location.validate_cel().expect_err("refused by the rules of the schema");
}

/// What rules in CEL do not say.
#[rstest]
#[case::hyphen_before_a_dot(json!({"bucketName": "a-.b"}), &["spec.bucketName"])]
#[case::hyphen_after_a_dot(json!({"bucketName": "a.-b"}), &["spec.bucketName"])]
#[case::numbers_like_an_address(json!({"bucketName": "999.1.1.1000"}), &["spec.bucketName"])]
#[case::bucket_in_another_alphabet(json!({"url": "https://s3.amazonaws.com", "bucketName": "xn--bcket-kva"}), &["spec.bucketName"])]
#[case::alias_of_a_bucket(json!({"url": "https://S3.eu-west-1.AmazonAWS.com.:443/", "bucketName": "backups-s3alias"}), &["spec.bucketName"])]
#[case::folder_of_amazons_in_china(json!({"url": "https://s3.cn-north-1.amazonaws.com.cn", "bucketName": "etcd--x-s3"}), &["spec.bucketName"])]
#[case::port_too_large(json!({"url": "https://host:65536"}), &["spec.url"])]
#[case::no_schedule(json!({"maintenance": {"schedule": "sometimes"}}), &["spec.maintenance.schedule"])]
#[case::no_time_zone(json!({"maintenance": {"timeZone": "Berlin"}}), &["spec.maintenance.timeZone"])]
fn a_stored_location_may_not_have(#[case] given: Value, #[case] expected: &[&str]) {
    assert_eq!(fields(&location(&given).validate()), expected);
}

#[rstest]
#[case::no_certificates(json!({"certsDir": ""}))]
#[case::folder_with_a_slash_at_the_end(json!({"certsDir": "/etc/kubernetes/pki/"}))]
#[case::defaults_by_empty_words(json!({"etcdEndpoint": "", "etcdCreds": "", "options": {"master-node-label-name": ""}}))]
#[case::etcd_in_clear(json!({"etcdEndpoint": "http://127.0.0.1:2379"}))]
#[case::several_members(json!({"etcdEndpoints": ["https://10.0.0.5:2379", "https://10.0.0.6:2379/"]}))]
#[case::all_backups_by_zero(json!({"retainNumBackups": 0}))]
#[case::calendar(json!({"retention": {"daily": 14, "within": "1y6m14d3h"}}))]
#[case::own_label(json!({"options": {"master-node-label-name": "example.com/etcd"}}))]
#[case::every_so_often(json!({"schedule": "@every 1h30m"}))]
#[case::time_zone(json!({"timeZone": "Europe/Berlin", "verify": {"schedule": "@weekly", "timeZone": "UTC"}}))]
#[case::time_zone_of_the_cluster_by_an_empty_word(json!({"timeZone": "", "verify": {"timeZone": ""}}))]
#[case::slowest(json!({"maxRate": 1, "deadlineSeconds": 86_400, "shrinkGuard": 100}))]
#[case::further_files(json!({"extraHostPaths": [{"path": "/etc/kubernetes/e.yaml"}, {"path": "/etc/kubernetes/manifests", "type": "Directory"}]}))]
fn a_policy_may_have(#[case] fields: Value) {
    let policy = policy(&fields);
    assert_eq!(policy.validate(&AllowedHostPaths::default()), []);
    policy.validate_cel().expect("accepted by the rules of the schema");
}

#[rstest]
#[case::relative_folder(json!({"certsDir": "etc/kubernetes"}), &["spec.certsDir"])]
#[case::folder_above(json!({"certsDir": "/etc/kubernetes/../shadow"}), &["spec.certsDir"])]
#[case::unclear_file(json!({"extraHostPaths": [{"path": "/etc/kubernetes"}, {"path": "/etc/kubernetes//a"}]}), &["spec.extraHostPaths[1].path"])]
#[case::no_url(json!({"etcdEndpoint": "127.0.0.1:2379"}), &["spec.etcdEndpoint"])]
#[case::one_bad_member(json!({"etcdEndpoints": ["https://a:2379", "b"]}), &["spec.etcdEndpoints[1]"])]
#[case::unknown_option(json!({"options": {"no-such": "x"}}), &["spec.options"])]
#[case::weeks(json!({"retention": {"within": "3w"}}), &["spec.retention.within"])]
#[case::no_object(json!({"destination": "A_b"}), &["spec.destination"])]
#[case::no_secret(json!({"etcdCreds": "/x"}), &["spec.etcdCreds"])]
fn a_policy_may_not_have(#[case] given: Value, #[case] expected: &[&str]) {
    let policy = policy(&given);
    assert_eq!(fields(&policy.validate(&AllowedHostPaths::default())), expected);
    policy.validate_cel().expect_err("refused by the rules of the schema");
}

/// What rules in CEL cannot say; the schema's limits refuse some of it, but an object that was
/// stored before there were limits gets here.
#[rstest]
#[case::folder_outside_the_list(json!({"certsDir": "/etc/ssh"}), &["spec.certsDir"])]
#[case::everything(json!({"certsDir": "/"}), &["spec.certsDir"])]
#[case::same_file_twice(json!({"extraHostPaths": [{"path": "/etc/etcd/a"}, {"path": "/etc/etcd/a/"}]}), &["spec.extraHostPaths[1].path"])]
#[case::negative_number(json!({"retainNumBackups": -1}), &["spec.retainNumBackups"])]
#[case::too_many_of_each(
    json!({"retention": {"hourly": -1, "daily": 100_001, "weekly": -1, "monthly": -1, "yearly": -1}}),
    &["spec.retention.hourly", "spec.retention.daily", "spec.retention.weekly", "spec.retention.monthly", "spec.retention.yearly"]
)]
#[case::no_bytes_at_all(json!({"maxRate": 0}), &["spec.maxRate"])]
#[case::six_fields(json!({"schedule": "0 0 3 * * *"}), &["spec.schedule"])]
#[case::time_zone_in_the_schedule(json!({"schedule": "CRON_TZ=Europe/Berlin 0 3 * * *"}), &["spec.schedule"])]
#[case::short_time_zone_in_the_schedule(json!({"schedule": "TZ=UTC 0 3 * * *"}), &["spec.schedule"])]
#[case::hour_of_another_day(json!({"schedule": "0 24 * * *"}), &["spec.schedule"])]
#[case::time_zone_in_lower_case(json!({"timeZone": "europe/berlin"}), &["spec.timeZone"])]
#[case::schedule_and_time_zone(json!({"schedule": "never", "timeZone": "Local"}), &["spec.schedule", "spec.timeZone"])]
#[case::schedule_and_time_zone_of_verify(
    json!({"verify": {"schedule": "never", "timeZone": "Local"}}), &["spec.verify.schedule", "spec.verify.timeZone"]
)]
#[case::no_time(json!({"deadlineSeconds": 1}), &["spec.deadlineSeconds"])]
#[case::more_than_all(json!({"shrinkGuard": 101}), &["spec.shrinkGuard"])]
#[case::no_time_at_all(json!({"retention": {"within": "0d"}}), &["spec.retention.within"])]
#[case::no_label(json!({"options": {"master-node-label-name": "a b"}}), &["spec.options.master-node-label-name"])]
#[case::port_too_large(json!({"etcdEndpoint": "https://a:99999"}), &["spec.etcdEndpoint"])]
#[case::all_at_once(json!({"certsDir": "/etc/ssh", "shrinkGuard": -1}), &["spec.certsDir", "spec.shrinkGuard"])]
fn a_stored_policy_may_not_have(#[case] given: Value, #[case] expected: &[&str]) {
    assert_eq!(fields(&policy(&given).validate(&AllowedHostPaths::default())), expected);
}

#[rstest]
#[case::root_of_the_volume(json!({"subPath": ""}), true)]
#[case::folder(json!({"subPath": "a/b/"}), true)]
#[case::folder_above(json!({"subPath": "../a"}), false)]
#[case::from_the_root(json!({"subPath": "/a"}), false)]
#[case::no_record(json!({"mbrName": "A"}), false)]
#[case::no_volume(json!({"pvcName": "a_b"}), false)]
fn a_restore(#[case] fields: Value, #[case] accepted: bool) {
    let restore = restore(&fields);
    assert_eq!(restore.validate().is_empty(), accepted, "{:?}", restore.validate());
    assert_eq!(restore.validate_cel().is_ok(), accepted);
}

#[test]
fn a_name_must_leave_room_for_those_derived_from_it() {
    let allowed = AllowedHostPaths::default();
    assert_eq!(named(samples::location(), 47).validate(), []);
    assert_eq!(named(samples::policy(), 37).validate(&allowed), []);
    assert_eq!(named(samples::restore(), 60).validate(), []);
    let found = [
        named(samples::location(), 48).validate(),
        named(samples::policy(), 38).validate(&allowed),
        named(samples::restore(), 61).validate(),
    ];
    named(samples::location(), 47).validate_cel().expect("it fits");
    named(samples::location(), 48).validate_cel().expect_err("too long");
    named(samples::policy(), 38).validate_cel().expect_err("too long");
    named(samples::restore(), 61).validate_cel().expect_err("too long");
    for violations in found {
        assert_eq!(violations.iter().map(reason).collect::<Vec<_>>(), [Reason::NameTooLong]);
    }
}

#[rstest]
#[case::stays(json!({"policy": "p", "snapshotId": "9a9808ce"}), true)]
#[case::location_is_pinned(json!({"policy": "p", "snapshotId": "9a9808ce", "backuploc": "l"}), true)]
#[case::other_policy(json!({"policy": "q", "snapshotId": "9a9808ce"}), false)]
#[case::other_snapshot(json!({"policy": "p", "snapshotId": "aaaaaaaa"}), false)]
fn a_record_without_a_location(#[case] spec: Value, #[case] accepted: bool) {
    let record = |spec| MetadataBackupRecord::new("r", serde_json::from_value(spec).expect("a spec"));
    let (old, new) = (record(json!({"policy": "p", "snapshotId": "9a9808ce"})), record(spec));
    assert_eq!(new.validate_cel_update(&old).is_ok(), accepted);
    assert_eq!(new.validate_change(&old).is_empty(), accepted);
}

#[rstest]
#[case::stays(json!({"policy": "p", "snapshotId": "9a9808ce", "backuploc": "l"}), true)]
#[case::other_location(json!({"policy": "p", "snapshotId": "9a9808ce", "backuploc": "m"}), false)]
#[case::location_is_removed(json!({"policy": "p", "snapshotId": "9a9808ce"}), false)]
fn a_record_with_a_location(#[case] spec: Value, #[case] accepted: bool) {
    let record = |spec| MetadataBackupRecord::new("r", serde_json::from_value(spec).expect("a spec"));
    let old = record(json!({"policy": "p", "snapshotId": "9a9808ce", "backuploc": "l"}));
    assert_eq!(record(spec.clone()).validate_cel_update(&old).is_ok(), accepted);
    assert_eq!(record(spec).validate_change(&old).is_empty(), accepted);
}

#[test]
fn a_change_of_a_record_is_named_with_what_it_is_of() {
    let record = |spec| MetadataBackupRecord::new("r", serde_json::from_value(spec).expect("a spec"));
    let old = record(json!({"policy": "p", "snapshotId": "9a9808ce", "backuploc": "l"}));
    let new = record(json!({"policy": "q", "snapshotId": "aaaaaaaa"}));
    let found: Vec<_> = new.validate_change(&old).iter().map(ToString::to_string).collect();
    let expected = [
        r#"policy: cannot become "q": it is "p""#,
        r#"snapshotId: cannot become "aaaaaaaa": it is "9a9808ce""#,
        r#"backuploc: cannot become nothing: it is "l""#,
    ]
    .map(|said| format!("spec.{said} for good, since a record names one backup"));
    assert_eq!(found, expected);
}

#[rstest]
#[case::of_a_policy_that_is_unknown(json!({"policy": "unknown", "snapshotId": "9a9808ce"}), &[])]
#[case::with_a_full_id(json!({"policy": "p", "snapshotId": "9a".repeat(32), "backuploc": "l"}), &[])]
#[case::of_no_object(json!({"policy": "A", "snapshotId": "9a9808ce", "backuploc": "-"}), &["spec.policy", "spec.backuploc"])]
#[case::with_a_short_id(json!({"policy": "p", "snapshotId": "9a9808c"}), &["spec.snapshotId"])]
#[case::with_a_word_for_an_id(json!({"policy": "p", "snapshotId": "snapshot"}), &["spec.snapshotId"])]
fn a_record(#[case] spec: Value, #[case] expected: &[&str]) {
    let record = MetadataBackupRecord::new("r", serde_json::from_value(spec).expect("a spec"));
    assert_eq!(fields(&record.validate()), expected);
}

#[test]
fn an_object_belongs_into_the_operators_namespace() {
    let mut policy = samples::policy();
    let found = |policy: &MetadataBackupPolicy| names::namespace(&policy.metadata, "kubedr-system");
    assert_eq!(found(&policy).as_ref().map(reason), Some(Reason::WrongNamespace), "it has none");
    policy.metadata.namespace = Some("kubedr-system".to_owned());
    assert_eq!(found(&policy), None);
}

#[test]
fn fields_that_are_not_given_mean_what_upstream_meant() {
    let spec = json!({"destination": "local-minio", "schedule": "*/10 * * * *"});
    let spec: MetadataBackupPolicySpec = serde_json::from_value(spec).expect("required fields only");
    assert_eq!(spec.etcd_endpoints(), ["https://127.0.0.1:2379"]);
    assert_eq!(spec.etcd_credentials(), "etcd-creds");
    assert_eq!(spec.certs_dir(), None);
    assert_eq!(spec.node_label(), None);
    assert_eq!(spec.retention().last, 120);
    assert!(!spec.suspend);
    let defaults = MetadataBackupPolicySpec {
        destination: "local-minio".to_owned(),
        schedule: "*/10 * * * *".to_owned(),
        ..MetadataBackupPolicySpec::default()
    };
    assert_eq!(spec, defaults);

    let spec = json!({"url": "http://h", "bucketName": "abc", "credentials": "c"});
    let spec: BackupLocationSpec = serde_json::from_value(spec).expect("required fields only");
    let defaults = BackupLocationSpec {
        url: "http://h".to_owned(),
        bucket_name: "abc".to_owned(),
        credentials: "c".to_owned(),
        ..BackupLocationSpec::default()
    };
    assert_eq!(spec, defaults);
    assert_eq!(spec.deleting_credentials(), "c");
}

#[test]
fn what_users_write_in_two_ways_is_read_in_one() {
    let policy = policy(&json!({
        "certsDir": "/etc/kubernetes/pki/",
        "etcdEndpoints": ["https://a:2379/", "https://a:2379", "https://b:2379"],
        "retainNumBackups": 0,
        "retention": {"weekly": 8, "within": "14d"},
        "extraHostPaths": [{"path": "/etc/etcd/a/"}],
    }));
    assert_eq!(policy.spec.certs_dir(), Some("/etc/kubernetes/pki"));
    assert_eq!(policy.spec.etcd_endpoints(), ["https://a:2379", "https://b:2379"]);
    assert_eq!(policy.spec.extra_host_paths[0].path(), "/etc/etcd/a");
    let retention = policy.spec.retention();
    assert_eq!((retention.last, retention.weekly, retention.within.is_some()), (120, 8, true));

    let location = location(&json!({"url": "https://s3/", "prefix": "a/b/", "bucketLookup": "DNS"}));
    assert_eq!(location.spec.store().repository(), "s3:https://s3/testbucket/a/b");
    assert_eq!(location.spec.store().lookup, model::BucketLookup::Dns);
}

#[rstest]
#[case::as_kubedr_writes_it(json!("95.250"), Some(95_250))]
#[case::as_upstream_wrote_it(json!("12500m"), Some(12_500))]
#[case::as_a_number(json!(90), Some(90_000))]
#[case::as_no_number(json!("long"), None)]
#[case::as_more_than_there_is(json!("1e300"), None)]
fn how_long_a_backup_took_is_read(#[case] took: Value, #[case] milliseconds: Option<i64>) {
    let status: MetadataBackupPolicyStatus =
        serde_json::from_value(json!({ "totalDurationSecs": took })).expect("a status");
    assert_eq!(status.last_duration(), milliseconds.map(jiff::SignedDuration::from_millis));
}

#[test]
fn objects_that_upstream_stored_are_read() {
    let status = json!({
        "backupTime": "Thu Feb 13 10:00:00 2020", "backupStatus": "Whatever", "backupErrorMessage": "",
        "filesNew": 1, "filesChanged": 0, "dataAdded": 4_000_000_000_i64, "totalBytesProcessed": 5_000_000_000_i64,
        "totalDurationSecs": "1234m", "snapshotId": "9a9808ce", "backupPod": "p", "mbrName": "mbr-9a9808ce",
    });
    let status: MetadataBackupPolicyStatus = serde_json::from_value(status).expect("upstream's status");
    assert_eq!(status.total_bytes_processed, Some(5_000_000_000));
    let record = json!({
        "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1", "kind": "MetadataBackupRecord",
        "metadata": {"name": "mbr-9a9808ce", "finalizers": ["mbr.finalizers.kubedr.catalogicsoftware.com"]},
        "spec": {"policy": "test-backup", "snapshotId": "9a9808ce"}, "status": {},
    });
    let record: MetadataBackupRecord = serde_json::from_value(record).expect("upstream's record");
    assert_eq!(record.spec.backuploc, None);
}

#[test]
fn definitions_have_the_names_of_the_contract() {
    let names: Vec<_> = crds().into_iter().map(|crd| crd.spec.names.plural).collect();
    let expected = ["backuplocations", "metadatabackuppolicies", "metadatabackuprecords", "metadatarestores"];
    assert_eq!(names, expected);
    assert_eq!(BackupLocation::crd_name(), format!("backuplocations.{GROUP}"));
    assert_eq!(BackupLocation::api_resource().api_version, format!("{GROUP}/{VERSION}"));
}

#[test]
fn records_are_selected_by_their_policy() {
    let crd = serde_json::to_value(MetadataBackupRecord::crd()).expect("JSON");
    let path = format!(".{}", MetadataBackupRecord::POLICY_FIELD);
    assert_eq!(crd["spec"]["versions"][0]["selectableFields"], json!([{ "jsonPath": path }]));
}

#[test]
fn an_object_that_nobody_looked_at_is_not_taken_for_healthy() {
    for crd in crds() {
        let crd = serde_json::to_value(crd).expect("JSON");
        let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
        assert_eq!(status["default"], json!({"observedGeneration": -1}));
        assert_eq!(status["required"], Value::Null, "an older object may lack any field");
    }
}

#[test]
fn every_field_is_described_and_bounded() {
    for crd in crds() {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let crd = serde_json::to_value(crd).expect("JSON");
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            bounded(&format!("{name} {part}"), &schema["properties"][part]);
        }
    }
}

/// Refuses what would make the API server refuse a rule for its cost, or a user ask.
fn bounded(path: &str, schema: &Value) {
    let has = |key: &str| schema.get(key).is_some();
    let is_item = path.ends_with("[]");
    assert!(is_item || has("description"), "{path} is not described");
    assert!(!has("nullable") && !has("anyOf") && !has("oneOf"), "{path}");
    match schema["type"].as_str() {
        Some("string") => {
            assert!(has("maxLength") || has("enum") || has("format"), "{path} has no maxLength");
        }
        Some("array") => assert!(has("maxItems") && has("x-kubernetes-list-type"), "{path} has no maxItems"),
        Some("integer") => assert_eq!(schema["format"], "int64", "{path}"),
        Some("object") => assert!(has("properties") || has("maxProperties"), "{path} has no maxProperties"),
        _ => {}
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        bounded(&format!("{path}.{key}"), property);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(item) = schema.get(key) {
            bounded(&format!("{path}[]"), item);
        }
    }
}

/// The description of a field of a schema, and of each that it is within.
fn descriptions(schema: &Value, path: &str) -> String {
    let mut text = String::new();
    let mut schema = schema;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        schema = &schema["properties"][name.split('[').next().unwrap_or(name)];
        text += schema["description"].as_str().unwrap_or_default();
    }
    text
}

#[test]
fn no_column_shows_what_is_never_filled() {
    for crd in crds().iter().map(|crd| json!(crd)) {
        let version = &crd["spec"]["versions"][0];
        for column in version["additionalPrinterColumns"].as_array().expect("columns") {
            let path = column["jsonPath"].as_str().expect("a path");
            let text = descriptions(&version["schema"]["openAPIV3Schema"], path);
            assert!(!text.contains("Not filled in this version"), "{path}: {text}");
        }
    }
}
