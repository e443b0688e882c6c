//! An etcd of the bench's own, run as kubeadm runs one: a pod on the node's network, with the same share of the
//! processors and no limit. No API server is in its way.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use kubedr_tests::{Installation, load::Etcd, until};
use serde_json::json;

use crate::fact;

/// Name of the pod.
const NAME: &str = "bench-etcd";
const PORT: u16 = 12379;
const PEER_PORT: u16 = 12380;
/// Where the cluster's certificates are on the node.
const CERTIFICATES: &str = "/etc/kubernetes/pki/etcd";

/// A running member.
pub struct Member {
    pub endpoint: String,
    folder: PathBuf,
    pods: Api<Pod>,
}

impl Member {
    /// Starts one with an empty database, on the disk, with fsync.
    pub async fn start(installation: &Installation) -> Result<Self> {
        let folder = PathBuf::from(fact("KUBEDR_CLUSTER_FOLDER")?).join(NAME);
        let url = |port: u16| format!("https://{}:{port}", installation.cluster.node_ip);
        let member = Self { endpoint: url(PORT), folder, pods: installation.api() };
        member.remove().await?;
        let pod = pod(&member.folder, &url(PORT), &url(PEER_PORT))?;
        member.pods.create(&PostParams::default(), &pod).await.context("failed to make etcd's pod")?;
        until("etcd to answer", async || {
            Ok(member.client(installation).await.map_err(|error| format!("{error:#}")))
        })
        .await?;
        Ok(member)
    }

    /// A connection to it.
    pub async fn client(&self, installation: &Installation) -> Result<Etcd> {
        let mut etcd = Etcd::new(installation.cluster.etcd(&self.endpoint).await?);
        etcd.put("/bench/hello", Vec::new()).await?;
        Ok(etcd)
    }

    /// Bytes of its database.
    pub fn size(&self) -> Result<u64> {
        let file = self.folder.join("member/snap/db");
        Ok(file.metadata().with_context(|| format!("no {}", file.display()))?.len())
    }

    /// Ends it and removes its database.
    pub async fn remove(&self) -> Result<()> {
        // It may not be there.
        let _ = self.pods.delete(NAME, &DeleteParams::default()).await;
        until("etcd's pod to go away", async || {
            let pod = self.pods.get_opt(NAME).await.context("failed to read etcd's pod")?;
            Ok(if pod.is_none() { Ok(()) } else { Err(NAME) })
        })
        .await?;
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| format!("failed to remove {}", self.folder.display())),
        }
    }
}

fn pod(folder: &Path, url: &str, peer_url: &str) -> Result<Pod> {
    let certificate = |file: &str| format!("{CERTIFICATES}/{file}");
    let command = [
        "/etcd".to_owned(),
        format!("--data-dir={}", folder.display()),
        "--quota-backend-bytes=8589934592".to_owned(),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        format!("--initial-cluster=default={peer_url}"),
        "--client-cert-auth".to_owned(),
        "--peer-client-cert-auth".to_owned(),
        format!("--cert-file={}", certificate("server.crt")),
        format!("--key-file={}", certificate("server.key")),
        format!("--trusted-ca-file={}", certificate("ca.crt")),
        format!("--peer-cert-file={}", certificate("server.crt")),
        format!("--peer-key-file={}", certificate("server.key")),
        format!("--peer-trusted-ca-file={}", certificate("ca.crt")),
    ];
    let mount = |name: &str, path: &Path| json!({ "name": name, "mountPath": path });
    let host_path = |name: &str, path: &Path| json!({ "name": name, "hostPath": { "path": path, "type": "DirectoryOrCreate" } });
    let certificates = Path::new(CERTIFICATES);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": NAME },
        "spec": {
            "hostNetwork": true, "restartPolicy": "Never", "automountServiceAccountToken": false,
            "priorityClassName": "system-node-critical", "terminationGracePeriodSeconds": 10,
            "containers": [{
                "name": "etcd", "image": fact("KUBEDR_BENCH_IMAGE")?, "command": command,
                // As in the manifest that kubeadm writes.
                "resources": { "requests": { "cpu": "100m", "memory": "100Mi" } },
                "volumeMounts": [mount("data", folder), mount("certificates", certificates)],
            }],
            "volumes": [host_path("data", folder), host_path("certificates", certificates)],
        },
    });
    serde_json::from_value(pod).context("not a pod")
}
