//! Control planes that are more than one node with one member: where a backup runs there, and what it asks.
use anyhow::{Context, Result, ensure};
use api::{MetadataBackupRecord, names::MAX_POLICY};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kubedr_tests::{Cluster, EtcdMember, Installation, OwnCluster, until, with_kubedr_alone};
use serde_json::json;

/// What a worker carries that is nearest to an etcd outside of the cluster.
const LABEL: &str = "example.org/near-etcd";

#[tokio::test]
async fn a_backup_runs_on_a_tainted_node_with_three_members_or_on_a_worker_that_is_near_an_external_etcd() {
    let label = format!("{LABEL}=");
    let worker = ["--join", "control-plane", "--label", &label];
    let nodes: [(_, &[&str]); 2] =
        [("control-plane", &["--taint", "--etcd-members", "3"]), ("control-plane-worker", &worker)];
    with_kubedr_alone(&nodes, async |kubedr| {
        kubedr.make_location().await?;
        three_members(kubedr).await?;
        an_external_one(kubedr).await
    })
    .await;
}

async fn three_members(kubedr: &Installation) -> Result<()> {
    let endpoints = kubedr.cluster.etcd_endpoints()?;
    assert_eq!(endpoints.len(), 3);
    let spec = json!({ "etcdEndpoints": endpoints, "certsDir": "/etc/kubernetes/pki" });
    let record = backup(kubedr, "members", spec).await?;
    is_of(&record, &kubedr.cluster.node);
    kubedr.policy_says("members", "Complete", ("True", "Complete")).await.map(drop)
}

/// The worker has neither etcd nor a control plane's label; the policy's name is as long as one may be.
async fn an_external_one(kubedr: &Installation) -> Result<()> {
    let member = EtcdMember::start(&kubedr.cluster.machine_ip).await?;
    member.etcd().await?.put("/registry/configmaps/default/a", b"k8s".to_vec()).await?;
    let options = json!({ "master-node-label-name": LABEL });
    let spec = json!({ "etcdEndpoint": member.endpoint(), "options": options });
    let record = backup(kubedr, &"e".repeat(MAX_POLICY), spec).await?;
    is_of(&record, "node2");
    Ok(())
}

async fn backup(kubedr: &Installation, name: &str, spec: serde_json::Value) -> Result<MetadataBackupRecord> {
    kubedr.make_policy(name, &spec).await?;
    kubedr.successful_backup(name).await.with_context(|| format!("no backup of {name}"))
}

fn is_of(record: &MetadataBackupRecord, node: &str) {
    let status = record.status.as_ref().expect("a record says what it is of");
    assert_eq!(status.node.as_deref(), Some(node));
}

/// The node that drives pods away.
const DRIVING: &str = "driving-worker";

/// A taint that no backup tolerates.
const TAINT: &str = "example.org/driving";

/// Bytes per second, and how many there are at least: for so long a backup can be driven away.
const SLOW: usize = 200_000;
const MUCH: usize = 20 * SLOW;

/// What befalls a node's pods when it is drained for good, and as long as nobody brings another one.
#[tokio::test]
async fn a_backup_that_its_node_drives_away_leaves_nothing_there_and_goes_on_when_it_may_return() {
    let label = format!("{LABEL}=");
    // Tainted for what is no backup: the operator stays on the first node.
    let worker = ["--join", "driving", "--label", &label, "--taint"];
    with_kubedr_alone(&[("driving", &[]), (DRIVING, &worker)], async |kubedr| {
        let member = EtcdMember::start(&kubedr.cluster.machine_ip).await?;
        let mut etcd = member.etcd().await?;
        for number in 0..=MUCH >> 20 {
            etcd.put(&format!("/registry/configmaps/default/{number}"), vec![0; 1 << 20]).await?;
        }
        kubedr.make_location().await?;
        let options = json!({ "master-node-label-name": LABEL });
        let spec = json!({ "etcdEndpoint": member.endpoint(), "options": options, "maxRate": SLOW });
        kubedr.make_policy("etcd", &spec).await?;
        driven_away(kubedr, &OwnCluster::named(DRIVING).cluster().await?).await
    })
    .await;
}

async fn driven_away(kubedr: &Installation, node: &Cluster) -> Result<()> {
    let job = kubedr.start_backup("etcd").await?;
    kubedr.pod_of(&job).await?.runs("agent stream").await?;
    let there = of_backups(node)?;
    ensure!(there.len() > 2, "agent, restic and the pod's folder: {there:?}");
    taint(kubedr, node, &format!("{TAINT}=:NoExecute")).await?;
    until("nothing of the backup to be on its node", async || {
        let left = of_backups(node)?;
        Ok(if left.is_empty() { Ok(()) } else { Err(left) })
    })
    .await?;
    kubedr.told("etcd", "Unschedulable").await?;
    is_no_try(&kubedr.api::<Job>().get(&job.name_any()).await?, 0);
    taint(kubedr, node, &format!("{TAINT}-")).await?;
    let run = kubedr.finished("etcd", &job).await?;
    let status = run.policy.status.unwrap_or_default();
    assert_eq!(status.backup_status.as_deref(), Some("Completed"), "{status:#?}");
    is_no_try(&run.job, turned_away(kubedr, &job).await?);
    assert_eq!(kubedr.records("etcd").await?.len(), 1);
    Ok(())
}

/// Programs and folders of backups on a node that has no other pods.
fn of_backups(node: &Cluster) -> Result<Vec<String>> {
    Ok(node.agents()?.into_iter().chain(node.pod_folders()?).collect())
}

/// Whoever is driven away has not failed, so none of its tries is used up but by those that were turned away.
fn is_no_try(job: &Job, turned_away: usize) {
    let failed = job.status.as_ref().and_then(|status| status.failed).unwrap_or_default();
    assert_eq!(usize::try_from(failed).ok(), Some(turned_away), "{:#?}", job.status);
}

/// Pods that the scheduler sent to a node whose kubelet had not heard yet that it may take them: it fails them unstarted,
/// without a word by which a Job could tell them from others.
async fn turned_away(kubedr: &Installation, job: &Job) -> Result<usize> {
    let pods = kubedr.pods_of(&job.name_any()).await?;
    let reasons = pods.iter().filter_map(|pod| pod.status.as_ref()?.reason.as_deref());
    Ok(reasons.filter(|reason| *reason == "TaintToleration").count())
}

async fn taint(kubedr: &Installation, node: &Cluster, taint: &str) -> Result<()> {
    let kubectl = kubedr.cluster.program("kubectl");
    kubectl.args(["taint", "node", &node.node, taint]).succeed().await.map(drop)
}
