//! The environment, read once and checked: the only place that looks at it.
use std::{
    fmt::Display,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use model::{
    Reason, SnapshotId, Store,
    environment::{self, ForgetList},
    result::Failure,
};
use serde::de::DeserializeOwned;

use crate::{
    arguments::Verb,
    backup::history::Owner,
    mounted_secret::{Mount, Name},
    secrets::{self, Secrets},
};

/// The deadline of a Job that sets none.
const DEADLINE: Duration = Duration::from_hours(1);
/// Share of the deadline that the agent takes for its work; the rest is for ending well.
const SHARE: f64 = 0.9;

/// Variables in which restic gets the keys of the bucket, and which its children inherit.
pub const BUCKET_KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// What `init` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitConfig {
    /// Where the repository is.
    pub place: Place,
    /// The repository that was there at first success.
    pub pinned: Option<SnapshotId>,
    /// The repository that an administrator allowed to be replaced.
    pub replace: Option<SnapshotId>,
}

/// What `backup` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupConfig {
    /// Where the repository is.
    pub place: Place,
    /// The repository that must be there. A pod is always told; by hand, whichever is there may be taken.
    pub pinned: Option<SnapshotId>,
    /// uid of the namespace `kube-system`.
    pub cluster_uid: String,
    /// Host name of the snapshots.
    pub host: String,
    /// Node that the pod runs on.
    pub node: String,
    /// uid of the Job, where there is one.
    pub job: Option<String>,
    /// `<namespace>/<name>` of the policy.
    pub policy: String,
    /// etcd's client URLs.
    pub endpoints: Vec<String>,
    /// `spec.certsDir`.
    pub certs_dir: Option<String>,
    /// `spec.extraHostPaths`.
    pub extra_host_paths: Vec<String>,
    /// Bytes per second.
    pub max_rate: Option<u64>,
    /// `spec.shrinkGuard`, percent.
    pub shrink_guard: u8,
    /// The backup whose shrinking a person accepted, by its snapshot of etcd.
    pub accept_shrink: Option<SnapshotId>,
    /// Whether one of this policy and cluster must be there already: what a person typed may be mistyped.
    pub must_continue: bool,
}

/// What `forget` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetConfig {
    /// Where the repository is.
    pub place: Place,
    /// The repository that must be there.
    pub pinned: SnapshotId,
    /// uid of the namespace `kube-system`.
    pub cluster_uid: String,
    /// `<namespace>/<name>` of the policy whose backups go.
    pub policy: String,
    /// What goes and what stays.
    pub list: ForgetList,
}

impl BackupConfig {
    /// Whose backup is made.
    pub fn owner(&self) -> Owner<'_> {
        Owner { policy: &self.policy, cluster: &self.cluster_uid }
    }
}

impl ForgetConfig {
    /// Whose backups go.
    pub fn owner(&self) -> Owner<'_> {
        Owner { policy: &self.policy, cluster: &self.cluster_uid }
    }
}

/// Where a repository is and where what opens it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Server, bucket and folder.
    pub store: Store,
    /// A private certificate authority.
    pub ca_file: Option<PathBuf>,
    /// The pod's folders.
    pub mounts: Mounts,
    /// The pod's Secrets.
    pub secrets: Secrets,
}

/// The pod's folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounts {
    root: PathBuf,
}

