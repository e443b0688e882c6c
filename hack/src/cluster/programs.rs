//! The programs of a node: their flags, and starting them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::{Cluster, configuration};

/// Name of each program, and its flags: one per line.
const FLAGS: &[(&str, &str)] = &[
    ("etcd", include_str!("templates/etcd.flags")),
    ("kube-apiserver", include_str!("templates/kube-apiserver.flags")),
    ("kube-controller-manager", include_str!("templates/kube-controller-manager.flags")),
    ("kube-scheduler", include_str!("templates/kube-scheduler.flags")),
    ("containerd", include_str!("templates/containerd.flags")),
    ("kubelet", include_str!("templates/kubelet.flags")),
    ("kube-proxy", include_str!("templates/kube-proxy.flags")),
    ("versitygw", include_str!("templates/versitygw.flags")),
];

/// What can run before the API server answers; etcd first, because everything waits for it.
pub const WITHOUT_API_SERVER: &[&str] =
    &["etcd", "kube-apiserver", "containerd", "versitygw", "kube-controller-manager", "kube-scheduler"];

/// What would only fail and wait before the API server answers.
pub const WITH_API_SERVER: &[&str] = &["kubelet", "kube-proxy"];

/// A program that was started.
#[derive(Debug)]
pub struct Running {
    /// As in its log's name.
    pub name: &'static str,
    /// The process; it is ended by ending the node.
    pub child: Child,
}

/// Starts a program of the node, whose output goes to its log.
pub fn start(cluster: &Cluster, name: &'static str) -> Result<Running> {
    let log =
        File::create(log_file(cluster, name)).with_context(|| format!("cannot make the log of {name}"))?;
    let mut command = Command::new(name);
    command.args(flags(cluster, name)).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    if name == "versitygw" {
        // By environment: arguments can be read by everyone on this machine.
        command.env("ROOT_ACCESS_KEY", fs::read_to_string(configuration::access_key_file(cluster))?);
        command.env("ROOT_SECRET_KEY", fs::read_to_string(configuration::secret_key_file(cluster))?);
    }
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    Ok(Running { name, child })
}

/// Where a program's output goes.
pub fn log_file(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.folder.join(format!("log/{name}.log"))
}

fn flags(cluster: &Cluster, name: &str) -> Vec<String> {
    let template = FLAGS.iter().find(|(program, _)| *program == name).map_or("", |(_, template)| template);
    // A flag and its value are two words; a folder may contain spaces, so names are filled in last.
    template.split_whitespace().map(|word| configuration::fill_in(word, cluster)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_flags_and_is_started_once() {
        let mut started: Vec<_> = WITHOUT_API_SERVER.iter().chain(WITH_API_SERVER).collect();
        started.sort_unstable();
        let mut known: Vec<_> = FLAGS.iter().map(|(name, _)| name).collect();
        known.sort_unstable();
        assert_eq!(started, known);
    }
}
