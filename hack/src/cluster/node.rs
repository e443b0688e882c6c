//! PID 1 of a cluster's namespaces: arranges mounts, starts the node's programs, and starts again those that end.
//!
//! It talks with `up` over its standard streams: it says what it did, one JSON value per line, and hears when the link
//! is attached and when it may outlive `up`. If `up` dies before that, it ends, and takes all that it started with it.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::wait::{WaitStatus, wait};
use serde::{Deserialize, Serialize};

use super::programs::{self, Running};
use super::{Cluster, NODE, mounts};
use crate::command;

/// What `up` answers when the link is attached.
pub const LINKED: &str = "linked";
/// What `up` answers at the end, so that the node outlives it.
pub const KEEP: &str = "keep";

/// How long any step may take; usually it is seconds.
const DEADLINE: Duration = Duration::from_mins(1);

/// How long a program that ended stays away.
const PAUSE: Duration = Duration::from_millis(500);

/// What the node tells `up`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Said {
    /// The namespaces are there and need a link to the machine.
    NeedsLink,
    /// A step is done.
    Did(String),
    /// A step failed, probably because of this program, whose log is worth reading.
    Failed(String, String),
    /// The node is ready for pods.
    Ready,
}

/// Runs the node until it is killed.
pub fn run(folder: &Path) -> Result<()> {
    if std::process::id() != 1 {
        bail!("only `cluster up` starts this, in namespaces of its own");
    }
    let cluster = Cluster::read(folder)?;
    let starter = follow_starter();
    let mut node = Node { cluster, running: Vec::new(), step: NODE };
    if let Err(error) = node.start(&starter) {
        say(&Said::Failed(node.step.to_owned(), format!("{error:#}")));
        return Err(error);
    }
    say(&Said::Ready);
    starter.recv_timeout(DEADLINE).context("the starter does not answer")?;
    node.reap()
}

/// Hears what `up` says, and ends the node if `up` ends before it said that the node may stay.
fn follow_starter() -> Receiver<()> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(()).is_err() || line == KEEP {
                return;
            }
        }
        std::process::exit(1);
    });
    receiver
}

fn say(said: &Said) {
    let line = serde_json::to_string(said).unwrap_or_default();
    // If nobody listens any more, there is nobody to tell.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn did(what: &str) {
    say(&Said::Did(what.to_owned()));
}

/// A node on its way up.
struct Node {
    cluster: Cluster,
    running: Vec<Running>,
    /// The program that is waited for.
    step: &'static str,
}

impl Node {
    fn start(&mut self, starter: &Receiver<()>) -> Result<()> {
        self.make_room(starter)?;
        if self.cluster.has_joined() {
            self.launch(programs::CONTAINERS)?;
            self.load_node_images()?;
            self.wait_for_api_server()?;
            // One that was here before would be taken for ready until its lease ends.
            kubectl(&["delete", "node", &self.cluster.node(), "--ignore-not-found"])?;
            return self.start_node();
        }
        self.launch(&programs::ETCD_MEMBERS[..self.cluster.options.etcd_members])?;
        self.launch(programs::CONTROL_PLANE)?;
        if self.cluster.options.control_plane {
            return self.wait_for_api_server();
        }
        self.launch(programs::CONTAINERS)?;
        self.launch(programs::CONTROLLERS)?;
        for server in self.cluster.s3().to_vec() {
            self.step = server.name();
            self.running.push(programs::start_s3(&self.cluster, server)?);
        }
        self.load_node_images()?;
        self.wait_for_api_server()?;
        self.start_node()
    }

    fn wait_for_api_server(&mut self) -> Result<()> {
        self.step = "kube-apiserver";
        self.wait("the API server answers", || kubectl(&["get", "--raw", "/readyz"]).is_ok())
    }

    fn start_node(&mut self) -> Result<()> {
        self.launch(programs::WITH_API_SERVER)?;
        self.step = "kubelet";
        let name = self.cluster.node();
        self.wait("the node is registered", || kubectl(&["get", "node", &name]).is_ok())?;
        self.mark(&name)?;
        self.wait("the node is ready", || is_ready(&name))?;
        self.step = "kube-controller-manager";
        self.wait("pods can be created", || kubectl(&["get", "serviceaccount", "default"]).is_ok())?;
        for server in self.cluster.s3().to_vec() {
            self.step = server.name();
            let address = SocketAddr::new(self.cluster.network.node_ip().parse()?, server.port());
            self.wait(&format!("{} answers", server.name()), || TcpStream::connect(address).is_ok())?;
        }
        Ok(())
    }

