//! An etcd for one test, on the loopback address, without TLS.
use std::{net::TcpListener, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use kubedr_tests::{Program, load::Etcd, until};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;

/// A running member; it ends with this value.
pub struct Member {
    // Before its folder goes.
    _process: Child,
    endpoint: String,
    folder: TempDir,
}

impl Member {
    /// Starts one with an empty database.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [endpoint, peer] = [free_url()?, free_url()?];
        let mut etcd = Command::new("etcd");
        etcd.arg("--data-dir").arg(folder.path().join("etcd"));
        etcd.args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        etcd.args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"]);
        let process = etcd.stdin(Stdio::null()).kill_on_drop(true).spawn().context("failed to start etcd")?;
        let member = Self { _process: process, endpoint, folder };
        until("etcd to answer", async || Ok(member.answers().await.map_err(|error| format!("{error:#}"))))
            .await?;
        Ok(member)
    }

    async fn answers(&self) -> Result<()> {
        self.etcdctl(&["endpoint", "health"]).await
    }

    /// Its folder, which goes with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection to it.
    pub async fn etcd(&self) -> Result<Etcd> {
        let endpoint = Endpoint::from_shared(self.endpoint.clone())?.connect_timeout(Duration::from_secs(5));
        Ok(Etcd::new(endpoint.connect().await.context("failed to reach etcd")?))
    }

    /// Deletes the keys from one to before another.
    pub async fn delete(&self, first: &str, end: &str) -> Result<()> {
        self.etcdctl(&["del", first, end]).await
    }

    /// Saves a snapshot, and returns its file.
    pub async fn snapshot(&self, name: &str) -> Result<std::path::PathBuf> {
        let file = self.folder().join(name);
        self.etcdctl(&["snapshot", "save", file.to_str().context("a name that is no text")?]).await?;
        Ok(file)
    }

    async fn etcdctl(&self, arguments: &[&str]) -> Result<()> {
        let etcdctl = Program::new("etcdctl").args(["--endpoints", &self.endpoint]).args(arguments);
        etcdctl.succeed().await.map(drop)
    }
}

fn free_url() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(format!("http://{}", listener.local_addr()?))
}
