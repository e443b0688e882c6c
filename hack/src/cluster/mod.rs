//! A real Kubernetes on this machine: one node in namespaces of its own, which others may join.
//!
//! ```text
//! up ──▶ certificates, configuration ──▶ unshare ──▶ node (PID 1 of the namespaces) ──▶ mounts ──▶ programs
//!  └── attaches a network link to it, relays what it says, returns when the node is Ready
//! down ──▶ kills that PID 1: programs, pods, mounts and network namespaces go with it; then cgroups, link, folder
//! ```
//!
//! Nothing is remembered but the folder `~/.cache/kubedr/clusters/<name>/`: processes are found by their arguments,
//! cgroups and the link by their names. So `down` works after any crash.

mod certificates;
mod configuration;
mod down;
mod environment;
mod leftovers;
mod mounts;
mod network;
mod node;
mod processes;
mod programs;
mod s3;
mod up;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use nix::sys::wait::WaitStatus;
use serde::{Deserialize, Serialize};

use crate::cache;
use network::Network;

pub use down::down;
pub use environment::{Format, variables};
pub use s3::Server;
pub use up::{Kubernetes, Options, up};

/// Name of the log of the node's first process.
const NODE: &str = "node";

/// Arguments of `cargo xtask cluster`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask cluster up                          start a cluster, about 10 s when the programs are built
  eval \"$(cargo xtask cluster env)\"               point kubectl, restic and the tests at it
  kubectl get nodes
  cargo xtask cluster exec -- ctr -n k8s.io c ls  run a command as if on the node
  cargo xtask cluster down                        stop it and leave nothing behind
  cargo xtask cluster up --name other             a second cluster beside it
  cargo xtask cluster up --name more --join other a second node of that cluster")]