    fn make_room(&self, starter: &Receiver<()>) -> Result<()> {
        mounts::arrange(&self.cluster)?;
        say(&Said::NeedsLink);
        starter.recv_timeout(DEADLINE).context("no link to this machine")?;
        self.cluster.network.configure_node(&self.cluster.addresses())?;
        if self.cluster.has_joined() {
            self.cluster.network.configure_joined(self.cluster.control)?;
        }
        set("kernel/hostname", &self.cluster.node())?;
        set("net/ipv4/ip_forward", "1")?;
        // A closed port must refuse every time: a name server that is silent now and then costs a pod 5 s.
        set("net/ipv4/icmp_ratelimit", "0")?;
        did("namespaces, mounts and network are there");
        Ok(())
    }

    fn launch(&mut self, names: &[&'static str]) -> Result<()> {
        for name in names {
            self.step = name;
            self.running.push(programs::start(&self.cluster, name)?);
        }
        Ok(())
    }

    fn load_node_images(&mut self) -> Result<()> {
        self.step = "containerd";
        let archives = self.cluster.node_images.clone();
        let import = |archive: &PathBuf| {
            let mut ctr = Command::new("ctr");
            command::run(ctr.args(["-n", "k8s.io", "images", "import"]).arg(archive)).is_ok()
        };
        self.wait("containerd has the node's images", || archives.iter().all(import))
    }

    fn mark(&self, name: &str) -> Result<()> {
        let mut labels: Vec<_> = self.cluster.options.labels.iter().map(String::as_str).collect();
        if !self.cluster.has_joined() {
            // The kubelet may not give itself this label.
            labels.push("node-role.kubernetes.io/control-plane=");
        }
        if !labels.is_empty() {
            kubectl(&[&["label", "--overwrite", "node", name], &labels[..]].concat())?;
        }
        if self.cluster.options.taint {
            const TAINT: &str = "node-role.kubernetes.io/control-plane=:NoSchedule";
            kubectl(&["taint", "--overwrite", "node", name, TAINT])?;
        }
        Ok(())
    }

    /// Takes notice of every process that ends, as PID 1 must. One of the node's own programs is started again, as
    /// a real node's systemd and kubelet do.
    fn reap(&mut self) -> Result<()> {
        loop {
            let status = wait().context("nothing left to wait for")?;
            let is_it = |program: &&mut Running| status.pid().is_some_and(|pid| is(program, pid.as_raw()));
            let program = self.running.iter_mut().find(is_it);
            if let (Some(program), WaitStatus::Exited(..) | WaitStatus::Signaled(..)) = (program, status) {
                self.cluster.note_end(program.name, status)?;
                // One that ends at once each time must not keep the machine busy.
                thread::sleep(PAUSE);
                *program = programs::start_again(&self.cluster, program.name)?;
            }
        }
    }

    /// Waits for a step, but not for ever, and not if a program that it needs has ended.
    fn wait(&mut self, what: &str, is_done: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !is_done() {
            for program in &mut self.running {
                if let Some(status) = program.child.try_wait()? {
                    self.step = program.name;
                    return Err(anyhow!("{} ended with {status}", program.name));
                }
            }
            if Instant::now() > deadline {
                bail!("not within {} s: {what}", DEADLINE.as_secs());
            }
            thread::sleep(Duration::from_millis(150));
        }
        did(what);
        Ok(())
    }
}

/// Changes a setting of the kernel that each namespace has for itself.
fn set(name: &str, value: &str) -> Result<()> {
    fs::write(Path::new("/proc/sys").join(name), value)
        .with_context(|| format!("cannot set {name} to {value}"))
}

fn kubectl(arguments: &[&str]) -> Result<String> {
    let mut kubectl = Command::new("kubectl");
    kubectl.args(["--kubeconfig", "/etc/kubernetes/admin.conf", "--request-timeout", "5s"]);
    command::output(kubectl.args(arguments))
}

fn is_ready(node: &str) -> bool {
    const READY: &str = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    kubectl(&["get", "node", node, "-o", READY]).is_ok_and(|status| status == "True")
}

fn is(program: &Running, pid: i32) -> bool {
    u32::try_from(pid).is_ok_and(|pid| pid == program.child.id())
}
