//! MetadataBackupRecord: exactly those that have their backup, through retention and restarts.
use std::pin::pin;

use anyhow::{Context, Result, ensure};
use api::{MetadataBackupPolicy, MetadataBackupRecord};
use futures::StreamExt;
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    coordination::v1::Lease,
    core::v1::Pod,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
    runtime::{WatchStreamExt, watcher},
};
use kubedr_tests::{EtcdMember, Installation, PATIENCE, is_finished, message, pair, until, with_kubedr};
use serde_json::json;

#[tokio::test]
async fn two_of_four_backups_are_kept_and_they_are_the_newest() {
    with_kubedr("retention", async |kubedr| {
        kubedr.ready_policy(&json!({ "retainNumBackups": 2 })).await?;
        let mut made = Vec::new();
        for _ in 0..4 {
            made.push(kubedr.successful_backup("etcd").await?);
        }
        let expected = &made[2..];
        let records = until("two records", async || {
            let records = kubedr.records("etcd").await?;
            Ok(if records.len() == 2 { Ok(records) } else { Err(names(&records)) })
        })
        .await?;
        assert_eq!(names(&records), names(expected));
        assert_eq!(stored(kubedr).await?, pairs(expected)?, "only the pairs of the kept records are stored");
        kubedr.bucket.restic().args(["check"]).succeed().await?;
        Ok(())
    })
    .await;
}

/// In an etcd of its own: how many objects others have there says nothing.
#[tokio::test]
async fn a_mass_deletion_is_said_and_does_not_age_out_the_backup_before_it() {
    with_kubedr("shrunk", async |kubedr| {
        let member = EtcdMember::start(&kubedr.cluster.machine_ip).await?;
        config_maps(&member, 100).await?;
        kubedr
            .ready_policy(
                &json!({ "etcdEndpoint": member.endpoint(), "retainNumBackups": 1, "shrinkGuard": 30 }),
            )
            .await?;
        let before = kubedr.successful_backup("etcd").await?;
        assert_eq!(objects(&before), (Some(100), Some(false)));
        member.delete("/registry/configmaps/default/c2", "/registry/configmaps/default/c9").await?;
        kubedr.successful_backup("etcd").await?;
        let shrunk = kubedr.successful_backup("etcd").await?;
        assert_eq!(objects(&shrunk), (Some(23), Some(true)), "the second one too");
        let policy = kubedr.policy_says("etcd", "Complete", ("False", "Shrunk")).await?;
        let said = message(&policy.status.unwrap_or_default().conditions, "Complete").to_owned();
        assert!(said.contains(&shrunk.spec.snapshot_id) && said.contains("100"), "{said}");
        only_records_are(kubedr, &[&before, &shrunk]).await?;
        kubedr.policy_says("etcd", "Retained", ("False", "Shrunk")).await?;
        accept(kubedr, &shrunk).await?;
        let after = kubedr.successful_backup("etcd").await?;
        assert_eq!(objects(&after), (Some(23), Some(false)));
        kubedr.policy_says("etcd", "Complete", ("True", "Complete")).await?;
        only_records_are(kubedr, &[&after]).await
    })
    .await;
}

async fn config_maps(member: &EtcdMember, count: usize) -> Result<()> {
    let named = |number| (format!("/registry/configmaps/default/c{number}"), b"k8s".to_vec());
    member.etcd().await?.put_all((0..count).map(named).collect()).await
}

fn objects(record: &MetadataBackupRecord) -> (Option<i64>, Option<bool>) {
    let objects = record.status.as_ref().and_then(|status| status.objects.clone()).unwrap_or_default();
    (objects.count, objects.shrunk)
}

/// Accepts that a backup has shrunk, and waits until the next backup's pod would know it.
async fn accept(kubedr: &Installation, record: &MetadataBackupRecord) -> Result<()> {
    kubedr.annotate::<MetadataBackupPolicy>("etcd", "accept-shrink", &record.name_any()).await?;
    let [first, _] = pair(record)?;
    until("the CronJob to name the accepted snapshot", async || {
        let cronjob = kubedr.api::<CronJob>().get("etcd-backup-cronjob").await?;
        Ok(if serde_json::to_string(&cronjob)?.contains(&first) { Ok(()) } else { Err("not yet") })
    })
    .await
}

