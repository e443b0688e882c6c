//! What is damaged on its way or lost in the bucket: no record, no pair, and a reason.
use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kubedr_tests::{
    Damage, EtcdRelay, Installation, PATIENCE, Snapshot, TcpRelay, Weather, condition, pair, until,
    with_kubedr,
};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::timeout;

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

/// Several members behind one address: one told its status, another one, that lags behind, sends its snapshot.
#[tokio::test]
async fn a_snapshot_that_is_older_than_its_member_is_no_backup() {
    with_kubedr("stale", async |kubedr| is_refused(kubedr, Damage::Stale, "RevisionWentBack").await).await;
}

async fn is_refused(kubedr: &Installation, damage: Damage, reason: &str) -> Result<()> {
    let relay = EtcdRelay::start(&kubedr.cluster, damage).await?;
    kubedr.ready_policy(&json!({ "etcdEndpoint": relay.endpoint() })).await?;
    kubedr.failing_backup("etcd", reason).await?;
    assert!(kubedr.records("etcd").await?.is_empty());
    assert!(kubedr.bucket.snapshots().await?.is_empty());
    // Without the relay, the same policy succeeds: nothing else was wrong.
    kubedr.change_policy("etcd", json!({ "etcdEndpoint": null })).await?;
    kubedr.successful_backup("etcd").await.map(drop)
}

#[tokio::test]
async fn a_backup_that_needs_a_lost_pack_is_no_backup() {
    with_kubedr("lost-pack", async |kubedr| {
        kubedr.ready_policy(&json!({ "certsDir": "/etc/kubernetes/pki" })).await?;
        let [_, second] = pair(&kubedr.successful_backup("etcd").await?)?;
        // restic stores nothing twice: the next backup refers to what it believes to be in this pack.
        let pack = kubedr.bucket.pack_of(&second, "/data/certificates", "ca.key").await?;
        std::fs::remove_file(pack).context("failed to lose the pack")?;
        let (job, _) = kubedr.start_failing_backup("etcd", "PackMissing").await?;
        nothing_is_left_of_what_failed(kubedr).await?;
        kubedr.end(&job).await?;
        assert_eq!(kubedr.records("etcd").await?.len(), 1);
        let is_second = |found: &Snapshot| found.tags.iter().any(|tag| tag.starts_with("of:"));
        let stored = kubedr.bucket.snapshots().await?.into_iter().filter(is_second);
        assert_eq!(stored.map(|found| found.id).collect::<Vec<_>>(), [second], "no pair is left of it");
        // What the reason's advice says.
        kubedr.bucket.restic().args(["repair", "index"]).succeed().await?;
        kubedr.successful_backup("etcd").await.map(drop)
    })
    .await;
}

/// Neither packs on their way nor restic's cache stay on the node while somebody looks why a backup failed: all of its
/// work is in a folder of the pod that the kubelet takes away when its containers have ended.
async fn nothing_is_left_of_what_failed(kubedr: &Installation) -> Result<()> {
    until("what failed to leave nothing on the node", async || {
        let pods =
            kubedr.api::<Pod>().list(&ListParams::default().fields("status.phase=Failed")).await?.items;
        anyhow::ensure!(!pods.is_empty(), "no pod that failed is there to be looked at");
        let left = pods.iter().map(|pod| kubedr.cluster.left_by(pod)).collect::<Result<Vec<_>>>()?.concat();
        Ok(if left.is_empty() { Ok(()) } else { Err(left) })
    })
    .await
}

/// The Job's next pod clears away what the one before it left.
#[tokio::test]
async fn a_backup_that_dies_between_its_snapshots_is_none_and_its_half_goes() {
    with_kubedr("half", async |kubedr| {
        kubedr.ready_policy(&json!({})).await?;
        let job = kubedr.start_backup("etcd").await?;
        let pod = kubedr.pod_of(&job).await?;
        timeout(PATIENCE, a_file_in(&kubedr.bucket.folder().join("snapshots"))).await?;
        pod.signal("agent", Signal::SIGKILL).await?;
        assert_eq!(kubedr.bucket.snapshots().await?.len(), 1, "it died between them");
        // Where the first restic died with its agent, its lock would keep the half for 45 minutes.
        kubedr.bucket.age_the_locks()?;
        let status = kubedr.finished("etcd", &job).await?.policy.status.unwrap_or_default();
        assert_eq!(status.backup_status.as_deref(), Some("Completed"), "{status:#?}");
        let records = kubedr.records("etcd").await?;
        assert_eq!(records.len(), 1);
        let whole: BTreeSet<_> = pair(&records[0])?.into();
        until("only the pair to be left", async || {
            let stored = kubedr.bucket.snapshots().await?.into_iter().map(|found| found.id);
            let stored: BTreeSet<_> = stored.collect();
            Ok(if stored == whole { Ok(()) } else { Err(stored) })
        })
        .await?;
        the_half_of_another_job_goes(kubedr, pair(&records[0])?).await
    })
    .await;
}

