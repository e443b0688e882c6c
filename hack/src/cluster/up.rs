//! Starts a cluster.
//!
//! Programs and packages → what is left of an earlier one removed → folder with certificates and configuration →
//! PID 1 in new namespaces (see `node`) → link → Ready.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::network::Network;
use super::node::{KEEP, LINKED, Said};
use super::programs::log_file;
use super::s3::Server;
use super::{
    Cluster, NODE, all, certificates, configuration, down, environment, folder_of, joined_to, lock, mounts,
    processes,
};
use crate::programs::{ETCD, KUBERNETES, KUBERNETES_1_33, KUBERNETES_1_36, OF_A_CLUSTER, ProgramSet};
use crate::{command, image, packages};

/// Longer than any deadline of the node itself, which knows better what it waits for.
const SILENCE: Duration = Duration::from_secs(90);

/// The number of a node that joins a cluster.
const SECOND: u8 = 2;

/// How much of a log is shown when its program failed.
const LOG_LINES: usize = 25;

/// How a cluster is to be started.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct Options {
    /// Keep ordinary pods off the node, as kubeadm does with control-plane nodes.
    #[arg(long)]
    pub taint: bool,
    /// A further label of the node, for example `example.org/etcd=`; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// How many members etcd has: 1 or 3, all on the one node, each at an address of its own.
    #[arg(long, default_value_t = 1, value_parser = members)]
    pub etcd_members: usize,
    /// Only etcd and the API server: for tests of the API, which run no pod.
    #[arg(long, conflicts_with_all = ["taint", "labels"])]
    pub control_plane: bool,
    /// Encrypt Secrets at rest, by a key in /etc/kubernetes/pki/encryption.yaml.
    #[arg(long)]
    pub encrypt: bool,
    /// Be a further node of that cluster, without control plane and S3 servers; it goes down with it.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["control_plane", "encrypt", "etcd_members", "s3", "s3_in_memory"])]
    pub join: Option<String>,
    /// The S3 servers on the node; the first is the one that the facts call the endpoint.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "versitygw")]
    pub s3: Vec<Server>,
    /// Their buckets are in memory, of so many bytes each (`64m`, `2g`): out of the way of etcd's disk, or soon full.
    #[arg(long, value_name = "SIZE", num_args = 0..=1, default_missing_value = "8g", value_parser = size)]
    pub s3_in_memory: Option<String>,
    /// Which API server: the oldest supported one, that of whole clusters, or the newest.
    #[arg(long, value_enum, default_value_t = Kubernetes::V1_35)]
    pub kubernetes: Kubernetes,
}

/// Versions of Kubernetes that can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Kubernetes {
    /// Only as a control plane.
    #[value(name = "1.33")]
    V1_33,
    /// With a node.
    #[value(name = "1.35")]
    V1_35,
    /// Only as a control plane.
    #[value(name = "1.36")]
    V1_36,
}

impl Options {
    /// The sets of programs that it takes, those that win on the PATH first.
    fn programs(&self) -> Result<Vec<&'static ProgramSet>> {
        let own: &[&ProgramSet] = match self.kubernetes {
            Kubernetes::V1_33 => &[&KUBERNETES_1_33],
            Kubernetes::V1_35 => &[],
            Kubernetes::V1_36 => &[&KUBERNETES_1_36],
        };
        if !own.is_empty() && !self.control_plane {
            bail!("of this version there is only the API server: add --control-plane");
        }
        let shared: &[&ProgramSet] = if self.control_plane { &[&ETCD, &KUBERNETES] } else { OF_A_CLUSTER };
        let s3: &[Server] = if self.control_plane { &[] } else { &self.s3 };
        let mut sets = [own, shared].concat();
        for set in s3.iter().filter_map(|server| server.programs()) {
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
        Ok(sets)
    }
}

impl Default for Options {
    fn default() -> Self {
        let kubernetes = Kubernetes::V1_35;
        Self {
            taint: false,
            labels: Vec::new(),
            etcd_members: 1,
            control_plane: false,
            encrypt: false,
            join: None,
            s3: vec![Server::Versitygw],
            s3_in_memory: None,
            kubernetes,
        }
    }
}

fn members(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|members| [1, 3].contains(members))
        .ok_or_else(|| "1 or 3 are possible".to_owned())
}

/// A size as tmpfs(5) takes it.
fn size(text: &str) -> Result<String, String> {
    let digits = text.strip_suffix(['k', 'm', 'g']).unwrap_or(text);
    let is_size = digits.parse::<u64>().is_ok_and(|size| size > 0);
    is_size.then(|| text.to_owned()).ok_or_else(|| "a number of bytes, or of k, m or g".to_owned())
}

/// Starts a cluster, unless it runs and is healthy.
pub fn up(name: &str, options: &Options) -> Result<Cluster> {
    let folder = folder_of(name)?;
    if !nix::unistd::geteuid().is_root() {
        bail!("a cluster needs root: it makes namespaces, mounts and cgroups");
    }
    packages::ensure(packages::CLUSTERS)?;
    let programs = options.programs()?.iter().map(|set| set.ensure()).collect::<Result<Vec<_>>>()?;
    let node_images = image::of_node()?;
    let _lock = lock()?;
    if let Some(cluster) = healthy(&folder, options) {
        eprintln!("cluster {name:?} is running and healthy: cargo xtask cluster env --name {name}");
        return Ok(cluster);
    }
    if options.join.as_deref() == Some(name) {
        bail!("cluster {name:?} cannot join itself: give the new node a --name of its own");
    }
    let place = options.join.as_deref().map(|joined| place_in(joined, name)).transpose()?;
    down::remove(name)?;
    let network = Network::choose(all()?.into_iter().map(|other| other.network))?;
    let (control, ordinal) = place.unwrap_or((network, 1));
    let options = options.clone();
    let cluster =
        Cluster { name: name.into(), folder, network, control, ordinal, programs, node_images, options };
    if let Err(error) = prepare(&cluster).and_then(|()| start(&cluster)) {
        show_log(&cluster, NODE);
        down::remove(name).context("cannot clean up after a failure")?;
        return Err(error.context(format!("cluster {name:?} does not start")));
    }
    Ok(cluster)
}

