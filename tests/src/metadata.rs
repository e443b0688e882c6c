//! What a user does with kubedr's kinds, and what they wait for.
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use api::{BackupLocation, MetadataBackupPolicy, MetadataBackupRecord};
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};

use crate::{Installation, load::Etcd, until};

/// A schedule that does not come up while a test runs: backups are asked for by annotation.
const ONCE_A_YEAR: &str = "0 0 1 1 *";

/// How many backups were asked for: no tag twice, for one that was answered starts nothing.
static ASKED: AtomicUsize = AtomicUsize::new(1);

/// One finished backup run.
#[derive(Debug)]
pub struct Run {
    /// The Job, finished.
    pub job: Job,
    /// The policy, whose status tells of this run.
    pub policy: MetadataBackupPolicy,
}

/// Status and reason of a condition; empty where there is none.
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> (&'a str, &'a str) {
    let found = conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or(("", ""), |condition| (&condition.status, &condition.reason))
}

/// Message of a condition; empty where there is none.
pub fn message<'a>(conditions: &'a [Condition], kind: &str) -> &'a str {
    let found = conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or("", |condition| &condition.message)
}

/// Whether a Job is over, one way or the other.
pub fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.status == "True" && matches!(&*condition.type_, "Complete" | "Failed"))
}

impl Installation {
    /// A location of the installation's own bucket, with the Secret `s3`.
    pub fn location(&self, name: &str) -> Value {
        let mut location = json!({
            "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1", "kind": "BackupLocation",
            "metadata": { "name": name, "namespace": self.namespace },
            "spec": { "url": self.bucket.endpoint, "bucketName": self.bucket.name, "credentials": "s3" },
        });
        if self.bucket.authority.is_some() {
            location["spec"]["caBundle"] = json!({ "configMapName": "s3-ca" });
        }
        location
    }

