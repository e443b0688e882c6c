//! MetadataBackupRecord.
use api::{MetadataBackupRecord, MetadataBackupRecordSpec};
use rstest::rstest;
use serde_json::{Value, json};

use crate::reviews::{admission, changed, created, removed, stored};

fn record(fields: &Value) -> Value {
    let spec = MetadataBackupRecordSpec {
        policy: "etcd".to_owned(),
        snapshot_id: "9a9808ce".to_owned(),
        backuploc: None,
    };
    stored(&MetadataBackupRecord::new("mbr-9a9808ce", spec), fields)
}

#[rstest]
#[case::as_kubedr_makes_it(json!({"backuploc": "s3"}), &[])]
#[case::as_upstream_made_it(json!({}), &[])]
#[case::of_no_policy(json!({"policy": "A b"}), &["spec.policy"])]
#[case::of_no_snapshot(json!({"snapshotId": "newest"}), &["spec.snapshotId"])]
#[case::of_no_location(json!({"backuploc": "/"}), &["spec.backuploc"])]
#[tokio::test]
async fn a_record_is_made(#[case] fields: Value, #[case] refused: &[&str]) {
    let reply = created::<MetadataBackupRecord>(admission(), &record(&fields)).await;
    assert_eq!((reply.is_allowed(), reply.fields()), (refused.is_empty(), refused.to_vec()), "{reply:?}");
}

#[rstest]
#[case::its_location_is_filled_in(json!({}), json!({"backuploc": "s3"}), &[])]
#[case::its_location_is_another(json!({"backuploc": "s3"}), json!({"backuploc": "s4"}), &["spec.backuploc"])]
#[case::its_location_is_taken_away(json!({"backuploc": "s3"}), json!({"backuploc": null}), &["spec.backuploc"])]
#[case::its_policy_is_another(json!({}), json!({"policy": "other"}), &["spec.policy"])]
#[case::its_snapshot_is_another(json!({}), json!({"snapshotId": "aaaaaaaa"}), &["spec.snapshotId"])]
#[tokio::test]
async fn a_record_is_changed(#[case] old: Value, #[case] new: Value, #[case] refused: &[&str]) {
    let (old, new) = (record(&old), stored(&record(&old), &new));
    let reply = changed::<MetadataBackupRecord>(admission(), (&old, &new)).await;
    assert_eq!((reply.is_allowed(), reply.fields()), (refused.is_empty(), refused.to_vec()), "{reply:?}");
}

#[tokio::test]
async fn a_record_can_be_removed() {
    assert!(removed::<MetadataBackupRecord>(admission(), &record(&json!({}))).await.is_allowed());
}