/// The cluster in a folder, if it runs as it is asked for and is ready.
fn healthy(folder: &Path, options: &Options) -> Option<Cluster> {
    let cluster = Cluster::read(folder).ok().filter(|cluster| cluster.options == *options)?;
    processes::node_process(folder).ok()??;
    let mut kubectl = Command::new("kubectl");
    kubectl.env("PATH", cluster.path().ok()?).arg("--kubeconfig").arg(cluster.kubeconfig());
    kubectl.args(["--request-timeout", "5s"]);
    if options.control_plane {
        command::run(kubectl.args(["get", "--raw", "/readyz"])).ok()?;
        return Some(cluster);
    }
    command::run(kubectl.args([
        "wait",
        "--for",
        "condition=Ready",
        "--timeout",
        "5s",
        "node",
        &cluster.node(),
    ]))
    .ok()?;
    environment::answers_s3(&cluster).then_some(cluster)
}

/// What a node that joins a cluster is there: the network of the control plane, and a number that no other has.
fn place_in(name: &str, own: &str) -> Result<(Network, u8)> {
    let cluster = Cluster::find(name)?;
    if cluster.has_joined() || cluster.options.control_plane {
        bail!("cluster {name:?} is no whole cluster of its own: join one that is");
    }
    if let Some(second) = joined_to(name)?.into_iter().find(|joined| joined.name != own) {
        bail!(
            "cluster {:?} has joined {name:?} already: there are routes between two nodes only",
            second.name
        );
    }
    Ok((cluster.network, SECOND))
}

fn prepare(cluster: &Cluster) -> Result<()> {
    let mut folder = DirBuilder::new();
    folder
        .mode(0o700)
        .create(&cluster.folder)
        .with_context(|| format!("cannot make {}", cluster.folder.display()))?;
    cluster.write()?;
    configuration::write(cluster)?;
    certificates::make(cluster)?;
    mounts::make_cgroups(&cluster.name)
}

fn start(cluster: &Cluster) -> Result<()> {
    eprintln!("starting cluster {:?} in {}", cluster.name, cluster.folder.display());
    let mut node = spawn(cluster)?;
    let mut answers = node.stdin.take().context("no pipe to the node")?;
    let heard = listen(&mut node)?;
    let begin = Instant::now();
    loop {
        let said = heard.recv_timeout(SILENCE).map_err(|_| anyhow!("the node ended or is silent"))?;
        match said {
            Said::NeedsLink => {
                let process = processes::node_process(&cluster.folder)?.context("the node has no process")?;
                attach(cluster, process)?;
                writeln!(answers, "{LINKED}")?;
            }
            Said::Did(what) => eprintln!("  {:4.1} s  {what}", begin.elapsed().as_secs_f32()),
            Said::Failed(program, why) => {
                show_log(cluster, &program);
                bail!("{why}");
            }
            Said::Ready => break,
        }
    }
    writeln!(answers, "{KEEP}").context("the node ended")?;
    eprintln!("cluster {:?} is ready. Next: eval \"$(cargo xtask cluster env --name {0})\"", cluster.name);
    Ok(())
}

fn attach(cluster: &Cluster, process: i32) -> Result<()> {
    cluster.network.attach(process)?;
    let Some(joined) = &cluster.options.join else { return Ok(()) };
    let control = processes::node_process(&folder_of(joined)?)?;
    let control = control.with_context(|| format!("cluster {joined:?} does not run"))?;
    cluster.network.meet(process, cluster.ordinal, (cluster.control, control))
}

fn spawn(cluster: &Cluster) -> Result<Child> {
    let log = File::create(log_file(cluster, NODE))?;
    // A session of its own, so that Ctrl-C and a closed terminal reach `up` alone.
    let mut command = Command::new("setsid");
    command.args(["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--mount-proc"]);
    command.args(["--propagation", "private", "--"]).arg(std::env::current_exe()?);
    command.args(["cluster", processes::NODE_COMMAND]).arg(&cluster.folder);
    // Proxies and the like that a developer has set must not reach the programs.
    command.env_clear().env("PATH", cluster.path()?).env("HOME", "/root").current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    command.spawn().context("cannot start the node")
}

/// What the node says; a line that is not understood belongs to its end.
fn listen(node: &mut Child) -> Result<Receiver<Said>> {
    let lines = BufReader::new(node.stdout.take().context("no pipe from the node")?).lines();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let said = lines.map_while(Result::ok).map_while(|line| serde_json::from_str(&line).ok());
        // The receiver goes away when the node is ready: then nobody needs to hear more.
        let _ = said.map(|said| sender.send(said)).find(Result::is_err);
    });
    Ok(receiver)
}

fn show_log(cluster: &Cluster, program: &str) {
    let log = fs::read_to_string(log_file(cluster, program)).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    if lines.is_empty() {
        return;
    }
    eprintln!("last lines of the log of {program}:");
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        eprintln!("  | {line}");
    }
}
