//! Looks afterwards whether a cluster is really gone: by what the kernel shows, not by what `down` thinks it did.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Cluster, mounts, processes};

/// The kernel takes a moment to end processes and namespaces; on a busy machine a long one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Namespaces that are the cluster's own, as `/proc/<process>/ns/<kind>` names them.
const KINDS: &[&str] = &["mnt", "net", "pid", "uts", "ipc"];

/// What of a cluster could be left; taken while it still runs.
pub struct Traces {
    name: String,
    folder: PathBuf,
    namespaces: BTreeSet<PathBuf>,
    link: Option<String>,
    /// When this note was taken, as `/proc` tells when a process began. The kernel gives the number of a namespace that
    /// is gone to the next one, so what began later is in another cluster's.
    taken: u64,
}

impl Traces {
    /// Takes note of a cluster before it is removed.
    pub fn of(name: &str, folder: &Path) -> Result<Self> {
        let node = processes::node_process(folder)?;
        let link = Cluster::read(folder).ok().map(|cluster| cluster.network.machine_link());
        let namespaces = node.map(namespaces).unwrap_or_default();
        let taken = processes::now().context("cannot read /proc/uptime")?;
        Ok(Self { name: name.to_owned(), folder: folder.to_owned(), namespaces, link, taken })
    }

    /// Waits until nothing is left.
    ///
    /// # Errors
    /// Names everything that still is after some seconds.
    pub fn vanish(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.left();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("cluster {:?} is stopped, but this is left of it: {}", self.name, left.join(", "));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn left(&self) -> Vec<String> {
        let link = self.link.iter().map(|link| Path::new("/sys/class/net").join(link));
        // Where the kernel has no cgroups at all, none can be left.
        let cgroups = mounts::cgroups(&self.name).unwrap_or_default();
        let paths = link.chain(cgroups).chain([self.folder.clone()]);
        let paths = paths.filter(|path| path.exists()).map(|path| path.display().to_string());
        paths.chain(self.processes_left()).chain(self.mounts_left()).collect()
    }

    /// Processes in any of the cluster's namespaces or pods. One that has ended is in none.
    fn processes_left(&self) -> Vec<String> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_in_namespace = |process: i32| {
            processes::beginning(process).is_some_and(|began| began <= self.taken)
                && !namespaces(process).is_disjoint(&self.namespaces)
        };
        let left = numbers.filter(|process| is_in_namespace(*process) || self.is_in_pod(*process));
        left.map(named).collect()
    }

    fn is_in_pod(&self, process: i32) -> bool {
        let cgroups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
        let name = mounts::cgroup_name(&self.name);
        cgroups.lines().any(|line| line.split('/').any(|part| part == name))
    }

    fn mounts_left(&self) -> Vec<String> {
        let mounted = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let folder = self.folder.display().to_string();
        mounted.lines().filter(|line| line.contains(&folder)).map(|line| format!("mount {line}")).collect()
    }
}

/// A process as a person can find it: number, name and state.
fn named(process: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("?", str::trim)
    };
    format!("process {process} ({}, {})", field("Name:"), field("State:"))
}

/// The namespaces of a process that differ from this process's own.
fn namespaces(process: i32) -> BTreeSet<PathBuf> {
    let name = |owner: &str, kind: &str| fs::read_link(format!("/proc/{owner}/ns/{kind}")).ok();
    let foreign = |kind: &&str| {
        name(&process.to_string(), kind).filter(|found| name("self", kind).as_ref() != Some(found))
    };
    KINDS.iter().filter_map(foreign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(folder: &Path, link: &str) -> Traces {
        Traces {
            name: "no-such-cluster".to_owned(),
            folder: folder.to_owned(),
            namespaces: BTreeSet::new(),
            link: Some(link.to_owned()),
            taken: 0,
        }
    }

    #[test]
    fn nothing_is_left_of_what_never_was() {
        assert_eq!(traces(Path::new("/no/such/folder"), "nolink0").left(), Vec::<String>::new());
    }

    #[test]
    fn a_folder_and_a_link_that_stayed_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let left = traces(folder.path(), "lo").left();
        assert_eq!(left, ["/sys/class/net/lo".to_owned(), folder.path().display().to_string()]);
    }

    #[test]
    fn this_process_is_in_no_foreign_namespace() {
        assert_eq!(namespaces(i32::try_from(std::process::id()).unwrap()), BTreeSet::new());
    }
}
