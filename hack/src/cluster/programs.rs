//! The programs of a node: their flags, and starting them.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::s3::Server;
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
];

/// The members of etcd, by the names of their logs and folders; most clusters have one.
pub const ETCD_MEMBERS: [&str; 3] = ["etcd", "etcd-2", "etcd-3"];

/// What needs nothing but etcd.
pub const CONTROL_PLANE: &[&str] = &["kube-apiserver"];

/// What runs containers, on every node.
pub const CONTAINERS: &[&str] = &["containerd"];

/// What can run before the API server answers.
pub const CONTROLLERS: &[&str] = &["kube-controller-manager", "kube-scheduler"];

/// What would only fail and wait before the API server answers, on every node.
pub const WITH_API_SERVER: &[&str] = &["kubelet", "kube-proxy"];

/// How much the memory of the node's programs grows, in percent, before Go looks for what is not needed: these machines
/// have more memory than processors. Not that of S3 servers, beside which benches measure.
const GOGC: &str = "300";

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
    let mut command = Command::new(binary(name));
    command.args(flags(cluster, name)).env("GOGC", GOGC);
    spawn(cluster, name, command)
}

/// Starts an S3 server of the node.
pub fn start_s3(cluster: &Cluster, server: Server) -> Result<Running> {
    spawn(cluster, server.name(), server.command(cluster)?)
}

/// Starts one of them again, which has ended.
pub fn start_again(cluster: &Cluster, name: &'static str) -> Result<Running> {
    match cluster.s3().iter().find(|server| server.name() == name) {
        Some(server) => start_s3(cluster, *server),
        None => start(cluster, name),
    }
}

fn spawn(cluster: &Cluster, name: &'static str, mut command: Command) -> Result<Running> {
    // What it said before it ended says why.
    let log = File::options().create(true).append(true).open(log_file(cluster, name));
    let log = log.with_context(|| format!("cannot open the log of {name}"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    Ok(Running { name, child })
}

/// Where a program's output goes.
pub fn log_file(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.folder.join(format!("log/{name}.log"))
}

fn binary(name: &str) -> &str {
    if ETCD_MEMBERS.contains(&name) { ETCD_MEMBERS[0] } else { name }
}

fn flags(cluster: &Cluster, name: &str) -> Vec<String> {
    let template = FLAGS.iter().find(|(program, _)| *program == binary(name));
    let template = template.map_or("", |(_, template)| template);
    let encrypts = cluster.options.encrypt && name == CONTROL_PLANE[0];
    let further =
        if encrypts { "--encryption-provider-config /etc/kubernetes/pki/encryption.yaml" } else { "" };
    // A flag and its value are two words; a folder may contain spaces, so names are filled in last.
    let words = template
        .split_whitespace()
        .chain(further.split_whitespace())
        .map(|word| configuration::fill_in(word, cluster));
    match ETCD_MEMBERS.iter().position(|member| *member == name) {
        Some(index) => words.map(|word| of_member(&word, cluster, index)).collect(),
        None => words.collect(),
    }
}

/// Replaces what differs between the members of etcd. Only the first is reached at the loopback address.
fn of_member(word: &str, cluster: &Cluster, index: usize) -> String {
    let ip = cluster.network.member_ip(index);
    let loopback = if index == 0 { "https://127.0.0.1:2379," } else { "" };
    word.replace("{{member}}", ETCD_MEMBERS[index])
        .replace("{{member_ip}}", &ip)
        .replace("{{member_urls}}", &format!("{loopback}https://{ip}:2379"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_program_has_flags_and_is_started_once() {
        let lists = [&ETCD_MEMBERS[..1], CONTROL_PLANE, CONTAINERS, CONTROLLERS, WITH_API_SERVER];
        let mut started: Vec<_> = lists.concat();
        started.sort_unstable();
        let mut known: Vec<_> = FLAGS.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(started, known);
    }

    #[test]
    fn only_an_api_server_that_is_to_encrypt_is_told_how() {
        let mut cluster = configuration::tests::example(Path::new("/c"), 1);
        let tells = |cluster: &Cluster| {
            let told = |(name, _): &&(&'static str, _)| {
                flags(cluster, name).contains(&"--encryption-provider-config".to_owned())
            };
            FLAGS.iter().filter(told).map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(tells(&cluster), Vec::<&str>::new());
        cluster.options.encrypt = true;
        assert_eq!(tells(&cluster), ["kube-apiserver"]);
    }

    #[test]
    fn members_of_etcd_know_each_other_and_share_nothing() {
        let cluster = configuration::tests::example(Path::new("/c"), 3);
        let of = |index: usize| flags(&cluster, ETCD_MEMBERS[index]).join(" ");
        let all = "--initial-cluster etcd=https://10.88.7.2:2380,etcd-2=https://10.88.7.3:2380,etcd-3=https://10.88.7.4:2380";
        for index in 0..3 {
            assert!(of(index).contains(all), "{}", of(index));
            assert!(!of(index).contains("{{"));
        }
        assert!(of(0).contains(
            "--data-dir /var/lib/etcd --listen-client-urls https://127.0.0.1:2379,https://10.88.7.2:2379"
        ));
        assert!(of(2).contains("--data-dir /var/lib/etcd-3 --listen-client-urls https://10.88.7.4:2379 "));
    }
}
