//! Flags, and what they mean once they are known to be sound.
use std::net::{AddrParseError, SocketAddr};

use api::{AllowedHostPaths, names};
use clap::{Parser, ValueEnum};
use model::Violation;

/// Backs up etcd and certificates of this cluster to S3, and proves it.
#[derive(Debug, Parser)]
#[command(name = "operator", version)]
pub struct Flags {
    /// Namespace of the operator and of every object that it looks at.
    #[arg(long, default_value = names::DEFAULT_NAMESPACE)]
    namespace: String,

    /// Image of the pods that do the work.
    #[arg(long, env = "KUBEDR_UTIL_IMAGE")]
    agent_image: String,

    /// imagePullPolicy of those pods. Default: as Kubernetes chooses by the image's tag.
    #[arg(long)]
    agent_image_pull_policy: Option<PullPolicy>,

    /// Folder of the node that policies may back up, with all below it; may be repeated, and
    /// replaces the defaults. Default: where the usual distributions keep certificates.
    #[arg(long = "allowed-host-path")]
    allowed_host_paths: Vec<String>,

    /// What the cluster is called in the repository. Default: the uid of kube-system.
    #[arg(long)]
    cluster_name: Option<String>,

    /// Where /healthz and /readyz are served; `:8081` means all addresses.
    #[arg(long, default_value = ":8081")]
    health_address: String,

    /// Where /metrics is served, over plain http; `:8080` means all addresses.
    #[arg(long, default_value = ":8080")]
    metrics_address: String,

    /// Wait for the lease `kubedr-operator`, so that of several processes one works.
    #[arg(long)]
    leader_elect: bool,

    /// How log lines look.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or directives such as `info,kube=debug`.
    #[arg(long, default_value = "info")]
    log_level: String,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

/// Flags that are known to be sound.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespace of the operator.
    pub namespace: String,
    /// Image of the agents' pods.
    pub agent_image: String,
    /// Its pull policy.
    pub agent_image_pull_policy: Option<String>,
    /// Folders of the node that a policy may name.
    pub allowed_host_paths: AllowedHostPaths,
    /// What the cluster is called in the repository.
    pub cluster_name: Option<String>,
    /// Where health is served: the first address that works.
    pub health: Vec<SocketAddr>,
    /// Where metrics are served: the first address that works.
    pub metrics: Vec<SocketAddr>,
    /// Whether to wait for the lease.
    pub leader_elect: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: String,
}

impl TryFrom<Flags> for Config {
    type Error = Violation;

    fn try_from(flags: Flags) -> Result<Self, Violation> {
        let health = addresses("--health-address", &flags.health_address)?;
        let metrics = addresses("--metrics-address", &flags.metrics_address)?;
        let allowed_host_paths = if flags.allowed_host_paths.is_empty() {
            AllowedHostPaths::default()
        } else {
            AllowedHostPaths::new(&flags.allowed_host_paths)?
        };
        let policy = |policy: PullPolicy| match policy {
            PullPolicy::Always => "Always".to_owned(),
            PullPolicy::IfNotPresent => "IfNotPresent".to_owned(),
            PullPolicy::Never => "Never".to_owned(),
        };
        Ok(Self {
            namespace: flags.namespace,
            agent_image: flags.agent_image,
            agent_image_pull_policy: flags.agent_image_pull_policy.map(policy),
            allowed_host_paths,
            cluster_name: flags.cluster_name.filter(|name| !name.is_empty()),
            health,
            metrics,
            leader_elect: flags.leader_elect,
            log_format: flags.log_format,
            log_level: quiet(flags.log_level),
        })
    }
}

/// A level alone leaves out the library's own spans, which repeat each of our lines.
fn quiet(level: String) -> String {
    if level.contains('=') { level } else { format!("{level},kube_runtime=warn") }
}

/// Without a host: all addresses of both families, or of the old one where a kernel has no other.
fn addresses(flag: &str, text: &str) -> Result<Vec<SocketAddr>, Violation> {
    let all = match text.strip_prefix(':') {
        Some(port) => vec![format!("[::]:{port}"), format!("0.0.0.0:{port}")],
        None => vec![text.to_owned()],
    };
    let parsed: Result<_, AddrParseError> = all.iter().map(|address| address.parse()).collect();
    parsed.map_err(|error| Violation::new(flag, format!("{text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn config(flags: &[&str]) -> Result<Config, Violation> {
        let all = ["operator", "--agent-image=kubedr/agent:1"].iter().chain(flags);
        Config::try_from(Flags::try_parse_from(all).expect("flags that exist"))
    }

    #[test]
    fn an_image_is_enough() {
        let config = config(&[]).expect("sound");
        assert_eq!(config.namespace, "kubedr-system");
        assert_eq!(config.allowed_host_paths, AllowedHostPaths::default());
        assert!(!config.leader_elect);
    }

    #[rstest]
    #[case::port_only(":8081", &["[::]:8081", "0.0.0.0:8081"])]
    #[case::one_address("127.0.0.1:1", &["127.0.0.1:1"])]
    fn is_served_at(#[case] flag: &str, #[case] expected: &[&str]) {
        let config = config(&["--health-address", flag, "--metrics-address", flag]).expect("sound");
        for found in [config.health, config.metrics] {
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }

    #[rstest]
    #[case::relative_path("--allowed-host-path=etc", "--allowed-host-path")]
    #[case::no_port("--health-address=localhost", "--health-address")]
    #[case::no_port_for_metrics("--metrics-address=0", "--metrics-address")]
    fn refuses(#[case] flag: &str, #[case] path: &str) {
        assert_eq!(config(&[flag]).expect_err("refused").path, path);
    }
}
