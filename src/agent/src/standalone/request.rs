//! The flags: what in a pod the operator says in variables, and the kubelet in mounts.
use std::{
    fs,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use clap::Args;
use model::{BucketLookup, SnapshotId, Store};

use super::layout::AUTHORITY;
use crate::{
    config::{BackupConfig, Mounts, Place, working_time},
    secrets::Secrets,
};

/// Where kubeadm keeps a certificate and key that etcd accepts: the API server's own, and that of etcd's probes, which
/// is all that a node with etcd alone has.
const KUBEADMS_CLIENTS: [[&str; 2]; 2] = [
    ["/etc/kubernetes/pki/apiserver-etcd-client.crt", "/etc/kubernetes/pki/apiserver-etcd-client.key"],
    ["/etc/kubernetes/pki/etcd/healthcheck-client.crt", "/etc/kubernetes/pki/etcd/healthcheck-client.key"],
];
/// Where the kernel tells the node's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The two ways to ask; clap would show the second one's flags as if none had to be.
pub const USAGE: &str = "agent backup
       agent backup --standalone --repository-url <URL> --bucket <NAME> --credentials-dir <FOLDER> \
--policy <NAMESPACE/NAME> [OPTIONS]";

/// What a person types at three in the morning.
pub const EXAMPLES: &str = "\
Without flags it does what its pod's environment says, which the operator wrote.

Examples, as root on a node with etcd, restic beside the agent:
  A kubeadm cluster, into the repository of its policy `test-backup`; the three files are called
  access_key, secret_key and restic_repo_password, as in the BackupLocation's Secret:
    agent backup --standalone --repository-url https://s3.example.org --bucket cluster-backups \\
      --credentials-dir /root/keys --policy kubedr-system/test-backup --certs-dir /etc/kubernetes/pki
  The same with all that else the policy names, and only into the repository that is meant:
    … --extra-host-path /etc/kubernetes/encryption.yaml --repository-id 2f0c…64 digits
  RKE2, whose certificates are elsewhere:
    … --etcd-ca /var/lib/rancher/rke2/server/tls/etcd/server-ca.crt \\
      --etcd-cert /var/lib/rancher/rke2/server/tls/etcd/client.crt \\
      --etcd-key /var/lib/rancher/rke2/server/tls/etcd/client.key \\
      --certs-dir /var/lib/rancher/rke2/server/tls

Of kubedr's documents standalone.md tells the whole way, platforms.md what other distributions call these files.";

/// A backup of the node that this runs on. Seen by everyone on the node, so no secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(id = "on-a-bare-node", requires = "standalone")]
pub struct Request {
    /// Back up this very node, as root, without kubelet, operator and API server
    #[arg(long)]
    pub standalone: bool,
    /// URL of the S3 server, as `spec.url` of the BackupLocation
    #[arg(long, value_name = "URL", required = false, required_if_eq("standalone", "true"), value_parser = server_url)]
    pub repository_url: String,
    /// Bucket, as `spec.bucketName`
    #[arg(long, value_name = "NAME", required = false, required_if_eq("standalone", "true"))]
    pub bucket: String,
    /// Folder in the bucket, as `spec.prefix`
    #[arg(long, value_name = "FOLDER", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Region, as `spec.region`
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub region: String,
    /// How the bucket is addressed, as `spec.bucketLookup`: Auto, Path or DNS
    #[arg(long, value_name = "WAY", default_value = "Auto", value_parser = bucket_lookup)]
    pub bucket_lookup: BucketLookup,
    /// Private certificate authority of the S3 server, added to the public ones
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Folder with the files `access_key`, `secret_key` and `restic_repo_password`
    #[arg(long, value_name = "FOLDER", required = false, required_if_eq("standalone", "true"))]
    pub credentials_dir: PathBuf,
    /// The repository that must be there, as `status.repositoryId`; the one that is there is taken where it is not given. None is ever made
    #[arg(long, value_name = "ID")]
    pub repository_id: Option<SnapshotId>,
    /// Policy whose backup this is: it is found, kept and removed with those of its schedule
    #[arg(long, value_name = "NAMESPACE/NAME", required = false, required_if_eq("standalone", "true"), value_parser = policy)]
    pub policy: String,
    /// Say that no backup of this policy and cluster is there yet; where it is not said, one must be
    #[arg(long)]
    pub first: bool,
    /// uid of the namespace kube-system; read from etcd where it is not given
    #[arg(long, value_name = "UID", value_parser = word)]
    pub cluster_uid: Option<String>,
    /// Host name of the snapshots, as the operator's flag; the cluster's uid where it is not given
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// What Kubernetes calls this node; its host name where it is not given
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Client URL of an etcd member; may be given several times, and the best is taken
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:2379", value_parser = server_url)]
    pub etcd_endpoint: Vec<String>,
    /// Authority that signed etcd's certificate
    #[arg(long, value_name = "FILE", default_value = "/etc/kubernetes/pki/etcd/ca.crt")]
    pub etcd_ca: PathBuf,
    /// Client certificate that etcd accepts; that of kubeadm's API server, or else of its probes, where it is not given
    #[arg(long, value_name = "FILE", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,
    /// Folder that is backed up whole, as `spec.certsDir`
    #[arg(long, value_name = "FOLDER", value_parser = host_path)]
    pub certs_dir: Option<String>,
    /// File or folder that is backed up too, as one of `spec.extraHostPaths`; may be given several times
    #[arg(long, value_name = "PATH", value_parser = host_path)]
    pub extra_host_path: Vec<String>,
    /// Most bytes per second that are read from etcd, as `spec.maxRate`
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_rate: Option<u64>,
    /// From how many percent fewer objects than before the backup is marked, as `spec.shrinkGuard`; 0 is off
    #[arg(long, value_name = "PERCENT", default_value_t = 30, value_parser = clap::value_parser!(u8).range(..=100))]
    pub shrink_guard: u8,
    /// Snapshot since which fewer objects are meant, as the annotation `accept-shrink`
    #[arg(long, value_name = "ID")]
    pub accept_shrink: Option<SnapshotId>,
    /// How long it may take, as `spec.deadlineSeconds`; a tenth of it is for ending well
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(60..=86_400))]
    pub deadline_seconds: u64,
    /// The program, statically linked as its own releases are; beside the agent or on the PATH where it is not given
    #[arg(long, value_name = "FILE")]
    pub restic: Option<PathBuf>,
    /// Folder for restic's cache and for what is on its way, encrypted; up to 1 GiB of memory where it is not given
    #[arg(long, value_name = "FOLDER")]
    pub work_dir: Option<PathBuf>,
    /// Says to the process in the room that it is there.
    #[arg(long, hide = true)]
    pub inside: bool,
}

