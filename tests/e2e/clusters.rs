//! Several clusters on one machine, started and ended at any moment.
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kubedr_tests::{OwnCluster, Program, room, until, xtask};
use serde_json::json;

/// How long a pod must stay alive beside another cluster's: longer than any kubelet's housekeeping.
const ALIVE: Duration = Duration::from_mins(1);

/// A cluster of this test's own, and what these tests do with one.
struct Own(OwnCluster);

impl std::ops::Deref for Own {
    type Target = OwnCluster;

    fn deref(&self) -> &OwnCluster {
        &self.0
    }
}

impl Own {
    async fn up(name: &'static str, options: &[&str]) -> Result<Self> {
        OwnCluster::up(name, options).await.map(Self)
    }

    async fn kubectl(&self) -> Result<Program> {
        let facts = self.facts().await?;
        Ok(Program::new("kubectl").env("KUBECONFIG", facts.get("KUBECONFIG")?))
    }

    /// Starts a pod that does nothing on any node, and returns the one container that it runs in.
    async fn start_pod(&self) -> Result<String> {
        self.start_pod_on(None).await
    }

    async fn start_pod_on(&self, node: Option<&str>) -> Result<String> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "idle", "namespace": "default" },
            "spec": { "nodeName": node, "containers": [
                { "name": "idle", "image": "kubedr.test/pause:1", "imagePullPolicy": "Never" },
            ] },
        });
        self.kubectl().await?.args(["apply", "-f", "-"]).input(pod.to_string()).succeed().await?;
        until("the pod to run", async || {
            let pod = self.container().await?;
            Ok(if pod.starts_with("true 0 ") { Ok(pod) } else { Err(pod) })
        })
        .await
    }

    /// Whether something on the node can connect to an address, and what is said of it.
    async fn connect(&self, address: &str, port: u16) -> Result<(bool, String)> {
        let line = format!("exec 3<>/dev/tcp/{address}/{port}");
        let exec = ["cluster", "exec", "--name", self.name(), "--", "timeout", "10", "bash", "-c", &line];
        let output = xtask()?.args(exec).output().await?;
        Ok((output.code == Some(0), output.stderr))
    }

    /// Whether the pod's container is ready, how often it was restarted, and its id.
    async fn container(&self) -> Result<String> {
        const STATUS: &str = "jsonpath={.status.containerStatuses[0].ready} \
                              {.status.containerStatuses[0].restartCount} \
                              {.status.containerStatuses[0].containerID}";
        self.kubectl().await?.args(["get", "pod", "idle", "-o", STATUS]).succeed().await
    }
}

#[tokio::test]
async fn two_clusters_keep_their_pods_beside_each_other() -> Result<()> {
    let _room = room(2).await;
    let (one, two) =
        (Own::up("beside-1", &[]).await?, Own::up("beside-2", &["--label", "example.org/second="]).await);
    let result = match &two {
        Ok(two) => stay_alive([&one, two]).await,
        Err(_) => Ok(()),
    };
    one.down().await?;
    two?.down().await?;
    result
}

async fn stay_alive(clusters: [&Own; 2]) -> Result<()> {
    let before = (clusters[0].start_pod().await?, clusters[1].start_pod().await?);
    let begin = Instant::now();
    until("a minute to pass", async || {
        let passed = begin.elapsed();
        Ok(if passed >= ALIVE { Ok(()) } else { Err(passed) })
    })
    .await?;
    let after = (clusters[0].container().await?, clusters[1].container().await?);
    ensure!(before == after, "a pod was ended or restarted: {before:?}, then {after:?}");
    Ok(())
}

#[tokio::test]
async fn a_second_node_joins_a_cluster_and_goes_with_it() -> Result<()> {
    let _room = room(2).await;
    let one = Own::up("nodes-1", &[]).await?;
    let two = Own::up("nodes-2", &["--join", one.name(), "--label", "example.org/second="]).await;
    let result = match &two {
        Ok(two) => joined(&one, two).await,
        Err(_) => Ok(()),
    };
    one.down().await?;
    two?;
    let clusters = clusters_folder()?;
    for name in ["nodes-1", "nodes-2"] {
        assert_eq!(left(name, &clusters.join(name))?, Vec::<String>::new());
    }
    result
}

async fn joined(one: &Own, two: &Own) -> Result<()> {
    one.start_pod_on(Some("node2")).await?;
    let healthy = ["get", "--raw", "/api/v1/nodes/node2/proxy/healthz"];
    let healthy = one.kubectl().await?.args(healthy).succeed().await?;
    ensure!(healthy == "ok", "the API server does not reach the second kubelet: {healthy}");
    let address = ["get", "pod", "idle", "--output", "jsonpath={.status.podIP}"];
    let address = one.kubectl().await?.args(address).succeed().await?;
    ensure!(address.starts_with("10.244.1."), "the pod has the address {address}");
    // Nobody listens there, so whoever reaches it is refused, and whoever does not waits in vain.
    let (_, said) = one.connect(&address, 9).await?;
    ensure!(said.contains("refused"), "the first node does not reach the pod: {said}");
    let (is_reached, said) = two.connect("10.96.0.1", 443).await?;
    ensure!(is_reached, "the second node does not reach services: {said}");
    Ok(())
}

#[tokio::test]
async fn three_members_of_etcd_serve_one_cluster() -> Result<()> {
    let cluster = Own::up("members", &["--control-plane", "--etcd-members", "3"]).await?;
    let result = members(&cluster).await;
    let told = end_is_told(&cluster).await;
    cluster.down().await?;
    assert_eq!(result?, 3);
    told
}

