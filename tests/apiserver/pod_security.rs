//! Pod Security, as the API server enforces it: docs/security.md says which pod breaks which rule, and why.
use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use api::samples;
use controllers::{
    Settings,
    metadata::policy::build::{Way, cronjob, place},
};
use kubedr_tests::{Installation, config, with_kinds};
use serde_json::{Value, json};

/// Every overlay that has an operator.
const OVERLAYS: [&str; 3] = ["default", "self-signed", "cert-manager"];

/// What the API server says of a backup's pod that has host paths, and etcd on its own node.
const BROKEN: [&str; 4] = [
    "host namespaces (hostNetwork=true)",
    // Of *baseline* too, which is told where that is enforced.
    "restricted volume types (volume ",
    "runAsNonRoot != true (",
    "runAsUser=0 (",
];

#[tokio::test]
async fn where_pods_are_restricted_an_operator_is_let_in_and_a_backup_is_not() {
    with_kinds("restricted", async |kubedr| {
        kubedr.apply(restricted(&kubedr.namespace)).await?;
        kubedr.install("rbac").await?;
        for overlay in OVERLAYS {
            let operator = operator(kubedr, overlay).await?;
            kubedr.try_out(operator).await.with_context(|| format!("the operator of {overlay}"))?;
        }
        a_backup_breaks_what_is_known(kubedr).await
    })
    .await;
}

fn restricted(name: &str) -> Value {
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// The pod of a template.
fn pod(kubedr: &Installation, template: &Value) -> Value {
    let metadata =
        json!({ "name": "one", "namespace": kubedr.namespace, "labels": template["metadata"]["labels"] });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

async fn operator(kubedr: &Installation, overlay: &str) -> Result<Value> {
    let objects = kubedr.rendered(&config().join(overlay)).await?;
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").context("no operator")?;
    Ok(pod(kubedr, &deployment["spec"]["template"]))
}

/// A pod that names certificates, on a node of a control plane.
fn backup(kubedr: &Installation) -> Result<Value> {
    let (policy, location) = (samples::policy(), samples::location());
    let labels = BTreeSet::from(["node-role.kubernetes.io/control-plane".to_owned()]);
    let settings = Settings::new("kubedr/agent:1", "u");
    let place = place(&policy, &location, &labels).context("no such node")?;
    let way = Way { policy: &policy, location: &location, place, settings: &settings, accepted_shrink: None };
    let cronjob = serde_json::to_value(cronjob(&way))?;
    Ok(pod(kubedr, &cronjob["spec"]["jobTemplate"]["spec"]["template"]))
}

async fn a_backup_breaks_what_is_known(kubedr: &Installation) -> Result<()> {
    let refused = kubedr.try_out(backup(kubedr)?).await.err().context("a backup is let in")?;
    let refused = format!("{refused:#}");
    let (_, broken) = refused
        .split_once("violates PodSecurity \"restricted:latest\": ")
        .with_context(|| format!("refused for something else: {refused}"))?;
    // What follows says it again.
    let broken = broken.split(": Forbidden").next().unwrap_or(broken);
    ensure!(BROKEN.iter().all(|rule| broken.contains(rule)), "{refused}");
    // Each rule has what breaks it in brackets.
    ensure!(broken.matches(" (").count() == BROKEN.len(), "more than that is broken: {refused}");
    Ok(())
}
