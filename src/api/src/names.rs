//! Every name, label and annotation that kubedr derives or reads: built here, nowhere else.
//!
//! The lengths are proven at compile time from the longest name that a kind may have.
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use model::SnapshotId;

use crate::{GROUP, VERSION};

/// Namespace of the operator and of all its objects where no flag says otherwise.
pub const DEFAULT_NAMESPACE: &str = "kubedr-system";
/// `ServiceAccount` of the operator.
pub const OPERATOR_ACCOUNT: &str = "kubedr-operator";
/// Service of the operator's metrics.
pub const METRICS_SERVICE: &str = "kubedr-operator-metrics";
/// Service of the operator's webhooks.
pub const WEBHOOK_SERVICE: &str = "kubedr-webhook";
/// Secret with the authority that the operator keeps for its webhooks, where nobody else does.
pub const WEBHOOK_AUTHORITY: &str = "kubedr-webhook-ca";
/// What [`webhooks`] says for the default namespace.
pub const DEFAULT_WEBHOOKS: &str = "webhooks.kubedr-system";
/// `ServiceAccount` of agents' pods: no token, no rights.
pub const AGENT_ACCOUNT: &str = "kubedr-agent";

/// Longest name of a BackupLocation.
pub const MAX_LOCATION: usize = 47;
/// Longest name of a MetadataBackupPolicy.
pub const MAX_POLICY: usize = 37;
/// Longest name of a MetadataRestore.
pub const MAX_RESTORE: usize = 60;

/// Longest name of a CronJob: its Jobs' names add 11 characters.
const MAX_CRONJOB: usize = 52;
/// Longest name of a Job whose name its pods carry as a label.
const MAX_JOB: usize = 63;
const HASH_DIGITS: usize = 8;

const INIT: &str = "-init";
const BACKUP: &str = "-backup-cronjob";
const VERIFY: &str = "-verify";
const RESTORE: &str = "-mr";

const _: () = assert!(MAX_POLICY + BACKUP.len() <= MAX_CRONJOB, "a backup CronJob's name fits");
const _: () = assert!(MAX_POLICY + VERIFY.len() <= MAX_CRONJOB, "a verify CronJob's name fits");
const _: () = assert!(MAX_LOCATION + INIT.len() <= MAX_JOB, "an init Job's name fits");
const _: () = assert!(MAX_RESTORE + RESTORE.len() <= MAX_JOB, "a restore Job's name fits");
const _: () = assert!(
    MAX_LOCATION + 1 + longest(&Work::OF_LOCATION) + 1 + HASH_DIGITS <= MAX_JOB,
    "the name of every Job of a location fits"
);

const fn longest(works: &[Work]) -> usize {
    let (mut index, mut most) = (0, 0);
    while index < works.len() {
        let length = works[index].verb().len();
        most = if length > most { length } else { most };
        index += 1;
    }
    most
}

/// What a Job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Makes or attaches a repository.
    Init,
    /// Makes a backup.
    Backup,
    /// Proves a backup.
    Verify,
    /// Restores one.
    Restore,
    /// Removes backups from a repository.
    Forget,
    /// Removes unused data from a repository.
    Prune,
    /// Reads stored data back.
    Check,
    /// Lists a repository.
    Sync,
}

impl Work {
    /// Works whose Jobs are called `<location>-<verb>-<hash>`.
    const OF_LOCATION: [Self; 4] = [Self::Forget, Self::Prune, Self::Check, Self::Sync];

    /// The agent's verb.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup => "backup",
            Self::Verify => "verify",
            Self::Restore => "restore",
            Self::Forget => "forget",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Sync => "sync",
        }
    }

    /// Value of the label [`label::TYPE`].
    pub const fn label(self) -> &'static str {
        match self {
            Self::Init => "backuploc-init",
            other => other.verb(),
        }
    }
}

/// Keys of labels.
pub mod label {
    /// What a Job, CronJob or pod is for: [`Work::label`](super::Work::label).
    pub const TYPE: &str = "kubedr.type";
    /// Name of the BackupLocation that it works for.
    pub const LOCATION: &str = "kubedr.backuploc";
    /// Name of the MetadataBackupPolicy that it works for.
    pub const POLICY: &str = "kubedr.backup-policy";
    /// Name of the MetadataBackupRecord that it restores.
    pub const RECORD: &str = "kubedr.restore-mbr";
    /// The product: [`PRODUCT`].
    pub const NAME: &str = "app.kubernetes.io/name";
    /// Who made it: [`PRODUCT`].
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// Which part of the product it is.
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    /// Value of [`NAME`] and [`MANAGED_BY`].
    pub const PRODUCT: &str = "kubedr";
}