impl Mounts {
    /// The folders of a pod whose root is at `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where an absolute path of the pod is.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The one writable folder.
    pub fn work(&self) -> PathBuf {
        self.at(environment::WORK_MOUNT)
    }
}

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The variables of a process.
pub struct Environment {
    lookup: Box<Lookup>,
}

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self { lookup: Box::new(|name| std::env::var(name).ok()) }
    }

    /// Whether restic handed on the keys that it was given.
    pub fn holds_bucket_keys(&self) -> bool {
        BUCKET_KEYS.iter().any(|name| self.text(name).is_some())
    }

    /// How much is logged.
    pub fn log_filter(&self) -> String {
        self.text("RUST_LOG").unwrap_or_else(|| "info".to_owned())
    }

    /// The time that the agent takes for its work.
    pub fn deadline(&self) -> Duration {
        working_time(self.whole_deadline().unwrap_or(DEADLINE))
    }

    /// The Secrets of a pod that does this.
    pub fn secrets(&self, verb: &Verb, mounts: &Mounts) -> Secrets {
        // What deletes may have the Secret of `spec.maintenanceCredentials`: nobody told which it is.
        let field = (!matches!(verb, Verb::Forget)).then_some("spec.credentials");
        Secrets {
            bucket: Mount {
                folder: mounts.at(environment::CREDENTIALS_MOUNT),
                name: self.name_in(environment::CREDENTIALS_SECRET),
                field,
                keys: &secrets::BUCKET,
            },
            etcd: Mount {
                folder: mounts.at(environment::ETCD_CREDENTIALS_MOUNT),
                name: self.name_in(environment::ETCD_CREDENTIALS_SECRET),
                field: Some("spec.etcdCreds"),
                keys: &secrets::ETCD,
            },
        }
    }

    fn name_in(&self, variable: &str) -> Name {
        self.text(variable).map_or(Name::Untold, Name::Secret)
    }

    /// Reads what `init` needs.
    pub fn init(&self, mounts: Mounts, secrets: Secrets) -> Result<InitConfig, Failure> {
        self.whole_deadline()?;
        Ok(InitConfig {
            place: self.place(mounts, secrets)?,
            pinned: self.parsed(environment::REPOSITORY_ID)?,
            replace: self.parsed(environment::REPLACE_REPOSITORY)?,
        })
    }

    /// Reads what `backup` needs.
    pub fn backup(&self, mounts: Mounts, secrets: Secrets) -> Result<BackupConfig, Failure> {
        let cluster_uid = self.required(environment::CLUSTER_UID)?;
        self.whole_deadline()?;
        Ok(BackupConfig {
            place: self.place(mounts, secrets)?,
            pinned: Some(self.required_parsed(environment::REPOSITORY_ID)?),
            host: self.text(environment::CLUSTER_NAME).unwrap_or_else(|| cluster_uid.clone()),
            cluster_uid,
            node: self.required(environment::NODE_NAME)?,
            job: self.text(environment::JOB_UID),
            policy: self.policy()?,
            endpoints: self.endpoints()?,
            certs_dir: self.text(environment::CERTS_DIR),
            extra_host_paths: self.json(environment::EXTRA_HOST_PATHS)?.unwrap_or_default(),
            max_rate: self.parsed(environment::MAX_RATE)?,
            shrink_guard: self.parsed(environment::SHRINK_GUARD)?.unwrap_or_default(),
            accept_shrink: self.parsed(environment::ACCEPT_SHRINK)?,
            must_continue: false,
        })
    }

    /// Reads what `forget` needs.
    pub fn forget(&self, mounts: Mounts, secrets: Secrets) -> Result<ForgetConfig, Failure> {
        self.whole_deadline()?;
        Ok(ForgetConfig {
            place: self.place(mounts, secrets)?,
            pinned: self.required_parsed(environment::REPOSITORY_ID)?,
            cluster_uid: self.required(environment::CLUSTER_UID)?,
            policy: self.policy()?,
            list: self.json(environment::FORGET)?.ok_or_else(|| missing(environment::FORGET))?,
        })
    }

    fn place(&self, mounts: Mounts, secrets: Secrets) -> Result<Place, Failure> {
        let store = self.json(environment::STORE)?.ok_or_else(|| missing(environment::STORE))?;
        let ca_file = self.text(environment::STORE_CA_FILE).map(PathBuf::from);
        Ok(Place { store, ca_file, mounts, secrets })
    }

    fn policy(&self) -> Result<String, Failure> {
        let namespace = self.required(environment::POLICY_NAMESPACE)?;
        let name = self.required(environment::POLICY_NAME)?;
        Ok(format!("{namespace}/{name}"))
    }

    fn endpoints(&self) -> Result<Vec<String>, Failure> {
        let name = environment::ETCD_ENDPOINTS;
        let endpoints: Vec<String> = self.json(name)?.ok_or_else(|| missing(name))?;
        if endpoints.is_empty() { Err(invalid(name, "it lists no endpoint")) } else { Ok(endpoints) }
    }

    fn whole_deadline(&self) -> Result<Duration, Failure> {
        let name = environment::DEADLINE_SECONDS;
        match self.parsed(name)? {
            None => Ok(DEADLINE),
            Some(0) => Err(invalid(name, "0 seconds are too few")),
            Some(seconds) => Ok(Duration::from_secs(seconds)),
        }
    }

    /// An empty variable is one that is not set.
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &str) -> Result<String, Failure> {
        self.text(name).ok_or_else(|| missing(name))
    }

    fn parsed<Value: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<Value>, Failure> {
        let text = self.text(name);
        text.map(|text| text.parse().map_err(|error| invalid(name, error))).transpose()
    }

    fn required_parsed<Value: FromStr<Err: Display>>(&self, name: &str) -> Result<Value, Failure> {
        self.parsed(name)?.ok_or_else(|| missing(name))
    }

    fn json<Value: DeserializeOwned>(&self, name: &str) -> Result<Option<Value>, Failure> {
        let text = self.text(name);
        text.map(|text| serde_json::from_str(&text).map_err(|error| invalid(name, error))).transpose()
    }
}

