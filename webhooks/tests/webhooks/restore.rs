//! MetadataRestore.
use api::{MetadataRestore, samples};
use rstest::rstest;
use serde_json::{Value, json};

use crate::reviews::{admission, created, stored};

#[rstest]
#[case::as_the_sample(json!({}), &[])]
#[case::with_a_folder(json!({"subPath": "a/b"}), &[])]
#[case::with_a_folder_above(json!({"subPath": "../a"}), &["spec.subPath"])]
#[case::with_a_folder_from_the_root(json!({"subPath": "/a"}), &["spec.subPath"])]
#[case::of_no_record(json!({"mbrName": "A"}), &["spec.mbrName"])]
#[case::to_no_volume(json!({"pvcName": "a_b"}), &["spec.pvcName"])]
#[tokio::test]
async fn a_restore_is_made(#[case] fields: Value, #[case] refused: &[&str]) {
    let reply = created::<MetadataRestore>(admission(), &stored(&samples::restore(), &fields)).await;
    assert_eq!((reply.is_allowed(), reply.fields()), (refused.is_empty(), refused.to_vec()), "{reply:?}");
}
