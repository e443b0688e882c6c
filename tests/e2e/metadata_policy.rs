//! MetadataBackupPolicy: what its fields do to the next run.

use anyhow::{Context, Result};
use api::MetadataBackupPolicy;
use k8s_openapi::api::{batch::v1::CronJob, core::v1::Node};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use kubedr_tests::{Installation, condition, message, pair, until, with_kubedr};
use serde_json::json;

#[tokio::test]
async fn a_suspended_policy_starts_nothing_and_a_resumed_one_by_itself() {
    with_kubedr("schedule", async |kubedr| {
        kubedr.apply(kubedr.location("s3")).await?;
        let every_minute = json!({ "schedule": "* * * * *", "suspend": true });
        kubedr.apply(kubedr.policy("etcd", "s3", &every_minute)).await?;
        let policy = kubedr.policy_is("etcd", ("True", "Suspended")).await?;
        assert_eq!(cron_job(kubedr).await?.spec.context("no spec")?.suspend, Some(true));
        a_slot_passes(policy.metadata.creation_timestamp.context("no time")?.0).await?;
        assert!(kubedr.backup_jobs("etcd").await?.is_empty(), "suspended");
        let policy = kubedr.api::<MetadataBackupPolicy>().get("etcd").await?;
        assert_eq!(policy.status.and_then(|status| status.next_schedule_time), None);
        kubedr.change_policy("etcd", json!({ "suspend": false })).await?;
        let policy = kubedr.policy_when("etcd", "to have backed up", has_backed_up).await?;
        let next = policy.status.and_then(|status| status.next_schedule_time).context("no next slot")?.0;
        assert!(next.as_second() % 60 == 0, "a whole minute: {next}");
        assert!(!kubedr.records("etcd").await?.is_empty());
        Ok(())
    })
    .await;
}

fn has_backed_up(policy: &MetadataBackupPolicy) -> bool {
    let status = policy.status.clone().unwrap_or_default();
    status.backup_status.as_deref() == Some("Completed")
        && condition(&status.conditions, "Fresh").0 == "True"
        && status.mbr_name.is_some()
}

/// Waits until the minute after `since` has begun, and what Kubernetes would start in it has had time to.
async fn a_slot_passes(since: jiff::Timestamp) -> Result<()> {
    let minute = since.as_second() / 60;
    until("a slot of the schedule to pass", async || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let (is_later, into) = (now / 60 > minute.try_into()?, now % 60);
        Ok(if is_later && into >= 10 { Ok(()) } else { Err(now) })
    })
    .await
}