    /// A policy with the defaults, and what `spec` adds to them.
    pub fn policy(&self, name: &str, destination: &str, spec: &Value) -> Value {
        let mut policy = json!({
            "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1", "kind": "MetadataBackupPolicy",
            "metadata": { "name": name, "namespace": self.namespace },
            // Other tests make and remove many objects meanwhile.
            "spec": { "destination": destination, "schedule": ONCE_A_YEAR, "shrinkGuard": 0 },
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            policy["spec"][field] = value.clone();
        }
        policy
    }

    /// Puts a policy straight into etcd, as one is there that was stored before a rule was made, or while nobody was asked.
    pub async fn store_unasked(&self, mut policy: Value) -> Result<()> {
        let metadata = &mut policy["metadata"];
        metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        metadata["generation"] = json!(1);
        let name = metadata["name"].as_str().context("no name")?.to_owned();
        metadata["uid"] = json!(format!("7a0a4c9e-3c3e-4f43-9d43-{:012}", name.len()));
        let key = format!(
            "/registry/kubedr.catalogicsoftware.com/metadatabackuppolicies/{}/{name}",
            self.namespace
        );
        let mut etcd = Etcd::new(self.cluster.etcd(&self.cluster.etcd_endpoint).await?);
        etcd.put(&key, policy.to_string().into_bytes()).await
    }

    /// Waits until a location satisfies `is_it`.
    pub async fn location_when(
        &self,
        name: &str,
        what: &str,
        is_it: impl Fn(&BackupLocation) -> bool,
    ) -> Result<BackupLocation> {
        self.when(name, what, is_it).await
    }

    /// Waits until a location's `Ready` has this status and reason.
    pub async fn location_is(&self, name: &str, ready: (&str, &str)) -> Result<BackupLocation> {
        self.says(name, "Ready", ready).await
    }

    /// Waits until a policy satisfies `is_it`.
    pub async fn policy_when(
        &self,
        name: &str,
        what: &str,
        is_it: impl Fn(&MetadataBackupPolicy) -> bool,
    ) -> Result<MetadataBackupPolicy> {
        self.when(name, what, is_it).await
    }

    /// Waits until a condition of a policy has this status and reason.
    pub async fn policy_says(
        &self,
        name: &str,
        kind: &str,
        said: (&str, &str),
    ) -> Result<MetadataBackupPolicy> {
        self.says(name, kind, said).await
    }

    /// Waits until a policy's `Ready` has this status and reason.
    pub async fn policy_is(&self, name: &str, ready: (&str, &str)) -> Result<MetadataBackupPolicy> {
        self.says(name, "Ready", ready).await
    }

    /// Changes fields of a policy's spec, and waits until they are in force.
    pub async fn change_policy(&self, name: &str, spec: Value) -> Result<()> {
        self.patch::<MetadataBackupPolicy>(name, json!({ "spec": spec })).await?;
        self.policy_is(name, ("True", "Ready")).await.map(drop)
    }

    /// Makes the location `s3` and a policy `etcd` on it, and waits until both are in force.
    pub async fn ready_policy(&self, spec: &Value) -> Result<MetadataBackupPolicy> {
        self.apply(self.location("s3")).await?;
        self.make_policy("etcd", spec).await
    }

    /// Makes the location `s3`, and waits until it is in force.
    pub async fn make_location(&self) -> Result<BackupLocation> {
        self.apply(self.location("s3")).await?;
        self.location_is("s3", ("True", "Ready")).await
    }

    /// Makes a policy on the location `s3`, and waits until it is in force.
    pub async fn make_policy(&self, name: &str, spec: &Value) -> Result<MetadataBackupPolicy> {
        self.apply(self.policy(name, "s3", spec)).await?;
        self.policy_is(name, ("True", "Ready")).await
    }

    /// The backup Jobs of a policy.
    pub async fn backup_jobs(&self, policy: &str) -> Result<Vec<Job>> {
        let labels = format!("kubedr.type=backup,kubedr.backup-policy={policy}");
        let jobs = self.api::<Job>().list(&ListParams::default().labels(&labels)).await;
        Ok(jobs.context("failed to list the Jobs")?.items)
    }

    /// Asks for a backup outside the schedule and returns its Job as soon as it exists.
    pub async fn start_backup(&self, policy: &str) -> Result<Job> {
        let before: Vec<_> = self.backup_jobs(policy).await?.iter().map(ResourceExt::name_any).collect();
        let tag = format!("run-{}", ASKED.fetch_add(1, Ordering::Relaxed));
        self.annotate::<MetadataBackupPolicy>(policy, "run-now", &tag).await?;
        until(&format!("a new Job of policy {policy}"), async || {
            let jobs = self.backup_jobs(policy).await?;
            Ok(jobs.into_iter().find(|job| !before.contains(&job.name_any())).ok_or(&before))
        })
        .await
    }

    /// Waits until a Job is over and the policy's status tells of it.
    pub async fn finished(&self, policy: &str, job: &Job) -> Result<Run> {
        let name = job.name_any();
        let job = until(&format!("Job {name} to end"), async || {
            let job = self.api::<Job>().get(&name).await.context("failed to read the Job")?;
            Ok(if is_finished(&job) { Ok(job) } else { Err(job.status) })
        })
        .await?;
        let tells = |policy: &MetadataBackupPolicy| {
            let status = policy.status.clone().unwrap_or_default();
            let is_told = status.backup_pod.is_some_and(|pod| pod.starts_with(&name));
            // The record of a success follows a moment later.
            is_told && (status.backup_status.as_deref() == Some("Failed") || status.mbr_name.is_some())
        };
        Ok(Run { job, policy: self.policy_when(policy, &format!("to tell of {name}"), tells).await? })
    }

    /// Runs one backup from the request to the policy's status.
    pub async fn backup(&self, policy: &str) -> Result<Run> {
        let job = self.start_backup(policy).await?;
        self.finished(policy, &job).await
    }

    /// Starts one backup whose first pod must fail with this.
    pub async fn start_failing_backup(
        &self,
        policy: &str,
        reason: &str,
    ) -> Result<(Job, MetadataBackupPolicy)> {
        let before = self.api::<MetadataBackupPolicy>().get(policy).await?.status.unwrap_or_default();
        anyhow::ensure!(
            condition(&before.conditions, "Fresh").1 != reason,
            "{reason} is told before it is so"
        );
        let job = self.start_backup(policy).await?;
        let told = self.told(policy, reason).await?;
        Ok((job, told))
    }

    /// Waits until a policy is told that its run fails with this.
    pub async fn told(&self, policy: &str, reason: &str) -> Result<MetadataBackupPolicy> {
        let told = self.policy_says(policy, "Fresh", ("False", reason)).await?;
        let conditions = told.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        assert_eq!(condition(conditions, "Ready").0, "True", "a failed run does not make the policy unready");
        Ok(told)
    }

    /// Starts one such backup and ends it: its Job would try for longer.
    pub async fn failing_backup(&self, policy: &str, reason: &str) -> Result<()> {
        let (job, _) = self.start_failing_backup(policy, reason).await?;
        self.end(&job).await
    }

    /// Deletes a Job, and waits until it is gone with its pods.
    pub async fn end(&self, job: &Job) -> Result<()> {
        let (jobs, name) = (self.api::<Job>(), job.name_any());
        jobs.delete(&name, &DeleteParams::foreground()).await.context("failed to delete the Job")?;
        until(&format!("Job {name} to go away"), async || {
            Ok(if jobs.get_opt(&name).await?.is_none() { Ok(()) } else { Err("it is still there") })
        })
        .await
    }

    /// Runs one backup that must succeed, and returns its record.
    pub async fn successful_backup(&self, policy: &str) -> Result<MetadataBackupRecord> {
        let run = self.backup(policy).await?;
        let status = run.policy.status.unwrap_or_default();
        anyhow::ensure!(
            status.backup_status.as_deref() == Some("Completed"),
            "the backup failed: {status:#?}"
        );
        let name = status.mbr_name.context("the status names no record")?;
        until(&format!("record {name} to have its status"), async || {
            let record = self.api::<MetadataBackupRecord>().get_opt(&name).await?;
            let is_whole = |record: &MetadataBackupRecord| {
                record.status.as_ref().is_some_and(|status| status.files_snapshot_id_full.is_some())
            };
            Ok(match record {
                Some(record) if is_whole(&record) => Ok(record),
                other => Err(other),
            })
        })
        .await
    }

    /// The records of a policy, oldest first.
    pub async fn records(&self, policy: &str) -> Result<Vec<MetadataBackupRecord>> {
        let records = self.api::<MetadataBackupRecord>().list(&ListParams::default()).await;
        let mut records = records.context("failed to list the records")?.items;
        records.retain(|record| record.spec.policy == policy);
        records.sort_by_key(|record| record.status.as_ref().and_then(|status| status.time.clone()));
        Ok(records)
    }
}

/// The full ids of a backup's two snapshots.
pub fn pair(record: &MetadataBackupRecord) -> Result<[String; 2]> {
    let status = record.status.clone().context("the record has no status")?;
    let first = status.snapshot_id_full.context("the record names no first snapshot")?;
    let second = status.files_snapshot_id_full.context("the record names no second snapshot")?;
    Ok([first, second])
}