/// A program that ends is started again, and `cargo xtask test` fails for it.
async fn end_is_told(cluster: &Own) -> Result<()> {
    let own = cluster.cluster().await?;
    let file = own.file("ended")?;
    ensure!(!file.exists(), "a program ended: {}", std::fs::read_to_string(&file)?);
    ensure!(own.kill("etcd")? == 3, "not three members run");
    until("each end to be told", async || {
        let told = std::fs::read_to_string(&file).unwrap_or_default();
        let ended = |name: &&str| told.contains(&format!("{name} ended: Signaled"));
        Ok(if ["etcd", "etcd-2", "etcd-3"].iter().all(ended) { Ok(()) } else { Err(told) })
    })
    .await
}

#[tokio::test]
async fn objects_that_were_put_straight_into_etcd_are_the_api_servers_own() -> Result<()> {
    let cluster = Own::up("load", &["--control-plane"]).await?;
    let result = loaded(&cluster).await;
    cluster.down().await?;
    assert_eq!(result?, (1000, 300), "all of them, and the pods among them");
    Ok(())
}

/// How many objects were stored, and how many pods the API server lists.
async fn loaded(cluster: &Own) -> Result<(u64, usize)> {
    let load = ["load", "--name", cluster.name(), "--objects", "1000"];
    let figures: serde_json::Value = serde_json::from_str(&xtask()?.args(load).succeed().await?)?;
    assert_eq!(figures["verified"], figures["kinds"], "one of each kind was read back");
    let pods = ["get", "pods", "--all-namespaces", "--output", "name"];
    let pods = cluster.kubectl().await?.args(pods).succeed().await?;
    Ok((figures["objects"].as_u64().unwrap_or_default(), pods.lines().count()))
}

async fn members(cluster: &Own) -> Result<usize> {
    let facts = cluster.facts().await?;
    let certificates = PathBuf::from(facts.get("KUBEDR_CERTIFICATES")?);
    let etcdctl = Program::new("etcdctl")
        .env("ETCDCTL_CACERT", certificates.join("etcd/ca.crt"))
        .env("ETCDCTL_CERT", certificates.join("etcd/server.crt"))
        .env("ETCDCTL_KEY", certificates.join("etcd/server.key"));
    let health = ["endpoint", "health", "--endpoints", facts.get("KUBEDR_ETCD_ENDPOINTS")?];
    let healthy = etcdctl.args(health).output().await?;
    let count = |text: &str| text.lines().filter(|line| line.contains(" is healthy")).count();
    Ok(count(&healthy.stdout) + count(&healthy.stderr))
}

/// `up` is cut off at ten moments, by Ctrl-C and by what nobody can catch. What it leaves is removed by `down` and by
/// the next `up` in turn.
#[tokio::test]
async fn whatever_moment_a_start_is_cut_off_at_nothing_stays() -> Result<()> {
    const NAME: &str = "cut-off";
    let _room = room(1).await;
    let folder = clusters_folder()?.join(NAME);
    let last = OwnCluster::named(NAME);
    last.down().await?;
    for moment in 0..10_u32 {
        let signal = if moment % 2 == 0 { "KILL" } else { "INT" };
        cut_off(NAME, Duration::from_millis(450) * moment, signal).await?;
        if moment % 3 == 0 {
            last.down().await?;
            ensure!(left(NAME, &folder)?.is_empty(), "moment {moment}: {:?}", left(NAME, &folder)?);
        }
    }
    Own::up(NAME, &[]).await?.start_pod().await?;
    last.down().await?;
    assert_eq!(left(NAME, &folder)?, Vec::<String>::new());
    Ok(())
}

/// The folder with the clusters' state.
fn clusters_folder() -> Result<PathBuf> {
    let folder = std::env::var("KUBEDR_CLUSTER_FOLDER").context("KUBEDR_CLUSTER_FOLDER is not set")?;
    Ok(Path::new(&folder).parent().context("no folder above")?.to_owned())
}

async fn cut_off(name: &str, after: Duration, signal: &str) -> Result<()> {
    let path = std::env::var("KUBEDR_XTASK").context("KUBEDR_XTASK is not set")?;
    let mut up = tokio::process::Command::new(path);
    up.args(["cluster", "up", "--name", name]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut up = up.kill_on_drop(true).spawn().context("failed to start xtask")?;
    let early = tokio::time::timeout(after, up.wait()).await;
    let Some(process) = up.id().filter(|_| early.is_err()) else { return Ok(()) };
    Program::new("kill").args([&format!("-{signal}"), &process.to_string()]).succeed().await?;
    tokio::time::timeout(Duration::from_secs(30), up.wait()).await.context("the starter does not end")??;
    Ok(())
}

/// What this machine still has of a cluster: processes, mounts, cgroups, its folder.
fn left(name: &str, folder: &Path) -> Result<Vec<String>> {
    let text = folder.to_str().context("the folder's name is no text")?;
    let of = |process: &Path| std::fs::read(process.join("cmdline")).unwrap_or_default();
    let entries = std::fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let is_ours = |process: &PathBuf| String::from_utf8_lossy(&of(process)).contains(&format!("{text}\0"));
    let processes = entries.filter(is_ours).map(|process| process.display().to_string());
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter(|line| line.contains(text)).map(str::to_owned);
    let mut cgroups = vec![PathBuf::from("/sys/fs/cgroup")];
    cgroups.extend(std::fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path()));
    let cgroups = cgroups.into_iter().map(|hierarchy| hierarchy.join(format!("kubedr-{name}")));
    let paths = cgroups.chain([folder.to_owned()]).filter(|path| path.exists());
    Ok(processes.chain(mounts).chain(paths.map(|path| path.display().to_string())).collect())
}