pub struct Arguments {
    /// Which of several clusters on this machine.
    #[arg(long, global = true, default_value = "default")]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the cluster; succeeds at once if it is running and healthy.
    ///
    /// What is left of one that crashed is removed first.
    #[command(after_help = "Examples:
  cargo xtask cluster up
  cargo xtask cluster up --name tainted --taint --encrypt
  cargo xtask cluster up --name three --etcd-members 3
  cargo xtask cluster up --name worker --join three
  cargo xtask cluster up --name stores --s3 versitygw,minio-tls
  cargo xtask cluster up --name full --s3 minio --s3-in-memory 64m   S3 that is soon full
  cargo xtask cluster up --name api --control-plane --kubernetes 1.36")]
    Up(Options),
    /// Stops the cluster, with the nodes that joined it, and removes everything that it left on this machine.
    #[command(after_help = "Example:
  cargo xtask cluster down --name other")]
    Down,
    /// Prints what a shell or a test needs to know about the cluster.
    #[command(after_help = "Examples:
  eval \"$(cargo xtask cluster env)\"
  cargo xtask cluster env --output json")]
    Env {
        /// Lines for `eval`, or one JSON object.
        #[arg(short, long, value_enum, default_value_t = Format::Shell)]
        output: Format,
    },
    /// Runs a command in the cluster's namespaces, as on the node itself.
    #[command(after_help = "Examples:
  cargo xtask cluster exec -- ls -l /etc/kubernetes/pki
  cargo xtask cluster exec -- sh -c 'etcdctl --endpoints https://127.0.0.1:2379 \\
    --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt \\
    --key /etc/kubernetes/pki/etcd/server.key endpoint status'")]
    Exec {
        /// The command and its arguments, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Loads images (docker-archive tars) into the node.
    #[command(after_help = "Example:
  cargo xtask image | xargs cargo xtask cluster load")]
    Load {
        /// Image archives, for example those that `cargo xtask image` prints.
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
    /// The first process of a cluster's namespaces; `up` starts it.
    #[command(name = processes::NODE_COMMAND, hide = true)]
    Node {
        /// The cluster's state.
        folder: PathBuf,
    },
}

/// Does what the command line asks for.
pub fn run(arguments: Arguments) -> Result<()> {
    let name = &arguments.name;
    match arguments.command {
        Command::Up(options) => up(name, &options).map(drop),
        Command::Down => down(name),
        Command::Env { output } => environment::print(&Cluster::find(name)?, output),
        Command::Exec { command } => Cluster::find(name)?.exec(&command),
        Command::Load { images } => load(name, &images),
        Command::Node { folder } => node::run(&folder),
    }
}

/// Fails where a program of the cluster ended since it was ready: it was started again, and whoever waited long enough
/// has not noticed.
pub fn stayed_up(name: &str) -> Result<()> {
    let checked = none_ended(name, &folder_of(name)?);
    // Said at once: a test that failed is the error that is shown at the end.
    checked.inspect_err(|error| eprintln!("{error}"))
}

fn none_ended(name: &str, folder: &Path) -> Result<()> {
    let file = ends_file(folder);
    match fs::read_to_string(&file) {
        Ok(ends) => bail!("programs of cluster {name:?} did not stay up:\n{}", ends.trim_end()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Loads images into a running cluster.
pub fn load(name: &str, images: &[PathBuf]) -> Result<()> {
    let cluster = Cluster::find(name)?;
    for image in images {
        let archive = File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
        let import = ["ctr", "-n", "k8s.io", "images", "import", "-"].map(str::to_owned);
        let output = cluster.enter(&import)?.stdin(archive).output().context("cannot start nsenter")?;
        if !output.status.success() {
            bail!("cannot load {}: {}", image.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        eprintln!("loaded {}", image.display());
    }
    Ok(())
}

/// What is known about a cluster: written by `up`, read by everything else.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// The name it was given.
    pub name: String,
    /// Its state folder.
    pub folder: PathBuf,
    network: Network,
    /// Of the node with the control plane: its own, unless it joined another cluster.
    control: Network,
    /// The node's number in its Kubernetes; the first one has the control plane.
    ordinal: u8,
    /// Folders with the test programs, as they belong on a PATH.
    programs: Vec<PathBuf>,
    node_images: [PathBuf; 2],
    options: Options,
}

impl Cluster {
    /// Reads the facts of a cluster that `up` has started.
    pub fn find(name: &str) -> Result<Self> {
        Self::read(&folder_of(name)?)
            .with_context(|| format!("cluster {name:?} does not run: cargo xtask cluster up --name {name}"))
    }

    fn read(folder: &Path) -> Result<Self> {
        let facts =
            fs::read(facts_file(folder)).with_context(|| format!("no cluster in {}", folder.display()))?;
        serde_json::from_slice(&facts).with_context(|| format!("bad facts in {}", folder.display()))
    }

    fn write(&self) -> Result<()> {
        fs::write(facts_file(&self.folder), serde_json::to_vec_pretty(self)?)
            .context("cannot write the facts")
    }

    /// Writes down that a program ended which should not: by itself, or because a test ended it.
    fn note_end(&self, program: &str, status: WaitStatus) -> Result<()> {
        let file = File::options().create(true).append(true).open(ends_file(&self.folder));
        let line = format!("{program} ended: {status:?}\n");
        file.and_then(|mut file| file.write_all(line.as_bytes())).context("cannot write down an end")
    }

    /// The file for kubectl and the tests.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubernetes/admin.conf")
    }

    /// Name of the node.
    fn node(&self) -> String {
        format!("node{}", self.ordinal)
    }

    /// Whether it is a further node of another cluster, without control plane and S3 servers of its own.
    fn has_joined(&self) -> bool {
        self.options.join.is_some()
    }

    /// Its S3 servers.
    fn s3(&self) -> &[Server] {
        if self.has_joined() { &[] } else { &self.options.s3 }
    }

    /// Name and address of each member of etcd that it runs.
    fn members(&self) -> Vec<(&'static str, String)> {
        let count = if self.has_joined() { 0 } else { self.options.etcd_members };
        let names = programs::ETCD_MEMBERS.iter().take(count).enumerate();
        names.map(|(index, name)| (*name, self.network.member_ip(index))).collect()
    }

    /// The node's addresses: one for each member of etcd, and at least one.
    fn addresses(&self) -> Vec<String> {
        (0..self.members().len().max(1)).map(|index| self.network.member_ip(index)).collect()
    }

    /// A command that runs in the cluster's namespaces, as root on the node.
    fn enter(&self, command: &[String]) -> Result<std::process::Command> {
        let Some(node) = processes::node_process(&self.folder)? else {
            bail!("cluster {:?} does not run: cargo xtask cluster up --name {0}", self.name);
        };
        let mut nsenter = std::process::Command::new("nsenter");
        nsenter.args(["--target", &node.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--"]);
        nsenter.args(command).env("PATH", self.path()?).env("KUBECONFIG", "/etc/kubernetes/admin.conf");
        Ok(nsenter)
    }

    fn exec(&self, command: &[String]) -> Result<()> {
        use std::os::unix::process::CommandExt;
        let error = self.enter(command)?.exec();
        Err(error).context("cannot start nsenter")
    }

    /// The caller's PATH with the test programs before it.
    fn path(&self) -> Result<String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.programs.iter().cloned().chain(std::env::split_paths(&path));
        let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
        let mut seen = std::collections::BTreeSet::new();
        let joined =
            std::env::join_paths(folders.chain(system).filter(|folder| seen.insert(folder.clone())))?;
        joined.into_string().ok().context("PATH is not text")
    }
}

fn facts_file(folder: &Path) -> PathBuf {
    folder.join("facts.json")
}

/// Programs that ended since the cluster was ready, one in each line.
fn ends_file(folder: &Path) -> PathBuf {
    folder.join("ended")
}

/// The state folder that belongs to a name, whether or not it exists.
fn folder_of(name: &str) -> Result<PathBuf> {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(is_plain) {
        bail!("the cluster's name {name:?} must be lower case letters, digits and '-', at most 40");
    }
    Ok(cache::folder("clusters")?.join(name))
}

/// Every cluster that was started and not removed, whether or not it runs.
fn all() -> Result<Vec<Cluster>> {
    let folders = fs::read_dir(cache::folder("clusters")?)?.flatten().map(|entry| entry.path());
    Ok(folders.filter_map(|folder| Cluster::read(&folder).ok()).collect())
}

/// What joined a cluster.
fn joined_to(name: &str) -> Result<Vec<Cluster>> {
    Ok(all()?.into_iter().filter(|cluster| cluster.options.join.as_deref() == Some(name)).collect())
}

/// Held while clusters are made or removed: two at once could take the same addresses.
fn lock() -> Result<File> {
    cache::lock(&cache::folder("clusters")?.with_added_extension("lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_could_leave_the_folder_is_refused() {
        for name in ["", "../x", "a/b", "A", "a.b"] {
            assert!(folder_of(name).is_err(), "{name}");
        }
        assert!(folder_of("test-2").unwrap().ends_with("kubedr/clusters/test-2"));
    }

    fn cluster_in(folder: &Path) -> Cluster {
        let network = network::tests::example();
        Cluster {
            name: "x".into(),
            folder: folder.into(),
            network,
            control: network,
            ordinal: 1,
            programs: vec!["/p".into()],
            node_images: ["/i".into(), "/j".into()],
            options: Options { taint: true, ..Options::default() },
        }
    }

    #[test]
    fn a_program_that_ended_is_told_with_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = cluster_in(folder.path());
        none_ended("x", folder.path()).unwrap();
        cluster.note_end("kubelet", WaitStatus::Exited(nix::unistd::Pid::from_raw(7), 255)).unwrap();
        cluster.note_end("etcd", WaitStatus::Exited(nix::unistd::Pid::from_raw(8), 1)).unwrap();
        let said = none_ended("x", folder.path()).unwrap_err().to_string();
        assert!(said.contains("kubelet ended: Exited(Pid(7), 255)") && said.contains("etcd ended"), "{said}");
    }

    #[test]
    fn facts_are_read_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = cluster_in(folder.path());
        cluster.write().unwrap();
        assert_eq!(format!("{:?}", Cluster::read(folder.path()).unwrap()), format!("{cluster:?}"));
    }
}
