//! Figures of each policy.
use std::collections::HashMap;

use api::{MetadataBackupPolicy, MetadataBackupPolicyStatus, MetadataBackupRecordStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use model::Schedule;
use runtime::metrics::{Metric, Page};

use super::World;
use crate::metadata::policy::tally::Counts;

/// Upstream's.
const LABELS: &[&str] = &["policyName"];

/// One number of each policy, where it is known.
struct Figure {
    metric: Metric,
    of: fn(&Seen) -> Option<i64>,
}

const fn gauge(name: &'static str, help: &'static str, of: fn(&Seen) -> Option<i64>) -> Figure {
    Figure { metric: Metric::gauge(name, LABELS, help), of }
}

const fn counter(name: &'static str, help: &'static str, of: fn(&Seen) -> Option<i64>) -> Figure {
    Figure { metric: Metric::counter(name, LABELS, help), of }
}

const FIGURES: &[Figure] = &[
    gauge(
        "kubedr_policy_created_timestamp_seconds",
        "When the policy was made, in seconds since 1970: there as long as the policy is.",
        |seen| Some(seen.metadata.creation_timestamp.as_ref()?.0.as_second()),
    ),
    gauge(
        "kubedr_schedule_interval_seconds",
        "The longest time from one slot of the schedule to the next, in seconds; absent while suspended, and where none ever comes.",
        interval,
    ),
    gauge(
        "kubedr_last_success_timestamp_seconds",
        "When the newest successful backup began, in seconds since 1970.",
        |seen| Some(seen.status()?.last_successful_time.as_ref()?.0.as_second()),
    ),
    gauge(
        "kubedr_next_run_timestamp_seconds",
        "When the next backup is due, in seconds since 1970; absent while none is.",
        |seen| Some(seen.status()?.next_schedule_time.as_ref()?.0.as_second()),
    ),
    gauge("kubedr_records", "Records of the policy.", |seen| seen.status()?.records),
    gauge("kubedr_backup_size_bytes", "What the newest backup added to the repository, in bytes.", |seen| {
        seen.newest?.added_bytes
    }),
    gauge("kubedr_backup_total_bytes", "The size of all that is in the newest backup, in bytes.", |seen| {
        seen.newest?.size_bytes
    }),
    gauge(
        "kubedr_etcd_db_size_bytes",
        "The size of etcd's snapshot in the newest backup, in bytes.",
        |seen| seen.newest?.etcd.as_ref()?.db_size_bytes,
    ),
    gauge(
        "kubedr_etcd_objects",
        "Kubernetes objects in the newest backup, without events; absent where they could not be counted.",
        |seen| seen.newest?.objects.as_ref()?.count,
    ),
    counter("kubedr_num_backups", "Runs that ended, one way or the other.", |seen| {
        seen.counts.map(|counts| counts.succeeded + counts.failed)
    }),
    counter("kubedr_num_successful_backups", "Runs that made a backup.", |seen| {
        seen.counts.map(|counts| counts.succeeded)
    }),
    counter("kubedr_num_failed_backups", "Runs that ended without one.", |seen| {
        seen.counts.map(|counts| counts.failed)
    }),
    counter("kubedr_missed_runs_total", "Slots of the schedule for which no run began.", |seen| {
        seen.counts.map(|counts| counts.missed)
    }),
];

const DURATION: Metric = Metric::histogram(
    "kubedr_backup_duration_seconds",
    LABELS,
    "How long successful runs took, in whole seconds, rounded up.",
);

/// What there is to see of one policy.
struct Seen<'a> {
    metadata: &'a ObjectMeta,
    /// None where it does not have the shape of its kind.
    policy: Option<&'a MetadataBackupPolicy>,
    /// What is known of its newest backup.
    newest: Option<&'a MetadataBackupRecordStatus>,
    counts: Option<&'a Counts>,
    now: Timestamp,
}

impl<'a> Seen<'a> {
    fn name(&self) -> &'a str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn status(&self) -> Option<&'a MetadataBackupPolicyStatus> {
        self.policy?.status.as_ref()
    }
}

/// The time zone moves slots, and not what is between them.
fn interval(seen: &Seen) -> Option<i64> {
    let spec = &seen.policy?.spec;
    let schedule = Schedule::parse(&spec.schedule, None).ok().filter(|_| !spec.suspend)?;
    Some(schedule.longest_interval(seen.now)?.as_secs())
}

/// Every metric of policies.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    FIGURES.iter().map(|figure| &figure.metric).chain([&DURATION])
}

/// Writes those of all policies.
pub fn write(page: &mut Page, world: &World) {
    let newest = newest(world);
    let seen: Vec<Seen> = world
        .policies
        .iter()
        .map(|policy| {
            let metadata = policy.meta();
            let counts = metadata.uid.as_ref().and_then(|uid| world.counted.get(uid));
            let newest = metadata.name.as_deref().and_then(|name| newest.get(name).copied());
            Seen { metadata, policy: policy.0.as_ref().ok(), newest, counts, now: world.now }
        })
        .collect();
    for Figure { metric, of } in FIGURES {
        page.numbers(metric, seen.iter().filter_map(|seen| Some(([seen.name()], of(seen)?))));
    }
    let durations = seen.iter().filter_map(|seen| Some(([seen.name()], &seen.counts?.durations)));
    page.histograms(&DURATION, durations);
}

/// The newest backup of this cluster of each policy: another cluster's policy may have the same name.
fn newest(world: &World) -> HashMap<&str, &MetadataBackupRecordStatus> {
    let mut newest: HashMap<&str, &MetadataBackupRecordStatus> = HashMap::new();
    for record in world.records.iter().filter_map(|record| record.0.as_ref().ok()) {
        let Some(status) = &record.status else { continue };
        if status.time.is_none() || status.cluster_uid.as_deref() != Some(&world.cluster_uid) {
            continue;
        }
        let best = newest.entry(&record.spec.policy).or_insert(status);
        if best.time < status.time {
            *best = status;
        }
    }
    newest
}