/// Keys of annotations.
pub mod annotation {
    /// On a BackupLocation, `"true"` once its repository is there (upstream's).
    pub const INITIALIZED: &str = "initialized.annotations.kubedr.catalogicsoftware.com";
    /// On a MetadataBackupPolicy, name of the pod whose backup was counted (upstream's).
    pub const PROCESSED_BACKUP: &str = "processed-backup.annotations.kubedr.catalogicsoftware.com";
    /// On a MetadataRestore, `"true"` once it is done (upstream's).
    pub const RESTORED: &str = "restored.annotations.kubedr.catalogicsoftware.com";
    /// On a BackupLocation, id of the pinned repository that a user allows to be replaced.
    pub const REPLACE_REPOSITORY: &str = "kubedr.catalogicsoftware.com/replace-repository";
    /// On a MetadataBackupPolicy, the lineage that a user accepts.
    pub const ACCEPT_LINEAGE: &str = "kubedr.catalogicsoftware.com/accept-lineage";
    /// On a MetadataBackupPolicy, the record whose shrinking a user accepts.
    pub const ACCEPT_SHRINK: &str = "kubedr.catalogicsoftware.com/accept-shrink";
    /// On a MetadataBackupPolicy, any new value starts a backup now.
    pub const RUN_NOW: &str = "kubedr.catalogicsoftware.com/run-now";
    /// On a MetadataBackupRecord, why it must not be forgotten.
    pub const HOLD: &str = "kubedr.catalogicsoftware.com/hold";
}

/// Finalizers that upstream put on its objects. kubedr removes them: they did nothing but
/// block a deletion while the operator was away.
pub const UPSTREAM_FINALIZERS: &[&str] = &[
    "backuplocation.finalizers.kubedr.catalogicsoftware.com",
    "metadata-backup-policy.finalizers.kubedr.catalogicsoftware.com",
    "mbr.finalizers.kubedr.catalogicsoftware.com",
];

/// The Job, and the pod's container, that make or attach a location's repository.
pub fn init_job(location: &str) -> String {
    format!("{location}{INIT}")
}

/// The CronJob that makes a policy's backups.
pub fn backup_cronjob(policy: &str) -> String {
    format!("{policy}{BACKUP}")
}

/// The CronJob that proves a policy's backups.
pub fn verify_cronjob(policy: &str) -> String {
    format!("{policy}{VERIFY}")
}

/// The Job of a MetadataRestore.
pub fn restore_job(restore: &str) -> String {
    format!("{restore}{RESTORE}")
}

/// The Job that does something once in a location's repository.
///
/// The same `what`, which is all that the Job is told, always gives the same name, so that a
/// repeated decision finds the Job of the first. The name is no proof that it is the same
/// work: 32 bits can collide, and the owner's UID must be compared as well.
pub fn location_job(location: &str, work: Work, what: &str) -> String {
    format!("{location}-{}-{:08x}", work.verb(), hash(what))
}

/// Names that the record of a snapshot may have, the usual one first; the longer ones are for
/// where another snapshot has the name.
pub fn records(snapshot: &SnapshotId) -> [String; 3] {
    [8, 12, 16].map(|digits| format!("mbr-{}", &snapshot.as_str()[..digits]))
}

/// Host names of the webhooks' service; the API server asks for the first.
pub fn webhook_hosts(namespace: &str) -> [String; 2] {
    ["svc", "svc.cluster.local"].map(|domain| format!("{WEBHOOK_SERVICE}.{namespace}.{domain}"))
}

/// What the API server asks the webhooks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The object with its defaults.
    Mutate,
    /// Whether the object may be.
    Validate,
}

/// The path at which the webhooks answer for one kind, as upstream had it.
pub fn webhook_path<K: Resource<DynamicType = ()>>(verb: Verb) -> String {
    let verb = match verb {
        Verb::Mutate => "mutate",
        Verb::Validate => "validate",
    };
    format!("/{verb}-{}-{VERSION}-{}", GROUP.replace('.', "-"), K::kind(&()).to_lowercase())
}

/// Labels of what works for a location.
pub fn location_labels(work: Work, location: &str) -> BTreeMap<String, String> {
    labels(work, label::LOCATION, location)
}

/// Labels of what works for a policy.
pub fn policy_labels(work: Work, policy: &str) -> BTreeMap<String, String> {
    labels(work, label::POLICY, policy)
}

/// Labels of what restores a record.
pub fn restore_labels(record: &str) -> BTreeMap<String, String> {
    labels(Work::Restore, label::RECORD, record)
}

