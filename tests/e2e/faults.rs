//! Streams that arrive damaged: no record, no snapshot, and a reason.
use anyhow::Result;
use kubedr_tests::{Damage, EtcdRelay, Installation, condition, with_kubedr};
use serde_json::json;

#[tokio::test]
async fn a_stream_that_ends_early_is_no_backup() {
    with_kubedr("truncated", async |kubedr| {
        is_refused(kubedr, Damage::EndsAfter(3), "SnapshotTruncated").await
    })
    .await;
}

#[tokio::test]
async fn a_stream_with_a_flipped_byte_is_no_backup() {
    with_kubedr("flipped", async |kubedr| {
        is_refused(kubedr, Damage::FlippedByteIn(2), "SnapshotDamaged").await
    })
    .await;
}

async fn is_refused(kubedr: &Installation, damage: Damage, reason: &str) -> Result<()> {
    let relay = EtcdRelay::start(&kubedr.cluster, damage).await?;
    kubedr.ready_policy(&json!({ "etcdEndpoint": relay.endpoint() })).await?;
    let run = kubedr.backup("etcd").await?;
    let status = run.policy.status.unwrap_or_default();
    assert_eq!(status.backup_status.as_deref(), Some("Failed"), "{status:#?}");
    assert_eq!(condition(&status.conditions, "Fresh"), ("False", reason));
    assert_eq!(
        condition(&status.conditions, "Ready").0,
        "True",
        "a failed run does not make the policy unready"
    );
    assert!(kubedr.records("etcd").await?.is_empty());
    assert!(kubedr.bucket.snapshots().await?.is_empty());
    // Without the relay, the same policy succeeds: nothing else was wrong.
    kubedr.patch::<api::MetadataBackupPolicy>("etcd", json!({ "spec": { "etcdEndpoint": null } })).await?;
    kubedr.policy_is("etcd", ("True", "Ready")).await?;
    kubedr.successful_backup("etcd").await.map(drop)
}
