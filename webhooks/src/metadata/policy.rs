//! MetadataBackupPolicy: where its backups go, whether they come too close, and what they may lack.
use std::{collections::BTreeSet, path::Path};

use api::{Endpoint, MetadataBackupPolicy, MetadataBackupPolicyStatus, Scheme, conditions};
use model::{Reason, Schedule, Violation};

use crate::{Admission, judge::Kind};

impl Kind for MetadataBackupPolicy {
    const IS_AWAITED: bool = true;

    fn flaws(&self, by: &Admission) -> Vec<Violation> {
        self.validate(&by.allowed_host_paths)
    }

    fn doubts(&self, old: Option<&Self>, by: &Admission) -> Vec<Violation> {
        let told = old.and_then(|old| old.status.as_ref());
        let doubts = [
            nowhere(self, by),
            in_clear(self),
            told.and_then(|told| too_close(self, told, by)),
            old.and_then(|old| without_keys(self, old)),
        ];
        doubts.into_iter().flatten().collect()
    }
}

/// The destination may come later: objects are applied in any order.
fn nowhere(policy: &MetadataBackupPolicy, by: &Admission) -> Option<Violation> {
    let destination = &policy.spec.destination;
    let problem =
        || format!("no BackupLocation is called {destination:?} yet: no backup is made before one is");
    by.others.lack_location(destination).then(|| Violation::new("spec.destination", problem()))
}

/// A server of the node itself sends nothing that others could read.
fn in_clear(policy: &MetadataBackupPolicy) -> Option<Violation> {
    let endpoints = policy.spec.etcd_endpoints();
    let is_open = |url: &&String| {
        let server = url.parse::<Endpoint>();
        server.is_ok_and(|server| server.scheme() == Scheme::Http && !server.is_node_local())
    };
    let url = endpoints.iter().find(is_open)?;
    let field =
        if policy.spec.etcd_endpoints.is_empty() { "spec.etcdEndpoint" } else { "spec.etcdEndpoints" };
    let problem = format!("{url:?} is plain http: every Secret of the cluster passes in clear");
    Some(Violation::new(field, problem))
}

/// What is due while a run goes on is passed over.
fn too_close(
    policy: &MetadataBackupPolicy,
    told: &MetadataBackupPolicyStatus,
    by: &Admission,
) -> Option<Violation> {
    let took = told.last_duration()?;
    let schedule = Schedule::parse(&policy.spec.schedule, policy.spec.time_zone()).ok()?;
    let closest = schedule.shortest_interval((by.now)()).filter(|closest| *closest < took)?;
    let (seconds, took) = (closest.as_secs(), took.as_secs());
    let problem = format!(
        "is due again after {seconds} s, and the last backup took {took} s: what comes meanwhile is passed over"
    );
    Some(Violation::new("spec.schedule", problem))
}

/// What was encrypted, and by keys of which files, only a backup can tell: the last one's word counts.
fn without_keys(policy: &MetadataBackupPolicy, old: &MetadataBackupPolicy) -> Option<Violation> {
    let told = old.status.as_ref()?;
    now_without_keys(policy, old, told).or_else(|| still_without_keys(policy, old, told))
}

fn now_without_keys(
    policy: &MetadataBackupPolicy,
    old: &MetadataBackupPolicy,
    told: &MetadataBackupPolicyStatus,
) -> Option<Violation> {
    let has = |path: &str, file: &String| Path::new(file).starts_with(path);
    let is_kept = |file: &String| paths(policy).iter().any(|path| has(path, file));
    let file = told.encryption_configs.first()?;
    let is_of_folder = old.spec.certs_dir().is_some_and(|folder| has(folder, file));
    let field = if is_of_folder { "spec.certsDir" } else { "spec.extraHostPaths" };
    // The end of a long warning is cut off.
    let problem = format!(
        "leaves out the keys that the objects of the last snapshot are encrypted with, unless another path has them: {file:?}"
    );
    (!told.encryption_configs.iter().any(is_kept)).then(|| Violation::new(field, problem))
}

/// Nobody knows in which file the keys are before it was read: a path that is new may be the one.
fn still_without_keys(
    policy: &MetadataBackupPolicy,
    old: &MetadataBackupPolicy,
    told: &MetadataBackupPolicyStatus,
) -> Option<Violation> {
    let complete = told.conditions.iter().find(|condition| condition.type_ == conditions::COMPLETE)?;
    // A backup may lack several things: the first is the reason, the others are words of its message.
    let word = Reason::EncryptionKeyMissing.as_str();
    let lacks_keys =
        complete.status == "False" && (complete.reason == word || complete.message.contains(word));
    let adds_a_path = paths(policy).difference(&paths(old)).next().is_some();
    let problem = "lacks an encryption configuration: the last snapshot held objects that need its keys";
    (lacks_keys && !adds_a_path).then(|| Violation::new("spec.extraHostPaths", problem))
}

fn paths(policy: &MetadataBackupPolicy) -> BTreeSet<&str> {
    let extra = policy.spec.extra_host_paths.iter().map(api::ExtraHostPath::path);
    extra.chain(policy.spec.certs_dir()).collect()
}
