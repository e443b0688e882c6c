//! A pod as its node sees it: processes, limits and folders that may be meddled with.
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{ResourceExt, api::ListParams};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Cluster, Installation, Program, until};

/// Where cgroups are: all of them, or the memory's where each kind of limit has its own.
const CGROUPS: [&str; 2] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];

/// How deep a pod's cgroup is at most: the cluster's, `kubepods`, the class, the pod.
const DEPTH: u8 = 4;

/// A pod on the node.
pub struct NodePod {
    uid: String,
}

impl Installation {
    /// All pods of the Job of this name.
    pub async fn pods_of(&self, job: &str) -> Result<Vec<Pod>> {
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        Ok(self.api::<Pod>().list(&of_job).await.context("failed to list the Job's pods")?.items)
    }

    /// The newest pod of a Job, once the API server has it.
    pub async fn pod_of(&self, job: &Job) -> Result<NodePod> {
        let pod = until("the Job's pod", async || {
            let mut pods = self.pods_of(&job.name_any()).await?;
            pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
            Ok(pods.pop().ok_or("no pod yet"))
        })
        .await?;
        NodePod::of(&pod)
    }
}

impl NodePod {
    /// This one.
    pub fn of(pod: &Pod) -> Result<Self> {
        Ok(Self { uid: pod.uid().context("a pod without uid")? })
    }

    /// Waits until such a program of it runs.
    pub async fn runs(&self, program: &str) -> Result<()> {
        self.running(program).await.map(drop)
    }

    /// Sends a signal to its program of this name, and verb if there is one behind a space, once that runs.
    pub async fn signal(&self, program: &str, signal: Signal) -> Result<()> {
        kill(self.running(program).await?, signal).context("failed to send a signal")
    }

    /// Lays a disk of so many bytes over a folder of it, once such a program runs; it goes with the pod.
    pub async fn cramp(&self, program: &str, folder: &str, bytes: u64) -> Result<()> {
        let (process, size) = (self.running(program).await?.to_string(), format!("size={bytes}"));
        let mount = ["--namespace", &process, "--types", "tmpfs", "--options", &size, "tmpfs", folder];
        Program::new("mount").args(mount).succeed().await.map(drop)
    }

    /// Puts a result into the place of its agent's, once such a program runs.
    pub async fn leave(&self, cluster: &Cluster, program: &str, result: &str) -> Result<()> {
        self.running(program).await?;
        let folder = cluster.file(&format!("kubelet/pods/{}/containers/agent", self.uid))?;
        for file in fs::read_dir(folder).context("the agent has no folder")? {
            fs::write(file?.path(), result).context("failed to leave a result")?;
        }
        Ok(())
    }

    async fn running(&self, program: &str) -> Result<Pid> {
        until(&format!("{program} to run in pod {}", self.uid), async || {
            Ok(self.process(program)?.ok_or("it does not run"))
        })
        .await
    }

    fn process(&self, program: &str) -> Result<Option<Pid>> {
        let (name, verb) = program.split_once(' ').unwrap_or((program, ""));
        let read = |process: &Pid, file: &str| {
            fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default()
        };
        let is_it = |process: &Pid| {
            read(process, "cgroup").contains(&self.uid) && read(process, "cmdline").contains(verb)
        };
        Ok(processes(name)?.into_iter().find(is_it))
    }

    /// Leaves its containers no more memory than so many bytes, as often as somebody raises the limit again;
    /// never ends.
    pub async fn starve(&self, bytes: u64) -> Result<()> {
        loop {
            if let Some(cgroup) = CGROUPS.iter().find_map(|root| self.cgroup(Path::new(root), DEPTH)) {
                let files = ["memory.max", "memory.limit_in_bytes"].map(|name| cgroup.join(name));
                // It may be going away, or hold more than that for now: the next time tells.
                files
                    .iter()
                    .filter(|file| file.exists())
                    .for_each(|file| drop(fs::write(file, bytes.to_string())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn cgroup(&self, below: &Path, depth: u8) -> Option<PathBuf> {
        let entries = fs::read_dir(below).ok()?.flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| entry.path()).find_map(|path| {
            let is_it = path.file_name()?.to_str()?.contains(&self.uid);
            if is_it { Some(path) } else { self.cgroup(&path, depth.checked_sub(1)?) }
        })
    }
}

/// The processes of this machine whose program has this name.
fn processes(program: &str) -> Result<Vec<Pid>> {
    let entries = fs::read_dir("/proc").context("failed to list processes")?.flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_it = |process: &i32| {
        fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim_end() == program)
    };
    Ok(numbers.filter(is_it).map(Pid::from_raw).collect())
}

impl Cluster {
    /// The processes of a program on the node, in pods or not.
    pub fn processes(&self, program: &str) -> Result<Vec<Pid>> {
        let node = self.node_process()?;
        let mut all = processes(&program[..program.len().min(LONGEST_NAME)])?;
        let network = |process| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let of_node = network(node).context("the node has no network")?;
        // What was started from outside is not below it, but has its network.
        all.retain(|process| {
            is_below(process.as_raw(), node) || network(process.as_raw()).as_ref() == Some(&of_node)
        });
        Ok(all)
    }

    /// Ends a program on the node as a power cut does, and says how many processes it had.
    pub fn kill(&self, program: &str) -> Result<usize> {
        self.signal(program, Signal::SIGKILL)
    }

    /// Sends a signal to each process of a program on the node, and says how many there were.
    pub fn signal(&self, program: &str, signal: Signal) -> Result<usize> {
        let processes = self.processes(program)?;
        for process in &processes {
            // One that ended meanwhile is no error.
            let _ = kill(*process, signal);
        }
        Ok(processes.len())
    }

    /// Whether a program runs on the node.
    pub fn runs(&self, program: &str) -> Result<bool> {
        Ok(!self.processes(program)?.is_empty())
    }

    /// The processes on the node that make backups, or look after them.
    pub fn agents(&self) -> Result<Vec<String>> {
        let of = |program: &str| -> Result<Vec<_>> {
            Ok(self.processes(program)?.iter().map(|process| format!("{program} {process}")).collect())
        };
        Ok([of("agent")?, of("restic")?].concat())
    }

    /// The uids of the pods of which the node's kubelet has a folder.
    pub fn pod_folders(&self) -> Result<BTreeSet<String>> {
        let folders = fs::read_dir(self.file("kubelet/pods")?).context("no pods' folder")?;
        folders.map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// What an agent's pod that has ended left of its work on the node.
    pub fn left_by(&self, pod: &Pod) -> Result<Vec<PathBuf>> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if !["Succeeded", "Failed"].contains(&phase) {
            return Ok(Vec::new());
        }
        match fs::read_dir(self.empty_dir(pod, "work")?) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            files => files.context("failed to list its files")?.map(|file| Ok(file?.path())).collect(),
        }
    }

    /// A program as root on the node, in all namespaces of it.
    pub fn on_node(&self, program: &str) -> Result<Program> {
        let node = self.node_process()?.to_string();
        let namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid"];
        Ok(Program::new("nsenter").args(["--target", &node]).args(namespaces).args(["--", program]))
    }
}

/// What the kernel keeps of a program's name, bytes.
const LONGEST_NAME: usize = 15;

/// Whether a process descends from another.
fn is_below(process: i32, ancestor: i32) -> bool {
    let parent = |process: &i32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        (parent != 0).then_some(parent)
    };
    std::iter::successors(Some(process), parent).any(|process| process == ancestor)
}