/// The part of a deadline that is for work.
pub fn working_time(deadline: Duration) -> Duration {
    deadline.mul_f64(SHARE)
}

fn missing(name: &str) -> Failure {
    Failure::new(Reason::InvalidSpec, format!("the variable {name} is not set")).at(name)
}

fn invalid(name: &str, why: impl Display) -> Failure {
    Failure::new(Reason::InvalidSpec, format!("the variable {name} cannot be used: {why}")).at(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;
    use crate::secrets::tests::secrets;

    const STORE: &str =
        r#"{"url":"http://s3:9000","bucket":"b","prefix":"","region":"us-east-1","lookup":"Auto"}"#;

    fn whole() -> BTreeMap<String, String> {
        let id = "ab".repeat(32);
        let list = format!(r#"{{"go":[],"stay":[{{"etcd":"{id}","files":"{id}"}}]}}"#);
        let variables = [
            (environment::STORE, STORE),
            (environment::REPOSITORY_ID, &id),
            (environment::CLUSTER_UID, "uid"),
            (environment::NODE_NAME, "control-1"),
            (environment::POLICY_NAMESPACE, "kubedr-system"),
            (environment::POLICY_NAME, "test-backup"),
            (environment::ETCD_ENDPOINTS, r#"["https://127.0.0.1:2379"]"#),
            (environment::FORGET, &list),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn environment(variables: BTreeMap<String, String>) -> Environment {
        Environment { lookup: Box::new(move |name| variables.get(name).cloned()) }
    }

    fn mounts() -> Mounts {
        Mounts::new("/".into())
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let config = environment(whole()).backup(mounts(), secrets()).expect("whole");
        assert_eq!((config.host.as_str(), config.policy.as_str()), ("uid", "kubedr-system/test-backup"));
        assert_eq!((config.certs_dir, config.max_rate), (None, None));
        assert_eq!((config.shrink_guard, config.accept_shrink), (0, None));
        assert_eq!(environment(whole()).whole_deadline(), Ok(DEADLINE));
        assert_eq!(environment(whole()).init(mounts(), secrets()).expect("whole").replace, None);
        environment(whole()).forget(mounts(), secrets()).expect("whole");
    }

    #[rstest]
    #[case::init(Verb::Init, Some("spec.credentials"))]
    #[case::backup(Verb::Backup { standalone: None }, Some("spec.credentials"))]
    #[case::forget_which_may_have_others(Verb::Forget, None)]
    fn secrets_are_called_by_what_the_operator_told(#[case] verb: Verb, #[case] field: Option<&str>) {
        let names = [
            (environment::CREDENTIALS_SECRET.to_owned(), "s3-creds".to_owned()),
            (environment::ETCD_CREDENTIALS_SECRET.to_owned(), "etcd-creds".to_owned()),
        ];
        let told = environment(names.into()).secrets(&verb, &mounts());
        let handed_on = told.names().into_iter().map(|(name, value)| (name.to_owned(), value));
        assert_eq!(environment(handed_on.collect()).secrets(&verb, &mounts()), told, "the stream's");
        let Secrets { bucket, etcd } = told;
        assert_eq!((bucket.name.of_secret(), bucket.field), (Some("s3-creds"), field));
        assert_eq!((etcd.name.of_secret(), etcd.field), (Some("etcd-creds"), Some("spec.etcdCreds")));
        let nameless = environment(BTreeMap::new()).secrets(&verb, &mounts());
        assert_eq!(nameless.names(), []);
        let Secrets { bucket, etcd } = nameless;
        assert_eq!((bucket.name, etcd.name), (Name::Untold, Name::Untold));
    }

    #[test]
    fn the_agent_ends_before_its_job_does() {
        let mut variables = whole();
        variables.insert(environment::DEADLINE_SECONDS.to_owned(), "100".to_owned());
        assert_eq!(environment(variables).deadline(), Duration::from_secs(90));
    }

    #[rstest]
    #[case::store(environment::STORE)]
    #[case::repository(environment::REPOSITORY_ID)]
    #[case::cluster(environment::CLUSTER_UID)]
    #[case::node(environment::NODE_NAME)]
    #[case::namespace(environment::POLICY_NAMESPACE)]
    #[case::policy(environment::POLICY_NAME)]
    #[case::endpoints(environment::ETCD_ENDPOINTS)]
    fn a_missing_or_empty_variable_is_named(#[case] name: &str) {
        let mut variables = whole();
        for value in [Some(String::new()), None] {
            variables.remove(name);
            variables.extend(value.map(|value| (name.to_owned(), value)));
            let failure =
                environment(variables.clone()).backup(mounts(), secrets()).expect_err("lacks a variable");
            assert_eq!((failure.reason, failure.field.as_deref()), (Reason::InvalidSpec, Some(name)));
        }
    }

    #[rstest]
    #[case::store(environment::STORE, "{}")]
    #[case::repository(environment::REPOSITORY_ID, "../../x")]
    #[case::endpoints(environment::ETCD_ENDPOINTS, "[]")]
    #[case::endpoints_no_list(environment::ETCD_ENDPOINTS, "https://127.0.0.1:2379")]
    #[case::rate(environment::MAX_RATE, "-1")]
    #[case::guard(environment::SHRINK_GUARD, "30%")]
    #[case::accepted_record(environment::ACCEPT_SHRINK, "mbr-9a9808ce")]
    #[case::deadline(environment::DEADLINE_SECONDS, "0")]
    #[case::deadline_no_number(environment::DEADLINE_SECONDS, "1h")]
    #[case::host_paths(environment::EXTRA_HOST_PATHS, "/etc")]
    fn a_malformed_variable_is_named(#[case] name: &str, #[case] value: &str) {
        let mut variables = whole();
        variables.insert(name.to_owned(), value.to_owned());
        let failure = environment(variables).backup(mounts(), secrets()).expect_err("malformed");
        assert_eq!((failure.reason, failure.field.as_deref()), (Reason::InvalidSpec, Some(name)));
    }
}
