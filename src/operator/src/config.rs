//! Flags, and what they mean once they are known to be sound.
use std::{
    net::{AddrParseError, SocketAddr},
    path::PathBuf,
};

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

    /// Folder of the node that policies may back up, with all below it; several by commas, or by repeating
    /// it. They replace the defaults: where the usual distributions keep certificates.
    #[arg(long = "allowed-host-path", value_name = "DIR", value_delimiter = ',')]
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

    /// Where the API server asks about objects before it stores them, over TLS at all addresses; 0: nobody answers.
    #[arg(long, default_value_t = 9443)]
    webhook_port: u16,

    /// Folder with the certificate for that, `tls.crt` and `tls.key`, read again every 10 s; or `self`: the operator
    /// makes and renews it, in the Secret `kubedr-webhook-ca`. Without it nobody answers at that port.
    #[arg(long, value_name = "self|DIR")]
    webhook_certificates: Option<String>,

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
    /// How reviews are answered, if anyone does.
    pub webhooks: Option<Webhooks>,
    /// Whether to wait for the lease.
    pub leader_elect: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: String,
}

/// How reviews are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// Where: the first address that works.
    pub addresses: Vec<SocketAddr>,
    /// Where the certificate comes from.
    pub certificates: WebhookCertificates,
}

/// Where the certificate of webhooks comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookCertificates {
    /// The operator's own authority.
    Own,
    /// A folder that somebody else keeps current.
    Folder(PathBuf),
}

impl From<String> for WebhookCertificates {
    /// A folder of that name is `./self`.
    fn from(word: String) -> Self {
        if word == "self" { Self::Own } else { Self::Folder(word.into()) }
    }
}

impl TryFrom<Flags> for Config {
    type Error = Violation;

    fn try_from(flags: Flags) -> Result<Self, Violation> {
        let health = addresses("--health-address", &flags.health_address)?;
        let metrics = addresses("--metrics-address", &flags.metrics_address)?;
        let webhooks = webhooks(flags.webhook_port, flags.webhook_certificates)?;
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
            webhooks,
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

/// Nobody answers without a port, or without a certificate.
fn webhooks(port: u16, certificates: Option<String>) -> Result<Option<Webhooks>, Violation> {
    let Some(certificates) = certificates.filter(|_| port != 0) else { return Ok(None) };
    if certificates.is_empty() {
        return Err(Violation::new("--webhook-certificates", "is empty, and must be a folder"));
    }
    let addresses = addresses("--webhook-port", &format!(":{port}"))?;
    Ok(Some(Webhooks { addresses, certificates: certificates.into() }))
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

    #[test]
    fn host_paths_are_several_by_commas_and_by_repeating_the_flag() {
        let found = config(&["--allowed-host-path=/a,/b", "--allowed-host-path=/c"]).expect("sound");
        let expected = AllowedHostPaths::new(["/a", "/b", "/c"].map(str::to_owned)).expect("sound");
        assert_eq!(found.allowed_host_paths, expected);
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
    #[case::a_folder(&["--webhook-certificates=/tls"], Some(("[::]:9443", WebhookCertificates::Folder("/tls".into()))))]
    #[case::an_authority_of_its_own(&["--webhook-certificates=self"], Some(("[::]:9443", WebhookCertificates::Own)))]
    #[case::a_folder_of_that_name(&["--webhook-certificates=./self"], Some(("[::]:9443", WebhookCertificates::Folder("./self".into()))))]
    #[case::another_port(&["--webhook-port=1", "--webhook-certificates=a"], Some(("[::]:1", WebhookCertificates::Folder("a".into()))))]
    #[case::no_port(&["--webhook-port=0", "--webhook-certificates=/tls"], None)]
    #[case::a_port_alone(&["--webhook-port=9443"], None)]
    #[case::nothing(&[], None)]
    fn reviews_are_answered_with(
        #[case] flags: &[&str],
        #[case] expected: Option<(&str, WebhookCertificates)>,
    ) {
        let found = config(flags).expect("sound").webhooks;
        let found = found.map(|webhooks| (webhooks.addresses[0].to_string(), webhooks.certificates));
        assert_eq!(found, expected.map(|(address, certificates)| (address.to_owned(), certificates)));
    }

    #[rstest]
    #[case::no_folder("--webhook-certificates=", "--webhook-certificates")]
    #[case::relative_path("--allowed-host-path=etc", "--allowed-host-path")]
    #[case::no_port("--health-address=localhost", "--health-address")]
    #[case::no_port_for_metrics("--metrics-address=0", "--metrics-address")]
    fn refuses(#[case] flag: &str, #[case] path: &str) {
        assert_eq!(config(&[flag]).expect_err("refused").path, path);
    }
}
