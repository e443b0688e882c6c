//! The pod of an agent: whatever it does, with the same little it may.
use std::collections::BTreeMap;

use api::{
    BackupLocation, CaBundle,
    names::{AGENT_ACCOUNT, Work},
};
use k8s_openapi::{
    api::batch::v1::Job,
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource,
        KeyToPath, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements,
        SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use kube::ResourceExt;
use model::environment;

use crate::{Settings, placement::Place};

/// Name of the one container.
pub const CONTAINER: &str = "agent";
/// Exit codes of the agent after which another pod would fail in the same way.
pub const FINAL: std::ops::RangeInclusive<i32> = 64..=74;
/// Name of the CA's file below its mount.
const CA_FILE: &str = "ca.crt";
/// Name of the one writable volume.
const WORK: &str = "work";
/// Most that the pod may write to the node: restic's cache and packs on their way.
const WORK_LIMIT: &str = "4Gi";
/// How long restic may take to give its lock back after SIGTERM.
const GRACE_SECONDS: i64 = 60;

/// What one agent's pod is for.
pub struct AgentPod<'a> {
    /// What an administrator decided.
    pub settings: &'a Settings,
    /// What it does.
    pub work: Work,
    /// Where it works.
    pub location: &'a BackupLocation,
    /// Secret with the keys of the bucket.
    pub credentials: &'a str,
    /// Where it runs.
    pub place: &'a Place,
    /// Seconds that its Job may take.
    pub deadline: i64,
    /// What this work needs besides.
    pub needs: Needs,
}

/// What one kind of work needs besides what all need.
#[derive(Default)]
pub struct Needs {
    /// Further variables.
    pub environment: Vec<EnvVar>,
    /// Further volumes.
    pub volumes: Vec<Volume>,
    /// Where the agent sees them.
    pub mounts: Vec<VolumeMount>,
}

/// A variable with a plain value.
pub fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}

/// A variable that the kubelet fills with a field of the pod.
pub fn from_pod(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path.to_owned(), api_version: None };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}

/// A Secret, whole, readable by root only.
///
/// Optional, so that the agent can say which Secret or key is missing; a pod
/// that waits for a volume says nothing.
pub fn secret(volume: &str, secret: &str) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        default_mode: Some(0o400),
        optional: Some(true),
        items: None,
    };
    Volume { name: volume.to_owned(), secret: Some(source), ..Volume::default() }
}

/// A mount that cannot be written to.
pub fn read_only(volume: &str, path: impl Into<String>) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

