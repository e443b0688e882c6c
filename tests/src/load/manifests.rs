//! The kinds, in sizes and shares like those of a busy cluster.
use anyhow::{Context, Result};
use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::template::{FILLER, NAME, NAMESPACE};

/// One kind.
pub struct Manifest {
    pub object: Value,
    /// As its URL has it.
    pub plural: &'static str,
    /// Below `/registry`.
    pub folder: &'static str,
    /// How many of a hundred objects are of it.
    pub share: u64,
}

/// Makes what the templates need: their namespace, and a kind that only a definition knows.
pub async fn prepare(client: &Client) -> Result<()> {
    let params = PatchParams::apply("kubedr-load").force();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces
        .patch(NAMESPACE, &params, &Patch::Apply(&namespace))
        .await
        .context("failed to make a namespace")?;
    // A control plane alone has nobody who makes it, and a pod wants one.
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
    accounts.patch("default", &params, &Patch::Apply(&account)).await.context("failed to make an account")?;
    let name = "gadgets.load.kubedr.test";
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    definitions
        .patch(name, &params, &Patch::Apply(&definition(name)))
        .await
        .context("failed to define a kind")?;
    let established = kube::runtime::conditions::is_crd_established();
    let served = kube::runtime::wait::await_condition(definitions, name, established);
    let served = tokio::time::timeout(std::time::Duration::from_secs(30), served).await;
    served.context("the kind is not served within 30 s")?.context("failed to wait for the kind")?;
    Ok(())
}

fn definition(name: &str) -> Value {
    let schema =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": name },
        "spec": {
            "group": "load.kubedr.test", "scope": "Namespaced",
            "names": { "kind": "Gadget", "plural": "gadgets" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
        },
    })
}

/// All kinds; the shares add up to a hundred.
pub fn all() -> Vec<Manifest> {
    vec![
        kind(
            ("v1", "ConfigMap"),
            ("configmaps", "configmaps"),
            18,
            &json!({ "data": { "application.yaml": filler(1600) } }),
        ),
        kind(
            ("v1", "Secret"),
            ("secrets", "secrets"),
            12,
            &json!({ "type": "Opaque", "stringData": { "token": filler(1100) } }),
        ),
        kind(("v1", "Pod"), ("pods", "pods"), 30, &json!({ "spec": pod() })),
        kind(("apps/v1", "ReplicaSet"), ("replicasets", "replicasets"), 12, &json!({ "spec": workload() })),
        kind(("apps/v1", "Deployment"), ("deployments", "deployments"), 6, &json!({ "spec": workload() })),
        kind(
            ("v1", "Service"),
            ("services", "services/specs"),
            5,
            &json!({ "spec": { "clusterIP": "None", "ports": [{ "port": 80 }], "selector": labels() } }),
        ),
        kind(("discovery.k8s.io/v1", "EndpointSlice"), ("endpointslices", "endpointslices"), 5, &slice()),
        kind(("v1", "ServiceAccount"), ("serviceaccounts", "serviceaccounts"), 4, &json!({})),
        kind(
            ("coordination.k8s.io/v1", "Lease"),
            ("leases", "leases"),
            3,
            &json!({ "spec": { "holderIdentity": filler(40), "leaseDurationSeconds": 40 } }),
        ),
        kind(
            ("load.kubedr.test/v1", "Gadget"),
            ("gadgets", "load.kubedr.test/gadgets"),
            5,
            &json!({ "spec": { "size": 7, "notes": filler(2500) } }),
        ),
    ]
}

fn kind(
    (version, kind): (&str, &str),
    (plural, folder): (&'static str, &'static str),
    share: u64,
    rest: &Value,
) -> Manifest {
    let metadata = json!({ "name": NAME, "namespace": NAMESPACE, "labels": labels(), "annotations": { "note": filler(120) } });
    let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": metadata });
    for (field, value) in rest.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    Manifest { object, plural, folder, share }
}

fn filler(length: usize) -> String {
    FILLER.chars().cycle().take(length.max(FILLER.len())).collect()
}

fn labels() -> Value {
    json!({ "app.kubernetes.io/name": "load", "app.kubernetes.io/instance": NAME, "app.kubernetes.io/part-of": "shop" })
}

/// Nobody schedules it: it is there to be stored, not to run.
fn pod() -> Value {
    let mut pod = containers();
    pod["schedulerName"] = json!("nobody");
    pod
}

fn containers() -> Value {
    let variable = |number: usize| json!({ "name": format!("SETTING_{number}"), "value": filler(40) });
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.org/shop/{name}:1.2.3"),
            "env": (0..8).map(variable).collect::<Vec<_>>(),
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
            "livenessProbe": { "httpGet": { "path": "/healthz", "port": 8080 }, "periodSeconds": 10 },
            "readinessProbe": { "httpGet": { "path": "/readyz", "port": 8080 }, "periodSeconds": 5 },
        })
    };
    json!({ "containers": [container("server"), container("proxy")], "automountServiceAccountToken": false })
}

/// No replicas, so that no controller makes pods of it.
fn workload() -> Value {
    json!({
        "replicas": 0, "selector": { "matchLabels": labels() },
        "template": { "metadata": { "labels": labels() }, "spec": containers() },
    })
}

fn slice() -> Value {
    let endpoint =
        |number: u8| json!({ "addresses": [format!("192.0.2.{number}")], "conditions": { "ready": true } });
    json!({
        "addressType": "IPv4", "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": (1..20).map(endpoint).collect::<Vec<_>>(),
    })
}
