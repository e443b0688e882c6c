//! An etcd for one test, without TLS: alone, or a member of a cluster.
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;

use crate::{Program, load::Etcd, until};

/// A member, which runs or is stopped; it ends with this value.
pub struct EtcdMember {
    // Before its folder goes.
    process: Child,
    peer: String,
    endpoint: String,
    arguments: Vec<String>,
    folder: TempDir,
}

/// How a member presents itself to others.
struct Identity {
    name: String,
    peer: String,
    /// `name=peer` of all members.
    cluster: String,
    /// `new` or `existing`.
    state: &'static str,
}

impl EtcdMember {
    /// Starts one with an empty database, at this address: the loopback one, or one that pods reach.
    pub async fn start(ip: &str) -> Result<Self> {
        let members = Self::start_cluster(ip, 1).await?;
        members.into_iter().next().context("no member")
    }

    /// Starts so many members of one cluster, with empty databases.
    pub async fn start_cluster(ip: &str, count: usize) -> Result<Vec<Self>> {
        let peers = (0..count).map(|_| free_url(ip)).collect::<Result<Vec<_>>>()?;
        let named: Vec<String> =
            peers.iter().enumerate().map(|(index, peer)| format!("m{index}={peer}")).collect();
        let identity = |(index, peer): (usize, &String)| Identity {
            name: format!("m{index}"),
            peer: peer.clone(),
            cluster: named.join(","),
            state: "new",
        };
        let members = peers.iter().enumerate().map(identity);
        let members =
            members.map(|identity| Self::spawn(ip, &identity, &identity.peer)).collect::<Result<Vec<_>>>()?;
        for member in &members {
            member.until_it_answers().await?;
        }
        Ok(members)
    }

    /// Starts one that takes itself for this one, with a database of its own: as a disk's copy would.
    pub async fn start_double(&self, ip: &str) -> Result<Self> {
        let cluster = format!("m0={}", self.peer);
        let identity = Identity { name: "m0".to_owned(), peer: self.peer.clone(), cluster, state: "new" };
        let double = Self::spawn(ip, &identity, &free_url(ip)?)?;
        double.until_it_answers().await?;
        Ok(double)
    }

    /// Starts a learner beside this one, which is alone.
    pub async fn start_learner(&self, ip: &str) -> Result<Self> {
        let peer = free_url(ip)?;
        self.etcdctl(&["member", "add", "learner", "--learner", "--peer-urls", &peer]).await?;
        let cluster = format!("m0={},learner={peer}", self.peer);
        let identity =
            Identity { name: "learner".to_owned(), peer: peer.clone(), cluster, state: "existing" };
        let learner = Self::spawn(ip, &identity, &peer)?;
        // It serves no reads that a health check would ask for.
        until("the learner to tell its status", async || {
            let status = learner.etcdctl(&["endpoint", "status"]).await;
            Ok(status.map_err(|error| format!("{error:#}")))
        })
        .await?;
        Ok(learner)
    }

    fn spawn(ip: &str, identity: &Identity, listens: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let endpoint = free_url(ip)?;
        let Identity { name, peer, cluster, state } = identity;
        let data = folder.path().join("etcd").display().to_string();
        let words = [
            ["--name", name],
            ["--data-dir", &data],
            ["--listen-client-urls", &endpoint],
            ["--advertise-client-urls", &endpoint],
            ["--listen-peer-urls", listens],
            ["--initial-advertise-peer-urls", peer],
            ["--initial-cluster", cluster],
            ["--initial-cluster-state", state],
            ["--log-level", "error"],
            ["--quota-backend-bytes", "8589934592"],
        ];
        let arguments: Vec<String> = words.into_iter().flatten().map(str::to_owned).collect();
        Ok(Self { process: run(&arguments)?, peer: peer.clone(), endpoint, arguments, folder })
    }

    async fn until_it_answers(&self) -> Result<()> {
        until("etcd to answer", async || {
            Ok(self.etcdctl(&["endpoint", "health"]).await.map_err(|error| format!("{error:#}")))
        })
        .await
    }

    /// Ends it; its database stays.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.kill().await.context("failed to end etcd")
    }

    /// Starts it again where it was.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = run(&self.arguments)?;
        self.until_it_answers().await
    }

    /// Starts it again with room for so many bytes: beyond them it raises an alarm and takes no more.
    pub async fn limit(&mut self, bytes: u64) -> Result<()> {
        self.stop().await?;
        // The last one counts.
        self.arguments.extend(["--quota-backend-bytes".to_owned(), bytes.to_string()]);
        self.start_again().await
    }

    /// Lets it neither work nor answer, while its connections stay.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.process.id().context("it is not running")?;
        kill(Pid::from_raw(id.try_into()?), signal).context("failed to send a signal")
    }

    /// Its client URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its folder, which goes with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its database, whole while it is stopped; a snapshot has a hash behind the same.
    pub fn database(&self) -> PathBuf {
        self.folder().join("etcd/member/snap/db")
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

    /// Ends all alarms.
    pub async fn disarm(&self) -> Result<()> {
        self.etcdctl(&["alarm", "disarm"]).await
    }

    /// Saves a snapshot, and returns its file.
    pub async fn snapshot(&self, name: &str) -> Result<PathBuf> {
        let file = self.folder().join(name);
        self.etcdctl(&["snapshot", "save", file.to_str().context("a name that is no text")?]).await?;
        Ok(file)
    }

    async fn etcdctl(&self, arguments: &[&str]) -> Result<()> {
        let etcdctl = Program::new("etcdctl").args(["--endpoints", &self.endpoint]).args(arguments);
        etcdctl.succeed().await.map(drop)
    }
}

fn run(arguments: &[String]) -> Result<Child> {
    let mut etcd = Command::new("etcd");
    let process = etcd.args(arguments).stdin(Stdio::null()).kill_on_drop(true).spawn();
    process.context("failed to start etcd")
}

/// Ports that no outgoing connection takes, as it would those that the system gives: from 32,768 on.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

fn free_url(ip: &str) -> Result<String> {
    static NEXT: AtomicU16 = AtomicU16::new(PORTS.start);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(PORTS.contains(&port), "no port is left");
        if TcpListener::bind((ip, port)).is_ok() {
            return Ok(format!("http://{ip}:{port}"));
        }
    }
}
