//! What the node sees in place of the machine's files, and the cgroups of its pods.
//!
//! Mount points are made in overlays whose upper side is memory: the machine's folders stay as they are, and all of it
//! goes away with the mount namespace.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};

use super::Cluster;

/// Folders in which the node needs mount points that the machine may not have.
const OVERLAID: &[&str] = &["/etc", "/var/lib", "/var/log"];

/// Folder of the cluster, and where the node sees it.
const BOUND: &[(&str, &str)] = &[
    ("kubernetes", "/etc/kubernetes"),
    ("kubernetes/pki", "/var/lib/minikube/certs"),
    ("containerd", "/var/lib/containerd"),
    ("kubelet", "/var/lib/kubelet"),
    ("pod-logs", "/var/log/pods"),
];

/// What the kubelet insists on writing, which must not reach the machine.
const KERNEL_SETTINGS: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

const CGROUPS: &str = "/sys/fs/cgroup";

/// Version 2 beside the hierarchies of version 1.
const HYBRID: &str = "/sys/fs/cgroup/unified";

/// Arranges the mount namespace that this process is in; it must be one of its own.
pub fn arrange(cluster: &Cluster) -> Result<()> {
    if OVERLAID.iter().chain(&["/run"]).any(|folder| cluster.folder.starts_with(folder)) {
        bail!("{} is hidden on the node: set XDG_CACHE_HOME to another place", cluster.folder.display());
    }
    // containerd, runc and the pods' network namespaces (`/run/netns`) keep their state there.
    mount_memory(Path::new("/run"), "mode=755")?;
    fs::create_dir_all("/run/lock")?;
    OVERLAID.iter().try_for_each(|folder| overlay(folder))?;
    BOUND.iter().try_for_each(|(from, to)| bind(&cluster.folder.join(from), Path::new(to)))?;
    for (member, _) in cluster.members() {
        bind(&cluster.folder.join(member), &Path::new("/var/lib").join(member))?;
    }
    if let Some(size) = &cluster.options.s3_in_memory {
        let folders: BTreeSet<_> =
            cluster.options.s3.iter().map(|server| server.folder_on_node(cluster)).collect();
        folders.iter().try_for_each(|folder| memory_for_buckets(folder, size))?;
    }
    KERNEL_SETTINGS.iter().try_for_each(|(name, value)| pin_kernel_setting(name, value))?;
    // Volumes with mount propagation need shared mounts, as on any node; the group ends at this namespace.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>)
        .context("cannot share mounts with pods")
}

fn memory_for_buckets(folder: &Path, size: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    mount_memory(folder, &format!("mode=700,size={size}"))
}

fn mount_memory(folder: &Path, options: &str) -> Result<()> {
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount memory at {}", folder.display()))
}

fn overlay(folder: &str) -> Result<()> {
    let changes = Path::new("/run/kubedr-overlay").join(folder.trim_start_matches('/'));
    let (upper, work) = (changes.join("upper"), changes.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options = format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), folder, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("cannot mount an overlay at {folder}"))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    if !from.is_file() {
        fs::create_dir_all(to)?;
    }
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot bind {} at {}", from.display(), to.display()))
}

/// Lays a plain file over a setting: the kubelet finds it as it wants it, and the machine keeps its own.
fn pin_kernel_setting(name: &str, value: &str) -> Result<()> {
    let file = Path::new("/run/kubedr-settings").join(name.replace('/', "."));
    fs::create_dir_all("/run/kubedr-settings")?;
    fs::write(&file, format!("{value}\n"))?;
    bind(&file, &Path::new("/proc/sys").join(name))
}

/// Name of the cgroup below which the kubelet makes those of its pods.
pub fn cgroup_name(cluster: &str) -> String {
    format!("kubedr-{cluster}")
}

/// Makes the cluster's cgroup in every hierarchy; the kubelet does not make its own root.
pub fn make_cgroups(cluster: &str) -> Result<()> {
    // In the hybrid hierarchy of version 2 nothing is controlled; runc makes its own there where it wants one.
    for cgroup in cgroups(cluster)?.into_iter().filter(|cgroup| !cgroup.starts_with(HYBRID)) {
        fs::create_dir_all(&cgroup).with_context(|| format!("cannot make cgroup {}", cgroup.display()))?;
    }
    Ok(())
}

/// Removes the cluster's cgroups; its processes must be dead, but the kernel may need a moment to notice.
pub fn remove_cgroups(cluster: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    for cgroup in cgroups(cluster)? {
        while let Err(error) = remove_tree(&cgroup) {
            if Instant::now() > deadline {
                return Err(error).with_context(|| format!("cannot remove cgroup {}", cgroup.display()));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// One folder in each hierarchy of version 1, or the one of version 2.
pub fn cgroups(cluster: &str) -> Result<Vec<PathBuf>> {
    let name = cgroup_name(cluster);
    if Path::new(CGROUPS).join("cgroup.controllers").exists() {
        return Ok(vec![Path::new(CGROUPS).join(name)]);
    }
    let hierarchies = fs::read_dir(CGROUPS).with_context(|| format!("no cgroups at {CGROUPS}"))?;
    let paths = hierarchies.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    // `cpu,cpuacct` is often there under three names, two of which are links.
    let is_hierarchy = |path: &PathBuf| path.is_dir() && !path.is_symlink();
    Ok(paths.into_iter().filter(is_hierarchy).map(|path| path.join(&name)).collect())
}

fn remove_tree(cgroup: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_is_removed_from_its_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = folder.path().join("kubedr-x");
        fs::create_dir_all(cgroup.join("kubepods/besteffort/pod1")).unwrap();
        remove_tree(&cgroup).unwrap();
        assert!(!cgroup.exists());
        remove_tree(&cgroup).unwrap();
    }
}
