//! A cluster that `cargo xtask cluster up` started, as its facts describe it.
use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Client, Config, ResourceExt,
    config::{KubeConfigOptions, Kubeconfig},
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::{Bucket, Program};

/// What `cargo xtask cluster env` tells of a cluster, by the variables' names.
#[derive(Clone, Debug)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    /// Those in the environment of this process: of the cluster that `cargo xtask test` started.
    pub fn of_environment() -> Self {
        Self(std::env::vars().filter(|(name, _)| name.starts_with("KUBE")).collect())
    }

    /// Those that `cluster env --output json` printed.
    pub fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json).map(Self).context("the facts are no JSON")
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| {
            format!("{name} is not set: run `cargo xtask test`, or eval \"$(cargo xtask cluster env)\"")
        })
    }

    fn file_named_by(&self, name: &str) -> Result<String> {
        let path = self.get(name)?;
        let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
        Ok(text.trim().to_owned())
    }
}

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
    facts: Facts,
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
    fn chosen(facts: &Facts) -> Result<Self> {
        let Ok(servers) = facts.get("KUBEDR_S3_SERVERS") else { return Ok(Self::default()) };
        let wanted = facts.get("KUBEDR_TEST_S3").ok();
        let found = known(servers).find(|(name, ..)| wanted.is_none_or(|wanted| wanted == *name));
        let (name, url, folder) =
            found.with_context(|| format!("the cluster has no S3 server {wanted:?}: {servers}"))?;
        let authority = url.starts_with("https:").then(|| facts.get("KUBEDR_S3_CA")).transpose()?;
        Ok(Self {
            name: name.to_owned(),
            url: url.to_owned(),
            folder: folder.into(),
            authority: authority.map(PathBuf::from),
            access_key: facts.file_named_by("KUBEDR_S3_ACCESS_KEY_FILE")?,
            secret_key: facts.file_named_by("KUBEDR_S3_SECRET_KEY_FILE")?,
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

impl Cluster {
    /// The one that `cargo xtask test` started.
    pub fn from_environment() -> Result<Self> {
        Self::of(Facts::of_environment())
    }

    /// The one that these facts are of.
    pub fn of(facts: Facts) -> Result<Self> {
        // Every test passes here first; a second call finds the provider installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let text = |name: &str| facts.get(name).map(str::to_owned);
        Ok(Self {
            name: text("KUBEDR_CLUSTER")?,
            node: text("KUBEDR_NODE").unwrap_or_default(),
            node_ip: text("KUBEDR_NODE_IP")?,
            machine_ip: text("KUBEDR_MACHINE_IP")?,
            certificates: text("KUBEDR_CERTIFICATES")?.into(),
            etcd_endpoint: text("KUBEDR_ETCD_ENDPOINT")?,
            s3: S3Server::chosen(&facts)?,
            facts,
        })
    }

    /// Whether something runs pods and cleans up: a control plane alone is thrown away as it is.
    pub fn has_node(&self) -> bool {
        !self.node.is_empty()
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<Client> {
        let file = Kubeconfig::read_from(self.kubeconfig()?).context("failed to read KUBECONFIG")?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        Client::try_from(config.context("KUBECONFIG is of no use")?).context("failed to make a client")
    }

    /// etcd's client URLs: of each member one.
    pub fn etcd_endpoints(&self) -> Result<Vec<&str>> {
        Ok(self.facts.get("KUBEDR_ETCD_ENDPOINTS")?.split(',').collect())
    }

    /// PID 1 of the node's namespaces, as this machine numbers it.
    pub fn node_process(&self) -> Result<i32> {
        self.facts.get("KUBEDR_NODE_PID")?.parse().context("no process id")
    }

    /// A file of the cluster's folder; the node has `kubernetes` and `kubelet` at their usual places.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(self.facts.get("KUBEDR_CLUSTER_FOLDER")?).join(path))
    }

    /// The private authority that signed the certificates of the S3 servers with TLS.
    pub fn s3_authority(&self) -> Result<PathBuf> {
        self.facts.get("KUBEDR_S3_CA").map(PathBuf::from)
    }

    /// Keys of a user of versitygw who may neither make buckets nor use those of others.
    pub fn s3_stranger(&self) -> Result<(String, String)> {
        let users = std::fs::read_to_string(self.file("s3-users/users.json")?).context("no users")?;
        let users: serde_json::Value = serde_json::from_str(&users)?;
        let user = &users["accessAccounts"]["stranger"];
        let text = |key: &str| user[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
        Ok((text("access")?, text("secret")?))
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

    /// The file with the administrator's rights.
    pub fn kubeconfig(&self) -> Result<&str> {
        self.facts.get("KUBECONFIG")
    }

    /// One of the test programs or of the machine's own, found on the PATH.
    pub fn program(&self, name: &str) -> Program {
        let program = Program::new(name);
        match self.kubeconfig() {
            Ok(kubeconfig) => program.env("KUBECONFIG", kubeconfig),
            Err(_) => program,
        }
    }

    /// The folder of a pod's `emptyDir`, as this machine sees it.
    pub fn empty_dir(&self, pod: &Pod, volume: &str) -> Result<PathBuf> {
        let uid = pod.uid().context("the pod has no uid")?;
        self.file(&format!("kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/{volume}"))
    }

    /// URL of an S3 server, by the name that `cargo xtask cluster up --s3` has for it.
    pub fn s3_url(&self, name: &str) -> Result<String> {
        let servers = self.facts.get("KUBEDR_S3_SERVERS")?;
        let found = known(servers).find(|(known, ..)| *known == name);
        let (_, url, _) =
            found.with_context(|| format!("the cluster has no S3 server {name:?}: {servers}"))?;
        Ok(url.to_owned())
    }

    /// A bucket of the chosen S3 server that nothing has made yet.
    pub fn bucket(&self, name: &str) -> Bucket {
        Bucket {
            server: self.s3.name.clone(),
            node_process: self.node_process().ok(),
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
