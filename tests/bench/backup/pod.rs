//! The pods of both sides: of the shipped template, with the same image and limits.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::{
        batch::v1::CronJob,
        core::v1::{Container, EnvVar, EnvVarSource, Pod, PodSpec, SecretKeySelector},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, LogParams, PostParams},
};
use kubedr_tests::{Bucket, Installation, stopwatch::Lap, until, until_within};

use crate::fact;

const NAME: &str = "bench";
/// Longest time for one backup. Eight gibibytes on a slow machine take a quarter of it.
const LONGEST: Duration = Duration::from_mins(40);

/// A pod that does one side's work.
pub struct Side {
    pub name: &'static str,
    spec: PodSpec,
}

impl Side {
    /// The pod that a policy's CronJob makes, with a stopwatch round its agent.
    pub fn ours(cronjob: &CronJob) -> Result<Self> {
        Self::new("ours", cronjob, &["--", "/agent", "backup"], |_| {})
    }

    /// What people do today: the snapshot is saved to the node, and restic backs up that file and the certificates.
    pub fn theirs(cronjob: &CronJob, bucket: &Bucket, endpoint: &str) -> Result<Self> {
        let save = [
            "--",
            "/etcdctl",
            "snapshot",
            "save",
            "/data/etcd-snapshot.db",
            "--endpoints",
            endpoint,
            "--cacert",
            "/etcd_creds/ca.crt",
            "--cert",
            "/etcd_creds/client.crt",
            "--key",
            "/etcd_creds/client.key",
        ];
        let store = ["--", "/restic", "backup", "--quiet", "/data"];
        let repository = format!("s3:{}/{}", bucket.endpoint, bucket.name);
        Self::new("theirs", cronjob, &[&save[..], &store].concat(), |container| {
            container.env = Some(vec![
                variable("RESTIC_REPOSITORY", &repository),
                variable("RESTIC_PASSWORD_FILE", "/credentials/restic_repo_password"),
                variable("RESTIC_CACHE_DIR", "/work/cache"),
                variable("TMPDIR", "/work"),
                variable("HOME", "/work"),
                of_secret("AWS_ACCESS_KEY_ID", "access_key"),
                of_secret("AWS_SECRET_ACCESS_KEY", "secret_key"),
            ]);
        })
    }

    fn new(
        name: &'static str,
        cronjob: &CronJob,
        arguments: &[&str],
        change: impl FnOnce(&mut Container),
    ) -> Result<Self> {
        let job = cronjob.spec.as_ref().and_then(|spec| spec.job_template.spec.as_ref());
        let mut spec = job.and_then(|job| job.template.spec.clone()).context("the CronJob makes no pod")?;
        let container = spec.containers.first_mut().context("the pod has no container")?;
        container.image = Some(fact("KUBEDR_BENCH_IMAGE")?);
        container.command = Some(vec!["/stopwatch".to_owned()]);
        container.args = Some(arguments.iter().map(|word| (*word).to_owned()).collect());
        change(container);
        Ok(Self { name, spec })
    }

    /// Makes the pod, waits for its end, and returns what its stopwatch says.
    pub async fn run(&self, installation: &Installation) -> Result<Lap> {
        let pods: Api<Pod> = installation.api();
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let pod = Pod { metadata, spec: Some(self.spec.clone()), status: None };
        pods.create(&PostParams::default(), &pod).await.context("failed to make the pod")?;
        let ended = until_within(LONGEST, &format!("the pod of {} to end", self.name), async || {
            let pod = pods.get(NAME).await.context("failed to read the pod")?;
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            Ok(if ["Succeeded", "Failed"].contains(&&*phase) { Ok((pod, phase)) } else { Err(pod.status) })
        })
        .await?;
        let log = pods.logs(NAME, &LogParams::default()).await.context("failed to read the pod's log")?;
        ensure!(ended.1 == "Succeeded", "{} failed: {:#?}\n{log}", self.name, ended.0.status);
        remove(&pods).await?;
        let lap = log.lines().rev().find_map(|line| serde_json::from_str::<Lap>(line).ok());
        lap.with_context(|| format!("the pod of {} says no figures:\n{log}", self.name))
    }
}

/// Removes the pod of an earlier run, and its volumes with it.
pub async fn remove(pods: &Api<Pod>) -> Result<()> {
    let _ = pods.delete(NAME, &DeleteParams::default().grace_period(0)).await;
    until("the pod to go away", async || {
        Ok(match pods.get_opt(NAME).await.context("failed to read the pod")? {
            None => Ok(()),
            Some(pod) => Err(pod.name_any()),
        })
    })
    .await
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn of_secret(name: &str, key: &str) -> EnvVar {
    let key = SecretKeySelector { name: "s3".to_owned(), key: key.to_owned(), optional: None };
    let source = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}