#[tokio::test]
async fn a_schedule_that_kubernetes_refuses_is_named() {
    with_kubedr("bad-schedule", async |kubedr| {
        kubedr.apply(kubedr.location("s3")).await?;
        kubedr
            .store_unasked(kubedr.policy("etcd", "s3", &json!({ "schedule": "every now and then" })))
            .await?;
        let policy = kubedr.policy_is("etcd", ("False", "InvalidSpec")).await?;
        let conditions = policy.status.unwrap_or_default().conditions;
        assert!(message(&conditions, "Ready").contains("schedule"), "{conditions:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_destination_is_named_and_heals_when_it_is_made() {
    with_kubedr("no-destination", async |kubedr| {
        kubedr.apply(kubedr.policy("etcd", "s3", &json!({}))).await?;
        kubedr.policy_is("etcd", ("False", "DestinationMissing")).await?;
        kubedr.apply(kubedr.location("s3")).await?;
        kubedr.policy_is("etcd", ("True", "Ready")).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named_and_its_run_replaced_once_another_is_named() {
    with_kubedr("wrong-folder", async |kubedr| {
        kubedr.ready_policy(&json!({ "certsDir": "/etc/kubernetes/not-there" })).await?;
        let hung = kubedr.start_backup("etcd").await?.name_any();
        let missing = ("False", "HostPathMissing");
        let policy = kubedr.policy_says("etcd", "Fresh", missing).await?;
        let status = policy.status.unwrap_or_default();
        assert!(message(&status.conditions, "Fresh").contains("spec.certsDir"), "{status:#?}");
        assert_eq!(status.backup_status.as_deref(), Some("Failed"));
        let said = status.backup_error_message.unwrap_or_default();
        assert!(said.starts_with("HostPathMissing"), "{said}");
        kubedr.change_policy("etcd", json!({ "certsDir": "/etc/kubernetes/pki" })).await?;
        kubedr.policy_when("etcd", "to have backed up", has_backed_up).await?;
        assert_eq!(kubedr.records("etcd").await?.len(), 1);
        let jobs: Vec<_> = kubedr.backup_jobs("etcd").await?.iter().map(ResourceExt::name_any).collect();
        assert!(jobs.len() == 1 && !jobs.contains(&hung), "only what took the place of {hung}: {jobs:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn every_changed_field_shows_in_the_next_run() {
    with_kubedr("changes", async |kubedr| {
        kubedr.ready_policy(&json!({})).await?;
        kubedr.successful_backup("etcd").await?;
        destination(kubedr).await?;
        certificates(kubedr).await?;
        endpoint(kubedr).await?;
        options(kubedr).await
    })
    .await;
}

async fn destination(kubedr: &Installation) -> Result<()> {
    let mut other = kubedr.location("other");
    other["spec"]["prefix"] = json!("other");
    kubedr.apply(other).await?;
    kubedr.location_is("other", ("True", "Ready")).await?;
    kubedr.change_policy("etcd", json!({ "destination": "other" })).await?;
    let record = kubedr.successful_backup("etcd").await?;
    assert_eq!(record.spec.backuploc.as_deref(), Some("other"));
    assert_eq!(kubedr.bucket.at("other").snapshots().await?.len(), 2);
    assert_eq!(kubedr.bucket.snapshots().await?.len(), 2, "the old destination keeps its backup");
    Ok(())
}

async fn certificates(kubedr: &Installation) -> Result<()> {
    kubedr.change_policy("etcd", json!({ "certsDir": "/etc/kubernetes/pki" })).await?;
    let [_, second] = pair(&kubedr.successful_backup("etcd").await?)?;
    let listing = kubedr.bucket.at("other").restic().args(["ls", &second]).succeed().await?;
    assert!(listing.lines().any(|line| line == "/data/certificates/ca.key"), "{listing}");
    Ok(())
}

async fn endpoint(kubedr: &Installation) -> Result<()> {
    kubedr.change_policy("etcd", json!({ "etcdEndpoint": kubedr.cluster.etcd_endpoint })).await?;
    let run = kubedr.backup("etcd").await?;
    assert_eq!(run.policy.status.unwrap_or_default().backup_status.as_deref(), Some("Completed"));
    let pod = run.job.spec.context("no spec")?.template.spec.context("no pod")?;
    assert_ne!(pod.host_network, Some(true), "only a loopback endpoint needs the node's network");
    Ok(())
}

async fn options(kubedr: &Installation) -> Result<()> {
    let nodes = Api::<Node>::all(kubedr.client.clone());
    let label = json!({ "metadata": { "labels": { "example.org/etcd": "" } } });
    nodes.patch(&kubedr.cluster.node, &PatchParams::default(), &Patch::Merge(label)).await?;
    kubedr
        .change_policy("etcd", json!({ "options": { "master-node-label-name": "example.org/etcd" } }))
        .await?;
    let run = kubedr.backup("etcd").await?;
    assert_eq!(run.policy.status.unwrap_or_default().backup_status.as_deref(), Some("Completed"));
    let affinity = run.job.spec.context("no spec")?.template.spec.context("no pod")?.affinity;
    assert!(serde_json::to_string(&affinity)?.contains("example.org/etcd"), "{affinity:?}");
    Ok(())
}

async fn cron_job(kubedr: &Installation) -> Result<CronJob> {
    kubedr.api::<CronJob>().get("etcd-backup-cronjob").await.context("failed to read the CronJob")
}

#[tokio::test]
async fn a_restore_object_is_answered_with_unsupported() {
    with_kubedr("restore-object", async |kubedr| {
        kubedr
            .apply(json!({
                "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1", "kind": "MetadataRestore",
                "metadata": { "name": "back" }, "spec": { "mbrName": "mbr-9a9808ce", "pvcName": "target" },
            }))
            .await?;
        let restores = kubedr.api::<api::MetadataRestore>();
        until("the restore to be refused", async || {
            let status = restores.get("back").await?.status.unwrap_or_default();
            let refused = status.restore_status.as_deref() == Some("Failed")
                && condition(&status.conditions, "Ready") == ("False", "Unsupported");
            Ok(if refused { Ok(()) } else { Err(status) })
        })
        .await
    })
    .await;
}