impl Request {
    /// The time that the agent takes for its work.
    pub fn working_time(&self) -> Duration {
        working_time(Duration::from_secs(self.deadline_seconds))
    }

    /// Certificate and key of etcd's client: those that were given, or the first of kubeadm's that are there.
    pub fn etcd_client(&self) -> [PathBuf; 2] {
        if let (Some(certificate), Some(key)) = (&self.etcd_cert, &self.etcd_key) {
            return [certificate.clone(), key.clone()];
        }
        let there = KUBEADMS_CLIENTS.iter().find(|client| client.iter().all(|file| Path::new(file).exists()));
        there.unwrap_or(&KUBEADMS_CLIENTS[0]).map(PathBuf::from)
    }

    /// Whether etcd wants to know who asks.
    pub fn needs_etcd_client(&self) -> bool {
        self.etcd_endpoint.iter().any(|endpoint| endpoint.starts_with("https:"))
    }

    /// What a pod would be told, of the cluster with this uid.
    pub fn config(self, cluster_uid: String, secrets: Secrets) -> BackupConfig {
        let store = Store {
            url: self.repository_url,
            bucket: self.bucket,
            prefix: self.prefix,
            region: self.region,
            lookup: self.bucket_lookup,
        };
        let ca_file = self.ca_file.map(|_| AUTHORITY.into());
        BackupConfig {
            place: Place { store, ca_file, mounts: Mounts::new("/".into()), secrets },
            pinned: self.repository_id,
            host: self.cluster_name.unwrap_or_else(|| cluster_uid.clone()),
            cluster_uid,
            node: self.node_name.unwrap_or_else(host_name),
            job: None,
            policy: self.policy,
            endpoints: self.etcd_endpoint,
            certs_dir: self.certs_dir,
            extra_host_paths: self.extra_host_path,
            max_rate: self.max_rate,
            shrink_guard: self.shrink_guard,
            accept_shrink: self.accept_shrink,
            must_continue: !self.first,
        }
    }
}

