//! The cluster that `cargo xtask test` started, as its environment describes it.
use std::path::PathBuf;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, Config, ResourceExt, config::KubeConfigOptions};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::{Bucket, Program};

/// A running cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Name given to `cargo xtask cluster up`.
    pub name: String,
    /// Name of its one node; empty where there is only a control plane.
    pub node: String,
    /// The node's address, reachable from this machine and from every pod.
    pub node_ip: String,
    /// This machine's address as the node and its pods see it.
    pub machine_ip: String,
    /// Folder with the certificates that the node has at `/etc/kubernetes/pki`.
    pub certificates: PathBuf,
    /// etcd's client URL, with mutual TLS.
    pub etcd_endpoint: String,
    s3: S3Server,
}

/// One of the cluster's S3 servers; of a control plane alone nothing but empty names.
#[derive(Clone, Debug, Default)]
struct S3Server {
    name: String,
    url: String,
    folder: PathBuf,
    /// File of the private authority that signed its certificate, where it has TLS.
    authority: Option<PathBuf>,
    access_key: String,
    secret_key: String,
}

impl S3Server {
    /// The server that `KUBEDR_TEST_S3` names, else the first.
    fn of_environment() -> Result<Self> {
        let Ok(servers) = std::env::var("KUBEDR_S3_SERVERS") else { return Ok(Self::default()) };
        let wanted = std::env::var("KUBEDR_TEST_S3").ok();
        let found = known(&servers).find(|(name, ..)| wanted.as_deref().is_none_or(|wanted| wanted == *name));
        let (name, url, folder) =
            found.with_context(|| format!("the cluster has no S3 server {wanted:?}: {servers}"))?;
        let authority = url.starts_with("https:").then(|| variable("KUBEDR_S3_CA")).transpose()?;
        Ok(Self {
            name: name.to_owned(),
            url: url.to_owned(),
            folder: folder.into(),
            authority: authority.map(PathBuf::from),
            access_key: file_named_by("KUBEDR_S3_ACCESS_KEY_FILE")?,
            secret_key: file_named_by("KUBEDR_S3_SECRET_KEY_FILE")?,
        })
    }
}

/// Name, URL and folder of each S3 server, out of `name=url=folder …`.
fn known(servers: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    servers.split(' ').filter_map(|server| {
        let (name, rest) = server.split_once('=')?;
        let (url, folder) = rest.split_once('=')?;
        Some((name, url, folder))
    })
}

/// A fact of the cluster.
pub(crate) fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| {
        format!("{name} is not set: run `cargo xtask test`, or eval \"$(cargo xtask cluster env)\"")
    })
}

fn file_named_by(name: &str) -> Result<String> {
    let path = variable(name)?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    Ok(text.trim().to_owned())
}

impl Cluster {
    /// Reads the facts that `cargo xtask cluster env` prints.
    pub fn from_environment() -> Result<Self> {
        // Every test passes here first; a second call finds the provider installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Ok(Self {
            name: variable("KUBEDR_CLUSTER")?,
            node: std::env::var("KUBEDR_NODE").unwrap_or_default(),
            node_ip: variable("KUBEDR_NODE_IP")?,
            machine_ip: variable("KUBEDR_MACHINE_IP")?,
            certificates: variable("KUBEDR_CERTIFICATES")?.into(),
            etcd_endpoint: variable("KUBEDR_ETCD_ENDPOINT")?,
            s3: S3Server::of_environment()?,
        })
    }

    /// Whether something runs pods and cleans up: a control plane alone is thrown away as it is.
    pub fn has_node(&self) -> bool {
        !self.node.is_empty()
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<Client> {
        let config = Config::from_kubeconfig(&KubeConfigOptions::default())
            .await
            .context("failed to read KUBECONFIG")?;
        Client::try_from(config).context("failed to make a client")
    }

    /// A connection to an etcd, with the certificates of the API server; an `http` endpoint needs none.
    pub async fn etcd(&self, endpoint: &str) -> Result<Channel> {
        let mut connecting = Endpoint::from_shared(endpoint.to_owned()).context("no endpoint")?;
        if endpoint.starts_with("https:") {
            let [(_, ca), (_, certificate), (_, key)] = self.etcd_credentials()?;
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(ca))
                .identity(Identity::from_pem(certificate, key));
            connecting = connecting.tls_config(tls).context("the certificates are not usable")?;
        }
        connecting.connect().await.with_context(|| format!("failed to reach etcd at {endpoint}"))
    }

    /// One of the test programs or of the machine's own, found on the PATH.
    pub fn program(&self, name: &str) -> Program {
        Program::new(name)
    }

    /// The folder of a pod's `emptyDir`, as this machine sees it.
    pub fn empty_dir(&self, pod: &Pod, volume: &str) -> Result<PathBuf> {
        let uid = pod.uid().context("the pod has no uid")?;
        let kubelet = PathBuf::from(variable("KUBEDR_CLUSTER_FOLDER")?).join("kubelet");
        Ok(kubelet.join("pods").join(uid).join("volumes/kubernetes.io~empty-dir").join(volume))
    }

    /// URL of an S3 server, by the name that `cargo xtask cluster up --s3` has for it.
    pub fn s3_url(&self, name: &str) -> Result<String> {
        let servers = variable("KUBEDR_S3_SERVERS")?;
        let found = known(&servers).find(|(known, ..)| *known == name);
        let (_, url, _) =
            found.with_context(|| format!("the cluster has no S3 server {name:?}: {servers}"))?;
        Ok(url.to_owned())
    }

    /// A bucket of the chosen S3 server that nothing has made yet.
    pub fn bucket(&self, name: &str) -> Bucket {
        Bucket {
            server: self.s3.name.clone(),
            endpoint: self.s3.url.clone(),
            authority: self.s3.authority.clone(),
            server_folder: self.s3.folder.clone(),
            name: name.to_owned(),
            prefix: String::new(),
            access_key: self.s3.access_key.clone(),
            secret_key: self.s3.secret_key.clone(),
            password: format!("password-of-{name}-which-nobody-guesses"),
        }
    }

    /// The three entries of an etcd Secret, as an administrator takes them from the node.
    pub fn etcd_credentials(&self) -> Result<[(&'static str, String); 3]> {
        let read = |name: &str| {
            let path = self.certificates.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
        };
        Ok([
            ("ca.crt", read("etcd/ca.crt")?),
            ("client.crt", read("apiserver-etcd-client.crt")?),
            ("client.key", read("apiserver-etcd-client.key")?),
        ])
    }
}
