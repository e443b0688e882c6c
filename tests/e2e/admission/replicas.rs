//! Two replicas: both answer, one leads, and another soon leads after that one was killed.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api::MetadataBackupPolicy;
use k8s_openapi::api::{batch::v1::Job, coordination::v1::Lease, core::v1::Pod, events::v1::Event};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use kubedr_tests::{
    Crowd, Installation, NodePod, TurnedAway, figure, is_finished, note, until, until_within, with_kubedr,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::names_of;

/// How soon another leads.
const HANDOVER: Duration = Duration::from_secs(15);
/// How long the API server may ask a replica that was killed: until its Service has heard of it.
const LEAVES: Duration = Duration::from_secs(5);
/// Requests that pass once there is one replica.
const MANY: usize = 200;

#[tokio::test]
async fn of_two_replicas_both_answer_and_within_15_seconds_the_other_leads_and_nothing_is_done_twice() {
    with_kubedr("replicas", async |kubedr| {
        kubedr.scale(2).await?;
        let leader = both_answer_and_one_leads(kubedr).await?;
        let (killed, turned_away) = Crowd::during(kubedr, async |crowd| {
            crowd.is_answered(MANY).await?;
            let killed = Instant::now();
            is_killed(kubedr, &leader).await?;
            while_nobody_leads(kubedr).await?;
            another_leads(kubedr, &leader, killed).await?;
            crowd.is_answered(MANY).await?;
            Ok(killed - crowd.begun())
        })
        .await?;
        only_the_dead_one_does_not_answer(&turned_away, killed)?;
        each_thing_is_done_once(kubedr).await
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_is_told_to_go_leaves_no_request_without_an_answer() {
    with_kubedr("leaving", async |kubedr| {
        kubedr.scale(2).await?;
        Crowd::served(kubedr, async |crowd| {
            crowd.is_answered(MANY).await?;
            for pod in kubedr.operators().await? {
                kubedr.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default()).await?;
                kubedr.scale(2).await?;
                crowd.is_answered(MANY).await?;
            }
            Ok(())
        })
        .await
    })
    .await;
}

/// A review of a policy whose schedule is none.
fn review(kubedr: &Installation) -> Value {
    let object = kubedr.policy("wrong", "s3", &json!({ "schedule": "every night" }));
    let kind = json!({ "group": api::GROUP, "version": "v1alpha1", "kind": object["kind"] });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "one", "kind": kind, "operation": "CREATE", "object": object,
            "name": object["metadata"]["name"], "namespace": kubedr.namespace,
        },
    })
}

/// Asks each, and returns the one that leads.
async fn both_answer_and_one_leads(kubedr: &Installation) -> Result<Pod> {
    let path = "/validate-kubedr-catalogicsoftware-com-v1alpha1-metadatabackuppolicy";
    let (holder, mut leaders) = (holder(kubedr).await?, Vec::new());
    for pod in kubedr.operators().await? {
        let answer = kubedr.answer_of(&pod.name_any(), path, &review(kubedr)).await?;
        ensure!(answer.contains("InvalidSpec: spec.schedule: "), "{} says {answer}", pod.name_any());
        let page = kubedr.metrics_of(&pod.name_any()).await?;
        let answers =
            figure(&page, "kubedr_webhook_answers_total{kind=\"MetadataBackupPolicy\",allowed=\"false\"}")?;
        ensure!(answers >= 1.0, "{} does not count its answer", pod.name_any());
        if figure(&page, "kubedr_leader ")? > 0.0 {
            leaders.push(pod);
        }
    }
    ensure!(leaders.len() == 1 && leaders[0].name_any() == holder, "{holder} holds the lease: {leaders:#?}");
    leaders.pop().context("nobody leads")
}

async fn holder(kubedr: &Installation) -> Result<String> {
    let leases = kubedr.api::<Lease>().list(&ListParams::default()).await?.items;
    let [lease] = &leases[..] else { anyhow::bail!("not one lease: {leases:#?}") };
    Ok(lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default())
}

/// Nothing is given back, and nobody starts it again in its place, as where a node loses its power. But then its address
/// would go on being asked until the node counts as not ready; here the Service hears at once that the pod is deleted.
async fn is_killed(kubedr: &Installation, leader: &Pod) -> Result<()> {
    NodePod::of(leader)?.signal("operator", Signal::SIGKILL).await?;
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    kubedr.api::<Pod>().delete(&leader.name_any(), &at_once).await.context("failed to delete its pod")?;
    Ok(())
}

/// Asks for a repository and a backup.
async fn while_nobody_leads(kubedr: &Installation) -> Result<()> {
    for object in [kubedr.location("s3"), kubedr.policy("etcd", "s3", &json!({}))] {
        // The API server may have asked the one that is dead.
        until("the object to be stored", async || {
            Ok(kubedr.apply(object.clone()).await.map_err(|error| format!("{error:#}")))
        })
        .await?;
    }
    kubedr.annotate::<MetadataBackupPolicy>("etcd", "run-now", "handed-over").await.map(drop)
}

async fn another_leads(kubedr: &Installation, leader: &Pod, killed: Instant) -> Result<()> {
    let before = leader.name_any();
    let other = until_within(2 * HANDOVER, "another to lead", async || {
        let holder = holder(kubedr).await?;
        if holder.is_empty() || holder == before {
            return Ok(Err(holder));
        }
        let page = kubedr.metrics_of(&holder).await?;
        Ok(if figure(&page, "kubedr_leader ")? > 0.0 { Ok(holder) } else { Err(holder) })
    })
    .await?;
    let took = killed.elapsed();
    note(&format!("{:.1} s after its leader was killed another replica led", took.as_secs_f32()));
    ensure!(took < HANDOVER, "{other} led {took:?} after {before} was killed");
    Ok(())
}

/// Whom the API server had chosen in the moment of its death, and until it is known to be dead, gets no answer.
fn only_the_dead_one_does_not_answer(turned_away: &[TurnedAway], killed: Duration) -> Result<()> {
    let is_of_it = |failed: &&TurnedAway| failed.after > killed && failed.after < killed + LEAVES;
    let others: Vec<_> = turned_away.iter().filter(|failed| !is_of_it(failed)).collect();
    ensure!(others.is_empty(), "requests failed, and the leader was killed after {killed:?}: {others:#?}");
    Ok(())
}

async fn each_thing_is_done_once(kubedr: &Installation) -> Result<()> {
    kubedr.location_is("s3", ("True", "Ready")).await?;
    let job = until("the backup to end", async || {
        let jobs = kubedr.backup_jobs("etcd").await?;
        Ok(jobs.iter().find(|job| is_finished(job)).cloned().ok_or(jobs))
    })
    .await?;
    kubedr.finished("etcd", &job).await?;
    let jobs = names_of::<Job>(kubedr).await?;
    ensure!(jobs == [job.name_any(), "s3-init".to_owned()], "{jobs:?}");
    let snapshots = kubedr.bucket.snapshots().await?;
    ensure!(kubedr.records("etcd").await?.len() == 1 && snapshots.len() == 2, "{snapshots:#?}");
    for reason in ["InitSucceeded", "BackupSucceeded"] {
        let events = ListParams::default().fields(&format!("reason={reason}"));
        let events = kubedr.api::<Event>().list(&events).await?.items;
        ensure!(events.len() == 1 && events[0].series.is_none(), "{reason}: {events:#?}");
    }
    Ok(())
}