#[tokio::test]
async fn a_backup_without_the_key_of_encrypted_objects_says_so_until_it_has_it() {
    with_kubedr("encrypted", async |kubedr| {
        kubedr.ready_policy(&json!({})).await?;
        kubedr.successful_backup("etcd").await?;
        let lacking = kubedr.policy_says("etcd", "Complete", ("False", "EncryptionKeyMissing")).await?;
        let conditions = lacking.status.unwrap_or_default().conditions;
        assert!(message(&conditions, "Complete").contains(r#""test-key" of "aescbc""#), "{conditions:#?}");
        let extra = json!({ "extraHostPaths": [{ "path": ENCRYPTION_CONFIG }] });
        kubedr.change_policy("etcd", extra).await?;
        kubedr.successful_backup("etcd").await?;
        let complete = kubedr.policy_says("etcd", "Complete", ("True", "Complete")).await?;
        assert_eq!(complete.status.unwrap_or_default().encryption_configs, [ENCRYPTION_CONFIG]);
        leaving_out_the_key_is_warned_of(kubedr).await
    })
    .await;
}

/// Where the test cluster has it.
const ENCRYPTION_CONFIG: &str = "/etc/kubernetes/pki/encryption.yaml";

async fn leaving_out_the_key_is_warned_of(kubedr: &Installation) -> Result<()> {
    let kubectl = kubedr.cluster.program("kubectl").args(["-n", &kubedr.namespace, "patch", "mbp", "etcd"]);
    let change = json!({ "spec": { "extraHostPaths": [] } }).to_string();
    let said = kubectl.args(["--type=merge", "--dry-run=server", "--patch", &change]).output().await?;
    let words = ["Warning: spec.extraHostPaths: leaves out the keys ", ENCRYPTION_CONFIG];
    ensure!(said.code == Some(0) && words.iter().all(|words| said.stderr.contains(words)), "{said:#?}");
    Ok(())
}

#[tokio::test]
async fn a_held_record_outlives_retention() {
    with_kubedr("hold", async |kubedr| {
        kubedr.ready_policy(&json!({ "retainNumBackups": 1 })).await?;
        let held = kubedr.successful_backup("etcd").await?;
        kubedr.annotate::<MetadataBackupRecord>(&held.name_any(), "hold", "before the upgrade").await?;
        let expired = kubedr.successful_backup("etcd").await?;
        let newest = kubedr.successful_backup("etcd").await?;
        until("the middle one to go", async || {
            let records = names(&kubedr.records("etcd").await?);
            Ok(if records.contains(&expired.name_any()) { Err(records) } else { Ok(()) })
        })
        .await?;
        assert_eq!(stored(kubedr).await?, pairs(&[held, newest])?);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_a_killed_restic_left_does_not_stop_retention_for_ever() {
    with_kubedr("stale-lock", async |kubedr| {
        kubedr.ready_policy(&json!({ "retainNumBackups": 1 })).await?;
        kubedr.successful_backup("etcd").await?;
        let lock = kubedr.bucket.leave_a_lock(std::time::Duration::from_mins(46)).await?;
        let newest = kubedr.successful_backup("etcd").await?;
        only_record_is(kubedr, &newest).await?;
        assert!(!lock.exists(), "the dead lock is removed");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_is_held_stops_retention_but_no_backup() {
    with_kubedr("live-lock", async |kubedr| {
        kubedr.ready_policy(&json!({ "retainNumBackups": 1 })).await?;
        kubedr.successful_backup("etcd").await?;
        let lock = kubedr.bucket.leave_a_lock(std::time::Duration::ZERO).await?;
        kubedr.successful_backup("etcd").await?;
        let policy = kubedr.policy_says("etcd", "Retained", ("False", "RepositoryLocked")).await?;
        let told = message(&policy.status.unwrap_or_default().conditions, "Retained").to_owned();
        assert!(told.contains(" was renewed ") && !told.contains("unlock"), "{told}");
        let newest = kubedr.successful_backup("etcd").await?;
        assert_eq!(
            (lock.exists(), stored(kubedr).await?.len()),
            (true, 6),
            "all three pairs are still there"
        );
        std::fs::remove_file(&lock)?;
        only_record_is(kubedr, &newest).await?;
        assert_eq!(stored(kubedr).await?, pairs(&[newest])?);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_removed_where_a_backup_that_must_stay_is_gone() {
    with_kubedr("survivor", async |kubedr| {
        kubedr.ready_policy(&json!({ "retainNumBackups": 3 })).await?;
        let older = kubedr.successful_backup("etcd").await?;
        let gone = kubedr.successful_backup("etcd").await?;
        kubedr.bucket.restic().arg("forget").args(pair(&gone)?).succeed().await?;
        let fewer = json!({ "spec": { "retainNumBackups": 1 } });
        kubedr.patch::<MetadataBackupPolicy>("etcd", fewer).await?;
        kubedr.policy_says("etcd", "Retained", ("False", "SurvivorMissing")).await?;
        assert_eq!(names(&kubedr.records("etcd").await?), names(&[older.clone(), gone]));
        assert_eq!(stored(kubedr).await?, pairs(&[older])?);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn deleting_a_record_or_a_policy_deletes_no_stored_byte() {
    with_kubedr("deletion", async |kubedr| {
        kubedr.ready_policy(&json!({})).await?;
        let record = kubedr.successful_backup("etcd").await?;
        let before = stored(kubedr).await?;
        kubedr.api::<MetadataBackupRecord>().delete(&record.name_any(), &DeleteParams::default()).await?;
        kubedr.api::<MetadataBackupPolicy>().delete("etcd", &DeleteParams::default()).await?;
        kubedr.api::<api::BackupLocation>().delete("s3", &DeleteParams::default()).await?;
        until("the objects to be gone", async || {
            let gone = kubedr.api::<api::BackupLocation>().get_opt("s3").await?.is_none()
                && kubedr.api::<MetadataBackupPolicy>().get_opt("etcd").await?.is_none()
                && kubedr.records("etcd").await?.is_empty();
            Ok(if gone { Ok(()) } else { Err("still there") })
        })
        .await?;
        assert_eq!(stored(kubedr).await?, before);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_backup_during_which_the_operator_is_killed_has_one_record() {
    with_kubedr("operator-killed", async |kubedr| Box::pin(backup_without_operator(kubedr)).await).await;
}

async fn backup_without_operator(kubedr: &Installation) -> Result<()> {
    // Slow enough for the operator to be killed while the stream runs.
    kubedr.ready_policy(&json!({ "maxRate": 1_000_000 })).await?;
    let job = kubedr.start_backup("etcd").await?;
    agent_is_running(kubedr, &format!("job-name={}", job.name_any())).await?;
    end_operator(kubedr, &DeleteParams::default().grace_period(0)).await?;
    let now = kubedr.api::<Job>().get(&job.name_any()).await?;
    assert!(!is_finished(&now), "the operator was gone before the backup ended");
    let run = kubedr.finished("etcd", &job).await?;
    assert_eq!(run.policy.status.unwrap_or_default().backup_status.as_deref(), Some("Completed"));
    // Another run gives the operator every occasion to make a second record of the first.
    kubedr.successful_backup("etcd").await?;
    let records = kubedr.records("etcd").await?;
    assert_eq!(records.len(), 2, "one for each of the two runs: {:?}", names(&records));
    assert_eq!(stored(kubedr).await?, pairs(&records)?);
    Ok(())
}

async fn agent_is_running(kubedr: &Installation, labels: &str) -> Result<()> {
    let meant = ListParams::default().labels(labels);
    until("the agent to run", async || {
        let pods = kubedr.api::<Pod>().list(&meant).await?.items;
        let phase = pods.first().and_then(|pod| pod.status.clone()?.phase);
        Ok(if phase.as_deref() == Some("Running") { Ok(()) } else { Err(phase) })
    })
    .await
}

#[tokio::test]
async fn an_operator_that_is_told_to_stop_gives_the_lease_back_for_the_next() {
    with_kubedr("handover", async |kubedr| {
        let (first, _) = leader(kubedr).await?;
        let only = watcher::Config::default().fields("metadata.name=kubedr-operator");
        let mut leases = pin!(watcher(kubedr.api::<Lease>(), only).applied_objects());
        leases.next().await.context("no lease")??;
        end_operator(kubedr, &DeleteParams::default()).await?;
        let after = loop {
            let seen = tokio::time::timeout(PATIENCE, leases.next()).await.context("the lease stayed")?;
            let holder = seen.context("no more leases")??.spec.and_then(|spec| spec.holder_identity);
            if holder.as_ref() != Some(&first) {
                break holder;
            }
        };
        assert_eq!(after, None, "given back, not waited out");
        until("another leader", async || {
            let (holder, _) = leader(kubedr).await?;
            Ok(if holder.is_empty() || holder == first { Err(holder) } else { Ok(()) })
        })
        .await
    })
    .await;
}

/// Who leads, and since when.
async fn leader(kubedr: &Installation) -> Result<(String, jiff::Timestamp)> {
    let lease = kubedr.api::<Lease>().get("kubedr-operator").await.context("failed to read the lease")?;
    let spec = lease.spec.unwrap_or_default();
    let since = spec.acquire_time.map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0);
    Ok((spec.holder_identity.unwrap_or_default(), since))
}

/// Waits until retention has left one record.
async fn only_record_is(kubedr: &Installation, newest: &MetadataBackupRecord) -> Result<()> {
    only_records_are(kubedr, &[newest]).await
}

/// Waits until retention has left these records, oldest first.
async fn only_records_are(kubedr: &Installation, expected: &[&MetadataBackupRecord]) -> Result<()> {
    let expected: Vec<String> = expected.iter().map(|record| record.name_any()).collect();
    until("retention to be done", async || {
        let records = names(&kubedr.records("etcd").await?);
        Ok(if records == expected { Ok(()) } else { Err(records) })
    })
    .await
}

/// Ends the operator's pod; its Deployment starts another.
async fn end_operator(kubedr: &Installation, how: &DeleteParams) -> Result<()> {
    let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
    let pods = kubedr.api::<Pod>().list(&operators).await?.items;
    let pod = pods.first().context("no operator runs")?.name_any();
    kubedr.api::<Pod>().delete(&pod, how).await.context("failed to delete the operator's pod").map(drop)
}

fn names(records: &[MetadataBackupRecord]) -> Vec<String> {
    records.iter().map(ResourceExt::name_any).collect()
}

fn pairs(records: &[MetadataBackupRecord]) -> Result<Vec<String>> {
    let mut ids: Vec<_> =
        records.iter().map(pair).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    ids.sort();
    Ok(ids)
}

async fn stored(kubedr: &Installation) -> Result<Vec<String>> {
    let mut ids: Vec<_> = kubedr.bucket.snapshots().await?.into_iter().map(|snapshot| snapshot.id).collect();
    ids.sort();
    Ok(ids)
}