/// A later backup clears it away, but not while its run may go on.
async fn the_half_of_another_job_goes(kubedr: &Installation, [first, second]: [String; 2]) -> Result<()> {
    let restic = |arguments: &[&str]| kubedr.bucket.restic().args(arguments);
    restic(&["forget", &second]).succeed().await?;
    kubedr.successful_backup("etcd").await?;
    let stored = kubedr.bucket.snapshots().await?;
    let half = stored.iter().find(|found| found.id == first).context("it went while its run may go on")?;
    let end = half.tags.iter().find(|tag| tag.starts_with("until:")).context("it says no end of its run")?;
    restic(&["tag", "--remove", end, "--add", "until:1", &first]).succeed().await?;
    kubedr.successful_backup("etcd").await?;
    let is_over = |found: &Snapshot| found.tags.iter().any(|tag| tag == "until:1");
    until("the half to go", async || {
        let left: Vec<_> = kubedr.bucket.snapshots().await?.into_iter().filter(is_over).collect();
        Ok(if left.is_empty() { Ok(()) } else { Err(left) })
    })
    .await
}

/// Waits for the first file of a folder, which may not be there yet, and for no moment longer.
async fn a_file_in(folder: &Path) {
    while std::fs::read_dir(folder).into_iter().flatten().next().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Each is what a server, or a proxy in front of it, was seen to answer. One location meets them all; a changed
/// spec makes it try at once.
#[tokio::test]
async fn what_a_server_answers_is_named_and_heals_when_it_stops() {
    with_kubedr("answers", async |kubedr| {
        let mut relay = TcpRelay::dead(&kubedr.cluster.machine_ip)?;
        relay.set(Weather::Answers(503, "SlowDown"));
        relay.come_back(kubedr.bucket.address())?;
        let mut location = kubedr.location("s3");
        location["spec"]["url"] = json!(format!("http://{}", relay.address()));
        kubedr.apply(location).await?;
        kubedr.location_is("s3", ("False", "Throttled")).await?;
        for (status, code, reason) in [
            (403, "AccessDenied", "AccessDenied"),
            (500, "InternalError", "Unavailable"),
            (403, "RequestTimeTooSkewed", "ClockSkew"),
        ] {
            relay.set(Weather::Answers(status, code));
            let other =
                json!({ "spec": { "maintenance": { "schedule": format!("{} 3 * * 0", status % 60) } } });
            kubedr.patch::<api::BackupLocation>("s3", other).await?;
            kubedr.location_is("s3", ("False", reason)).await?;
        }
        relay.set(Weather::Slow(Duration::from_millis(300)));
        kubedr.location_is("s3", ("True", "Ready")).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_backup_whose_connections_are_cut_is_no_backup_and_the_next_one_is() {
    with_kubedr("cut", async |kubedr| {
        let mut relay = TcpRelay::dead(&kubedr.cluster.machine_ip)?;
        relay.come_back(kubedr.bucket.address())?;
        let mut location = kubedr.location("s3");
        location["spec"]["url"] = json!(format!("http://{}", relay.address()));
        kubedr.apply(location).await?;
        kubedr.location_is("s3", ("True", "Ready")).await?;
        kubedr.make_policy("etcd", &json!({ "deadlineSeconds": 60 })).await?;
        // Enough for what restic asks, too little for what it stores.
        relay.set(Weather::Cut(20_000));
        let status = kubedr.backup("etcd").await?.policy.status.unwrap_or_default();
        assert_eq!(status.backup_status.as_deref(), Some("Failed"), "{status:#?}");
        assert_eq!(condition(&status.conditions, "Fresh"), ("False", "DeadlineExceeded"));
        assert!(kubedr.records("etcd").await?.is_empty() && kubedr.bucket.snapshots().await?.is_empty());
        relay.set(Weather::Fair);
        kubedr.successful_backup("etcd").await.map(drop)
    })
    .await;
}

/// Bytes: enough for a repository without backups and its locks, too little for etcd.
const SMALL: u64 = 48 << 10;

#[tokio::test]
async fn a_full_bucket_is_named_at_once_and_the_next_backup_has_room() {
    with_kubedr("full", async |kubedr| {
        kubedr.ready_policy(&json!({})).await?;
        kubedr.bucket.limit(SMALL).await?;
        kubedr.failing_backup("etcd", "QuotaExceeded").await?;
        assert!(kubedr.records("etcd").await?.is_empty());
        kubedr.bucket.make_room().await?;
        kubedr.successful_backup("etcd").await?;
        assert_eq!(kubedr.bucket.snapshots().await?.len(), 2, "the pair, and nothing of the one that failed");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_is_named_and_another_one_is_taken() {
    with_kubedr("clock", async |kubedr| {
        let mut location = kubedr.location("s3");
        location["spec"]["url"] = json!(kubedr.cluster.s3_url("versitygw-behind")?);
        kubedr.apply(location).await?;
        kubedr.location_is("s3", ("False", "ClockSkew")).await?;
        kubedr.make_location().await.map(drop)
    })
    .await;
}