/// The node's name, as a kubelet takes it that is told none.
fn host_name() -> String {
    fs::read_to_string(HOST_NAME).unwrap_or_default().trim().to_lowercase()
}

/// A URL that names a server and nothing on it, nor a password, which everyone on the node would see.
fn server_url(text: &str) -> Result<String, &'static str> {
    let url = text.strip_suffix('/').unwrap_or(text);
    let server = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match server.ok_or("must begin with http:// or https://")? {
        "" => Err("must name a server"),
        server if server.contains(['/', '@', '?', '#', ' ']) => {
            Err("must not have a user, path, query or fragment")
        }
        _ => Ok(url.to_owned()),
    }
}

fn bucket_lookup(text: &str) -> Result<BucketLookup, &'static str> {
    let all = [BucketLookup::Auto, BucketLookup::Path, BucketLookup::Dns];
    all.into_iter().find(|way| way.as_str() == text).ok_or("is none of Auto, Path and DNS")
}

/// Namespace and name, which become a part of a tag: a comma would make it two.
fn policy(text: &str) -> Result<String, &'static str> {
    let (namespace, name) = text.split_once('/').ok_or("must be a namespace, a slash and a name")?;
    word(namespace).and_then(|_| word(name)).map(|_| text.to_owned())
}

fn word(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let is_word = !text.is_empty() && text.bytes().all(is_plain);
    if is_word { Ok(text.to_owned()) } else { Err("must be of lower-case letters, digits, dots and hyphens") }
}

/// A path that means one place: where it leads is where it appears in the backup.
fn host_path(text: &str) -> Result<String, &'static str> {
    let path: PathBuf = Path::new(text).components().collect();
    let mut parts = path.components();
    let is_absolute = parts.next() == Some(Component::RootDir) && parts.clone().next().is_some();
    if is_absolute && parts.all(|part| matches!(part, Component::Normal(_))) {
        Ok(path.to_string_lossy().into_owned())
    } else {
        Err("must be absolute, without .. and not the root")
    }
}

