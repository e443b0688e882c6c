//! Nobody answers any more: what is installed goes all the same, and in time.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt, api::ListParams};
use kubedr_tests::{Installation, note, with_kubedr_alone};
use serde_json::json;

use super::{goes, installed_by, kubectl};

/// How long anything may take to go: pods have half a minute to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// On a cluster of its own, for the kinds go too.
#[tokio::test]
async fn with_the_operator_gone_its_namespace_goes_and_all_that_was_installed() {
    with_kubedr_alone(&[("uninstall", &[])], async |kubedr| {
        is_full_and_left_alone(kubedr).await?;
        let begin = Instant::now();
        let gone = kubedr.remove_namespace(&kubedr.namespace);
        tokio::time::timeout(PATIENCE, gone).await.context("the namespace does not go")??;
        note(&format!("a namespace went in {:.1} s without its operator", begin.elapsed().as_secs_f32()));
        kubedr.set_up().await?;
        is_full_and_left_alone(kubedr).await?;
        is_uninstalled(kubedr).await
    })
    .await;
}

/// Has what a user makes and what came of it, and then no operator.
async fn is_full_and_left_alone(kubedr: &Installation) -> Result<()> {
    kubedr.ready_policy(&json!({})).await?;
    kubedr.successful_backup("etcd").await?;
    is_applied_twice(kubedr).await?;
    kubedr.scale(0).await?;
    let change = kubedr.try_out(kubedr.policy("etcd", "s3", &json!({ "suspend": true }))).await;
    let said = change.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(said.contains("failed calling webhook"), "nobody should answer: {said:?}");
    Ok(())
}

/// `kubectl apply -k config/self-signed`, as who moves up to another version does, and once more.
async fn is_applied_twice(kubedr: &Installation) -> Result<()> {
    let (carried, all) = (kubedr.carried().await?, installed_by(kubedr, "self-signed", |_| true).await?);
    let first = kubectl(kubedr, &["apply"], &all).await?;
    ensure!(first.code == Some(0), "{first:#?}");
    let again = kubectl(kubedr, &["apply"], &all).await?;
    let is_unchanged = again.stdout.lines().all(|line| line.ends_with(" unchanged"));
    ensure!(again.code == Some(0) && is_unchanged, "{again:#?}");
    ensure!(kubedr.carried().await? == carried, "the webhooks do not carry their authority any more");
    Ok(())
}

/// `kubectl delete -k config/self-signed`.
async fn is_uninstalled(kubedr: &Installation) -> Result<()> {
    let all = installed_by(kubedr, "self-signed", |_| true).await?;
    let begin = Instant::now();
    goes(kubedr, &all).await?;
    note(&format!("all was uninstalled in {:.1} s without an operator", begin.elapsed().as_secs_f32()));
    let kinds =
        Api::<CustomResourceDefinition>::all(kubedr.client.clone()).list(&ListParams::default()).await?;
    let left: Vec<_> =
        kinds.iter().map(ResourceExt::name_any).filter(|name| name.ends_with(api::GROUP)).collect();
    ensure!(left.is_empty(), "kinds are left: {left:?}");
    Ok(())
}
