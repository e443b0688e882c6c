//! `config/manager`: the namespace, the operator in it, and the service of its metrics; and how overlays change it.
use api::names;
use serde_json::{Value, json};

use crate::{
    tree::{File, MARK},
    webhook, yaml,
};

/// Images carry the version of this crate, which is that of the whole workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// uid of the operator's process; the customary one for "nobody in particular".
const USER: i64 = 65532;

/// The port of metrics, on container and service.
const METRICS: &str = "metrics";
/// What `--metrics-address` is by default.
const METRICS_PORT: u16 = 8080;

/// Seconds until a process that is ready counts as one that answers: the nodes' proxies must have heard of it before
/// `kubectl rollout status` says that all is done, and before an old one goes.
const SETTLING: u8 = 5;
/// Seconds between two questions whether a process is ready. While the only one is not, no location and no policy can
/// be changed.
const READINESS: u8 = 2;

/// Namespace, Deployment and Service.
pub fn files() -> Vec<File> {
    let namespace_comment = format!(
        "{MARK} from src/manifests. Do not edit.\n\n\
         Pod security is `privileged` because agents mount folders of the node and may use its\n\
         network, which both lesser levels forbid; they have no capability and no token. Treat\n\
         the namespace as you treat kube-system: who may create pods or kubedr's kinds in it can\n\
         read a control-plane node's files."
    );
    let deployment_comment = format!(
        "{MARK} from src/manifests. Do not edit.\n\n\
         One replica works, the one with the lease; every one answers webhooks. So a new one is ready\n\
         before an old one goes, and an old one answers on for some seconds.\n\
         Backups are started by CronJobs: they do not wait for an operator.\n\
         Priority: the alarm must not be the first thing that a full cluster evicts. Where a\n\
         quota binds system priorities to other namespaces (GKE does), remove the line.\n\
         No CPU limit: it would slow the operator just when there is most to do."
    );
    let service_comment = format!(
        "{MARK} from src/manifests. Do not edit.\n\n\
         For Prometheus, or any scraper: plain http, path /metrics. Each replica answers for itself, so\n\
         scrape endpoints, not the service's address. docs/metrics.md says what is there."
    );
    vec![
        File::new("config/manager/namespace.yaml", yaml::document(&namespace_comment, &[namespace()])),
        File::new("config/manager/deployment.yaml", yaml::document(&deployment_comment, &[deployment()])),
        File::new("config/manager/service.yaml", yaml::document(&service_comment, &[service()])),
    ]
}

/// Labels of what is installed, as against what the operator makes.
pub fn labels(component: &str) -> Value {
    json!({ names::label::NAME: names::label::PRODUCT, names::label::COMPONENT: component })
}

/// What an overlay changes about the operator, so that it serves webhooks.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What `--webhook-certificates` is.
    pub certificates: String,
    /// The volume that they are in, where they come from outside.
    pub volume: Option<Value>,
    /// Where the container sees it.
    pub mount: Option<Value>,
}

/// File of an overlay with its change.
const CHANGES: &str = "operator.yaml";

/// The change of an overlay, beside its kustomization.
pub fn changes(folder: &str, change: &Change) -> File {
    let comment = format!("{MARK} from src/manifests. Do not edit.\n\nWhat is different about the operator.");
    let operations = Value::from(change.operations());
    File::new(format!("config/{folder}/{CHANGES}"), yaml::document(&comment, &[operations]))
}

/// How a kustomization names it.
pub fn patch() -> Value {
    json!({ "path": CHANGES, "target": { "kind": "Deployment", "name": names::OPERATOR_ACCOUNT } })
}

impl Change {
    /// A JSON patch: a merge would replace the list of arguments.
    fn operations(&self) -> Vec<Value> {
        const POD: &str = "/spec/template/spec";
        let add =
            |path: &str, value: Value| json!({ "op": "add", "path": format!("{POD}{path}"), "value": value });
        let port = json!({ "name": webhook::PORT, "containerPort": webhook::PORT_NUMBER });
        let mut operations = vec![
            add("/containers/0/args/-", json!(format!("--webhook-certificates={}", self.certificates))),
            add("/containers/0/ports/-", port),
        ];
        operations.extend(self.volume.iter().map(|volume| add("/volumes", json!([volume]))));
        operations.extend(self.mount.iter().map(|mount| add("/containers/0/volumeMounts", json!([mount]))));
        operations
    }
}

/// Selects the operator's namespace.
pub fn own_namespace() -> Value {
    json!({ "matchLabels": { "kubernetes.io/metadata.name": names::DEFAULT_NAMESPACE } })
}

fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": names::DEFAULT_NAMESPACE,
            "labels": {
                names::label::NAME: names::label::PRODUCT,
                "pod-security.kubernetes.io/enforce": "privileged",
                "pod-security.kubernetes.io/audit": "privileged",
                "pod-security.kubernetes.io/warn": "privileged",
            },
        },
    })
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names::OPERATOR_ACCOUNT,
            "namespace": names::DEFAULT_NAMESPACE,
            "labels": labels("operator"),
        },
        "spec": {
            "replicas": 1,
            "minReadySeconds": SETTLING,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "selector": { "matchLabels": labels("operator") },
            "template": {
                "metadata": { "labels": labels("operator") },
                "spec": pod(),
            },
        },
    })
}

fn pod() -> Value {
    json!({
        "serviceAccountName": names::OPERATOR_ACCOUNT,
        "automountServiceAccountToken": true,
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container()],
    })
}

fn container() -> Value {
    let probe = |path: &str, period: u8| json!({ "httpGet": { "path": path, "port": "health" }, "periodSeconds": period });
    json!({
        "name": "operator",
        "image": format!("kubedr/operator:{VERSION}"),
        "imagePullPolicy": "IfNotPresent",
        "args": [
            format!("--namespace={}", names::DEFAULT_NAMESPACE),
            format!("--agent-image=kubedr/agent:{VERSION}"),
            "--leader-elect",
        ],
        "ports": [
            { "name": "health", "containerPort": 8081 },
            { "name": METRICS, "containerPort": METRICS_PORT },
        ],
        "livenessProbe": probe("/healthz", 10),
        "readinessProbe": probe("/readyz", READINESS),
        "resources": {
            "requests": { "cpu": "50m", "memory": "64Mi" },
            "limits": { "memory": "256Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names::METRICS_SERVICE,
            "namespace": names::DEFAULT_NAMESPACE,
            "labels": labels("operator"),
        },
        "spec": {
            "selector": labels("operator"),
            "ports": [{ "name": METRICS, "port": METRICS_PORT, "targetPort": METRICS }],
        },
    })
}

#[cfg(test)]
mod tests;
