//! Control planes that are more than one node with one member: where a backup runs there, and what it asks.
use anyhow::{Context, Result};
use api::{MetadataBackupRecord, names::MAX_POLICY};
use kubedr_tests::{EtcdMember, Installation, with_kubedr_alone};
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