impl AgentPod<'_> {
    /// The template for a Job.
    pub fn template(self, labels: BTreeMap<String, String>) -> PodTemplateSpec {
        let metadata = ObjectMeta { labels: Some(labels), ..ObjectMeta::default() };
        PodTemplateSpec { metadata: Some(metadata), spec: Some(self.pod()) }
    }

    fn pod(self) -> PodSpec {
        PodSpec {
            affinity: self.place.affinity(),
            automount_service_account_token: Some(false),
            dns_policy: Some(self.place.dns_policy().to_owned()),
            enable_service_links: Some(false),
            host_network: self.place.host_network.then_some(true),
            priority_class_name: Some("system-cluster-critical".to_owned()),
            restart_policy: Some("Never".to_owned()),
            security_context: Some(PodSecurityContext {
                run_as_group: Some(0),
                run_as_user: Some(0),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            service_account_name: Some(AGENT_ACCOUNT.to_owned()),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            tolerations: self.place.tolerations(),
            volumes: Some(self.volumes()),
            containers: vec![self.container()],
            ..PodSpec::default()
        }
    }

    fn container(self) -> Container {
        Container {
            name: CONTAINER.to_owned(),
            image: Some(self.settings.agent_image.clone()),
            image_pull_policy: self.settings.agent_image_pull_policy.clone(),
            args: Some(vec![self.work.verb().to_owned()]),
            resources: Some(resources()),
            security_context: Some(security()),
            termination_message_path: Some(environment::RESULT_FILE.to_owned()),
            termination_message_policy: Some("File".to_owned()),
            volume_mounts: Some(self.mounts()),
            env: Some(self.environment()),
            ..Container::default()
        }
    }

    fn environment(self) -> Vec<EnvVar> {
        let Self { settings, location, credentials, deadline, needs, .. } = self;
        let store = serde_json::to_string(&location.spec.store()).expect("a store is plain text");
        let status = location.status.as_ref();
        let mut variables = vec![
            variable(environment::CLUSTER_UID, &settings.cluster_uid),
            from_pod(environment::NODE_NAME, "spec.nodeName"),
            variable(environment::LOCATION_NAME, location.name_any()),
            variable(environment::CREDENTIALS_SECRET, credentials),
            variable(environment::STORE, store),
            variable(environment::DEADLINE_SECONDS, deadline.to_string()),
            variable(environment::RESTIC_MEMORY.0, environment::RESTIC_MEMORY.1),
        ];
        let name = settings.cluster_name.as_ref().map(|name| variable(environment::CLUSTER_NAME, name));
        let ca =
            || variable(environment::STORE_CA_FILE, format!("{}/{CA_FILE}", environment::STORE_CA_MOUNT));
        let repository = status.and_then(|status| status.repository_id.as_ref());
        variables.extend(name);
        variables.extend(location.spec.ca_bundle.as_ref().map(|_| ca()));
        variables.extend(repository.map(|id| variable(environment::REPOSITORY_ID, id)));
        variables.extend(needs.environment);
        variables
    }

    fn volumes(&self) -> Vec<Volume> {
        let work = EmptyDirVolumeSource {
            size_limit: Some(Quantity(WORK_LIMIT.to_owned())),
            ..EmptyDirVolumeSource::default()
        };
        let mut volumes = vec![
            Volume { name: WORK.to_owned(), empty_dir: Some(work), ..Volume::default() },
            secret("credentials", self.credentials),
        ];
        volumes.extend(self.location.spec.ca_bundle.as_ref().map(authority));
        volumes.extend(self.needs.volumes.iter().cloned());
        volumes
    }

    fn mounts(&self) -> Vec<VolumeMount> {
        let writable = |path: &str, folder: Option<&str>| VolumeMount {
            name: WORK.to_owned(),
            mount_path: path.to_owned(),
            sub_path: folder.map(str::to_owned),
            ..VolumeMount::default()
        };
        let mut mounts = vec![
            writable(environment::WORK_MOUNT, None),
            writable(environment::DATA_MOUNT, Some("data")),
            read_only("credentials", environment::CREDENTIALS_MOUNT),
        ];
        let ca = self.location.spec.ca_bundle.as_ref();
        mounts.extend(ca.map(|_| read_only("store-ca", environment::STORE_CA_MOUNT)));
        mounts.extend(self.needs.mounts.iter().cloned());
        mounts
    }
}

/// A variable that the operator gave to a Job's agent when it made the Job.
pub fn told<'a>(job: &'a Job, name: &str) -> Option<&'a str> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    let agent = pod.containers.iter().find(|container| container.name == CONTAINER)?;
    let variables = agent.env.as_ref()?;
    variables.iter().find(|variable| variable.name == name)?.value.as_deref()
}

fn authority(bundle: &CaBundle) -> Volume {
    let items = Some(vec![KeyToPath { key: bundle.key.clone(), path: CA_FILE.to_owned(), mode: None }]);
    let config_map = bundle.config_map_name.as_ref().map(|name| ConfigMapVolumeSource {
        name: name.clone(),
        items: items.clone(),
        optional: Some(true),
        default_mode: None,
    });
    let secret = bundle.secret_name.as_ref().filter(|_| config_map.is_none());
    let secret = secret.map(|name| SecretVolumeSource {
        secret_name: Some(name.clone()),
        items,
        optional: Some(true),
        default_mode: Some(0o400),
    });
    Volume { name: "store-ca".to_owned(), config_map, secret, ..Volume::default() }
}

fn resources() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| {
        Some(
            pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect(),
        )
    };
    ResourceRequirements {
        // Requests are shares where processors are scarce: etcd asks for ten times as much under kubeadm, and comes first.
        requests: quantities(&[("cpu", "10m"), ("memory", "128Mi")]),
        limits: quantities(&[("memory", "1Gi")]),
        claims: None,
    }
}

/// Root without capabilities reads what root owns, and nothing else of the node.
fn security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}