fn labels(work: Work, key: &str, name: &str) -> BTreeMap<String, String> {
    let pairs = [
        (label::TYPE, work.label()),
        (key, name),
        (label::NAME, label::PRODUCT),
        (label::MANAGED_BY, label::PRODUCT),
        (label::COMPONENT, work.verb()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Name of both configurations of webhooks, mutating and validating, of the operator in a namespace.
///
/// They have no namespace of their own, so it is part of the name: two operators in one cluster must not
/// complete each other's.
pub fn webhooks(namespace: &str) -> String {
    cluster_wide("webhooks", namespace)
}

/// Name of what is installed for the operator in a namespace, and is itself in none.
pub fn cluster_wide(what: &str, namespace: &str) -> String {
    format!("{what}.{namespace}")
}

/// What the API server calls the operator in a namespace.
pub fn operator_user(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:{OPERATOR_ACCOUNT}")
}

/// Says what is wrong with a name that leaves no room for those derived from it.
pub(crate) fn length(metadata: &ObjectMeta, most: usize) -> Option<model::Violation> {
    let length = metadata.name.as_deref().unwrap_or_default().len();
    let problem = || format!("has {length} characters, at most {most} are allowed");
    (length > most).then(|| model::Violation::new("metadata.name", problem()))
}

/// Says what is wrong with an object outside of the operator's own namespace, where nothing is done for it.
pub fn namespace(metadata: &ObjectMeta, operators: &str) -> Option<model::Violation> {
    let found = metadata.namespace.as_deref().unwrap_or_default();
    let problem = || format!("is {found:?}, and kubedr works in namespace {operators:?} only");
    (found != operators).then(|| model::Violation::new("metadata.namespace", problem()))
}

/// Says what is wrong with a reference to an object of the same namespace.
pub(crate) fn object(field: &str, name: &str) -> Option<model::Violation> {
    let fits = name.len() <= 253 && name.split('.').all(is_dns_label);
    let problem = || format!("{name:?} is not the name of an object");
    (!fits).then(|| model::Violation::new(field, problem()))
}

fn is_dns_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
}

/// Whether a text can be the key of a label: an optional DNS prefix, a slash, and a name.
pub(crate) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let fits =
        name.len() <= 63 && name.bytes().all(is_inner) && is_outer(bytes.first()) && is_outer(bytes.last());
    fits && prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_dns_label))
}

/// FNV-1a: the same in every version of Rust and of kubedr, which the standard library's is not.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_spelling_of_the_contract() {
        assert_eq!(init_job("local-minio"), "local-minio-init");
        assert_eq!(backup_cronjob("test-backup"), "test-backup-backup-cronjob");
        assert_eq!(verify_cronjob("test-backup"), "test-backup-verify");
        assert_eq!(restore_job("once"), "once-mr");
        let snapshot = "9a9808ce".repeat(8).parse().expect("64 digits");
        assert_eq!(records(&snapshot), ["mbr-9a9808ce", "mbr-9a9808ce9a98", "mbr-9a9808ce9a9808ce"]);
    }

    #[test]
    fn what_is_in_no_namespace_is_named_for_the_operators() {
        assert_eq!(webhooks(DEFAULT_NAMESPACE), DEFAULT_WEBHOOKS);
        assert_eq!(operator_user("a"), "system:serviceaccount:a:kubedr-operator");
    }

    #[test]
    fn webhooks_are_found_under_the_names_of_their_service() {
        let hosts = ["kubedr-webhook.a.svc", "kubedr-webhook.a.svc.cluster.local"];
        assert_eq!(webhook_hosts("a"), hosts);
    }

    #[test]
    fn a_job_of_a_location_is_named_for_what_it_is_told() {
        let forget = |what| location_job("local-minio", Work::Forget, what);
        assert_eq!(forget("a"), "local-minio-forget-e40c292c");
        assert_eq!(forget("a"), forget("a"));
        assert_ne!(forget("a"), forget("b"));
        assert_eq!(location_job(&"x".repeat(MAX_LOCATION), Work::Forget, "").len(), MAX_JOB);
    }

    #[test]
    fn labels_have_the_spelling_of_the_contract() {
        let text = |labels: BTreeMap<String, String>| {
            labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
        };
        let expected = [
            "app.kubernetes.io/component=init",
            "app.kubernetes.io/managed-by=kubedr",
            "app.kubernetes.io/name=kubedr",
            "kubedr.backuploc=local-minio",
            "kubedr.type=backuploc-init",
        ];
        assert_eq!(text(location_labels(Work::Init, "local-minio")), expected);
        assert_eq!(policy_labels(Work::Backup, "p")["kubedr.type"], "backup");
        assert_eq!(policy_labels(Work::Backup, "p")["kubedr.backup-policy"], "p");
        assert_eq!(restore_labels("mbr-1")["kubedr.restore-mbr"], "mbr-1");
    }
}