#[cfg(test)]
pub mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;
    use crate::arguments::{Arguments, Verb};

    /// What must be said.
    const LEAST: &str = "--standalone --repository-url https://s3.example.org/ --bucket b --credentials-dir keys \
                         --policy kubedr-system/nightly";

    fn parsed(words: &str) -> Result<Option<Request>, clap::Error> {
        let words = ["agent", "backup"].into_iter().chain(words.split_whitespace());
        match Arguments::try_parse_from(words)?.verb {
            Verb::Backup { standalone } => Ok(standalone),
            other => panic!("another verb: {other:?}"),
        }
    }

    /// The request of the fewest flags, and these.
    pub fn request(more: &str) -> Request {
        parsed(&format!("{LEAST} {more}")).expect("understood").expect("standalone")
    }

    #[test]
    fn in_a_pod_nothing_is_asked_for_by_flags() {
        assert_eq!(parsed("").expect("understood"), None);
    }

    #[test]
    fn what_is_not_given_is_as_a_policy_has_it() {
        let request = request("");
        assert_eq!(request.working_time(), Duration::from_mins(54));
        assert!(request.needs_etcd_client());
        let config = request.config("uid".to_owned(), crate::standalone::secrets());
        assert_eq!(config.place.store.repository(), "s3:https://s3.example.org/b");
        assert_eq!((config.place.store.region.as_str(), config.place.ca_file), ("us-east-1", None));
        assert_eq!((config.host.as_str(), config.policy.as_str()), ("uid", "kubedr-system/nightly"));
        assert_eq!(config.endpoints, ["https://127.0.0.1:2379"]);
        assert_eq!((config.pinned, config.job, config.certs_dir), (None, None, None));
        assert_eq!((config.shrink_guard, config.max_rate), (30, None));
        assert!(config.must_continue);
    }

    #[test]
    fn what_is_given_is_taken() {
        let id = "ab".repeat(32);
        let request = request(&format!(
            "--prefix a/b --region eu --bucket-lookup DNS --ca-file ca.crt --repository-id {id} --cluster-name c \
             --node-name n --etcd-endpoint http://a:1 --etcd-endpoint http://b:1 --certs-dir /pki/ \
             --extra-host-path /etc//enc.yaml --max-rate 5 --shrink-guard 0 --deadline-seconds 100 --first"
        ));
        assert!(!request.needs_etcd_client());
        let config = request.config("uid".to_owned(), crate::standalone::secrets());
        assert_eq!(config.place.store.repository(), "s3:https://s3.example.org/b/a/b");
        assert_eq!(config.place.store.lookup, BucketLookup::Dns);
        assert_eq!(config.place.ca_file.as_deref(), Some(Path::new("/store_ca/ca.crt")));
        assert_eq!(config.pinned.map(String::from), Some(id));
        assert_eq!((config.host.as_str(), config.node.as_str()), ("c", "n"));
        assert_eq!(config.endpoints, ["http://a:1", "http://b:1"]);
        assert_eq!(config.certs_dir.as_deref(), Some("/pki"));
        assert_eq!(config.extra_host_paths, ["/etc/enc.yaml"]);
        assert_eq!((config.shrink_guard, config.max_rate), (0, Some(5)));
        assert!(!config.must_continue);
    }

    #[test]
    fn each_flag_that_must_be_there_is_missed() {
        let flags: Vec<&str> = LEAST.split_whitespace().skip(1).collect();
        for left_out in flags.chunks(2) {
            let words = LEAST.replace(&left_out.join(" "), "");
            let error = parsed(&words).expect_err("not enough").to_string();
            assert!(error.contains(left_out[0]), "{error}");
        }
        let error = parsed(&LEAST.replace("--standalone", "")).expect_err("not by hand").to_string();
        assert!(error.contains("--standalone"), "{error}");
    }

    #[rstest]
    #[case::password("--repository-url https://user:pw@s3")]
    #[case::no_url("--etcd-endpoint 127.0.0.1:2379")]
    #[case::policy_without_namespace("--policy nightly")]
    #[case::two_tags("--policy kubedr-system/a,of:b")]
    #[case::uid_that_is_two_tags("--cluster-uid a,b")]
    #[case::certificate_without_key("--etcd-cert a.crt")]
    #[case::relative("--certs-dir pki")]
    #[case::climbing("--extra-host-path /etc/../root")]
    #[case::all("--extra-host-path /")]
    #[case::short_id("--repository-id abcd")]
    #[case::no_way("--bucket-lookup path")]
    #[case::no_time("--deadline-seconds 0")]
    fn refuses(#[case] more: &str) {
        let flag = more.split_whitespace().next().expect("a flag");
        // clap takes a flag once.
        let least: Vec<&str> = LEAST.split_whitespace().collect();
        let at = least.iter().position(|word| *word == flag);
        let rest = at.map_or(least.clone(), |at| [&least[..at], &least[at + 2..]].concat());
        parsed(&format!("{} {more}", rest.join(" "))).expect_err("refused");
    }

    #[test]
    fn a_given_client_of_etcd_is_taken() {
        let client = request("--etcd-cert a.crt --etcd-key a.key").etcd_client();
        assert_eq!(client, [PathBuf::from("a.crt"), PathBuf::from("a.key")]);
    }
}
