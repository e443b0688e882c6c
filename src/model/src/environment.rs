//! Names of the environment variables of an agent's pod.
//!
//! ```text
//! spec ─▶ controllers: build ─▶ pod's environment ─▶ agent: Config
//! ```
//!
//! Plain values only: no secret is ever in one of them.

/// uid of the namespace `kube-system`, which stands for the cluster.
pub const CLUSTER_UID: &str = "KUBEDR_CLUSTER_UID";
/// Host name written into restic's snapshots; the cluster's uid where nothing was set.
pub const CLUSTER_NAME: &str = "KUBEDR_CLUSTER_NAME";
/// Name of the node the pod runs on, from the downward API.
pub const NODE_NAME: &str = "KUBEDR_NODE_NAME";
/// uid of the Job, from the downward API; absent where there is none.
pub const JOB_UID: &str = "KUBEDR_JOB_UID";
/// Name of the policy (upstream's name).
pub const POLICY_NAME: &str = "KDR_POLICY_NAME";
/// Namespace of the policy.
pub const POLICY_NAMESPACE: &str = "KUBEDR_POLICY_NAMESPACE";
/// Name of the location.
pub const LOCATION_NAME: &str = "KUBEDR_LOCATION_NAME";
/// The [`Store`](crate::Store), as JSON.
pub const STORE: &str = "KUBEDR_STORE";
/// Name of the Secret that is mounted at [`CREDENTIALS_MOUNT`]; only for messages, absent where
/// there is none to name.
pub const CREDENTIALS_SECRET: &str = "KUBEDR_CREDENTIALS_SECRET";
/// Name of the Secret that is mounted at [`ETCD_CREDENTIALS_MOUNT`]; only for messages, absent
/// where there is none to name.
pub const ETCD_CREDENTIALS_SECRET: &str = "KUBEDR_ETCD_CREDENTIALS_SECRET";
/// File with the private certificate authority of the S3 server; absent where there is none.
pub const STORE_CA_FILE: &str = "KUBEDR_STORE_CA_FILE";
/// What restic may take of memory before it tidies up: its memory grows with the repository's index, and told of a
/// limit, Go frees in time.
pub const RESTIC_MEMORY: (&str, &str) = ("GOMEMLIMIT", "600MiB");
/// The pinned id of the repository; absent before the first success.
pub const REPOSITORY_ID: &str = "KUBEDR_REPOSITORY_ID";
/// The old repository's id that an administrator allowed to be replaced.
pub const REPLACE_REPOSITORY: &str = "KUBEDR_REPLACE_REPOSITORY";
/// etcd's client URLs, as a JSON list.
pub const ETCD_ENDPOINTS: &str = "KUBEDR_ETCD_ENDPOINTS";
/// `spec.certsDir`, as it is called on the node; absent where there is none.
pub const CERTS_DIR: &str = "KUBEDR_CERTS_DIR";
/// `spec.extraHostPaths`, as they are called on the node: a JSON list of paths.
pub const EXTRA_HOST_PATHS: &str = "KUBEDR_EXTRA_HOST_PATHS";
/// Deadline of the whole Job, seconds. Each pod of it takes 90 % for its work; how long one
/// before it took, it does not know.
pub const DEADLINE_SECONDS: &str = "KUBEDR_DEADLINE_SECONDS";
/// Largest rate of the snapshot's stream, bytes per second; absent for no limit.
pub const MAX_RATE: &str = "KUBEDR_MAX_RATE";
/// `spec.shrinkGuard`, percent.
pub const SHRINK_GUARD: &str = "KUBEDR_SHRINK_GUARD";
/// Full id of the snapshot of etcd of the backup whose shrinking a person accepted; absent where
/// there is none.
pub const ACCEPT_SHRINK: &str = "KUBEDR_ACCEPT_SHRINK";
/// The [`ForgetList`], as JSON.
pub const FORGET: &str = "KUBEDR_FORGET";

/// Where the folder of `spec.certsDir` is mounted in the pod.
pub const CERTIFICATES_MOUNT: &str = "/data/certificates";
/// Where each of `spec.extraHostPaths` is mounted, under its own path.
pub const HOST_MOUNT: &str = "/data/host";
/// Where the Secret of `spec.etcdCreds` is mounted.
pub const ETCD_CREDENTIALS_MOUNT: &str = "/etcd_creds";
/// Where the Secret of `spec.credentials` (or `maintenanceCredentials`) is mounted.
pub const CREDENTIALS_MOUNT: &str = "/credentials";
/// Where the private certificate authority of the S3 server is mounted, as `ca.crt`.
pub const STORE_CA_MOUNT: &str = "/store_ca";
/// The one writable folder: `TMPDIR`, restic's cache and `HOME`.
pub const WORK_MOUNT: &str = "/work";
/// Root of what is stored; `kubedr.json` is written here. A folder of the work volume.
pub const DATA_MOUNT: &str = "/data";
/// The file of the first snapshot: what etcd streamed, never on the node. Upstream's name since its first release.
pub const ETCD_SNAPSHOT_FILE: &str = "/data/etcd-snapshot.db";
/// The file of the second snapshot that says what both hold.
pub const EVIDENCE_FILE: &str = "/data/kubedr.json";
/// Where the agent leaves its result.
pub const RESULT_FILE: &str = "/dev/termination-log";

/// What a forget pod is told to do: what goes, and what must be there before it may.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForgetList {
    /// Backups that go.
    pub go: Vec<Pair>,
    /// Backups that must be in the repository, whole, before anything goes. Never empty.
    pub stay: Vec<Pair>,
}

/// The two snapshots of one backup.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// The snapshot with the etcd stream.
    pub etcd: crate::SnapshotId,
    /// The snapshot with the files beside it.
    pub files: crate::SnapshotId,
}

impl ForgetList {
    /// Most backups that one pod forgets, and most survivors that it looks for: the
    /// list must fit an environment variable (128 KiB).
    pub const MOST: usize = 200;
}
