//! The policy's runs, newest first: what each Job came to.
use api::MetadataBackupRecord;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use model::{
    Reason,
    result::{Backup, Failure},
};

use super::{build, observe::World, slots::Slots};
use crate::{
    marks,
    ownership::is_run_of,
    run::{self, Ended, Run},
};

/// One run and its Job.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The Job: really one of the policy's CronJob.
    pub job: &'a Job,
    /// How it stands.
    pub run: Run<Made<'a>>,
}

/// A backup that was made.
#[derive(Debug)]
pub enum Made<'a> {
    /// Its pod says so.
    Told(Box<Backup>),
    /// The pod is gone, but a record was made of its result before.
    Recorded {
        /// Name of the record.
        name: &'a str,
        /// The record itself, unless retention removed it.
        record: Option<&'a MetadataBackupRecord>,
    },
}

/// All runs of the policy, newest first, and those that are due.
#[derive(Debug)]
pub struct History<'a> {
    entries: Vec<Entry<'a>>,
    /// What is due, and what was and never began.
    pub slots: Slots,
}

impl<'a> History<'a> {
    /// The runs of a world. Jobs with forged labels are not among them.
    pub fn of(world: &'a World) -> Self {
        let ours = |job: &&Job| is_run_of(&world.policy, world.cronjob.as_ref(), job);
        let mut entries: Vec<_> =
            world.backups.iter().filter(ours).map(|job| Entry { job, run: judge(world, job) }).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse((run::started(entry.job), entry.job.name_any())));
        Self { slots: Slots::of(world, &entries), entries }
    }

    /// Whether a run has not ended.
    pub fn is_busy(&self) -> bool {
        self.entries.iter().any(|entry| !matches!(entry.run, Run::Ended(_)))
    }

    /// Whether a run has not begun, so that it must be looked at again soon.
    pub fn is_waiting(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(
                entry.run,
                Run::Stuck(_) | Run::UnderWay { begun: false } | Run::Retrying { begun: false, .. }
            )
        })
    }

    /// All runs, newest first.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The newest run that ended.
    pub fn newest(&self) -> Option<(&'a Job, &Ended<Made<'a>>)> {
        self.entries.iter().find_map(|entry| match &entry.run {
            Run::Ended(ended) => Some((entry.job, ended)),
            _ => None,
        })
    }

    /// The newest run of all, and why it cannot begin, where it cannot.
    pub fn stuck(&self) -> Option<(&'a Job, &Failure)> {
        let newest = self.entries.first()?;
        match &newest.run {
            Run::Stuck(failure) => Some((newest.job, failure)),
            _ => None,
        }
    }

    /// Why the newest run of all is tried again, where it is.
    pub fn retried(&self) -> Option<&Failure> {
        match &self.entries.first()?.run {
            Run::Retrying { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// All runs that cannot begin, newest first.
    pub fn hung(&self) -> impl Iterator<Item = &'a Job> {
        self.entries.iter().filter(|entry| matches!(entry.run, Run::Stuck(_))).map(|entry| entry.job)
    }

    /// The newest success that has had no record since before `since`.
    pub fn unrecorded(&self, world: &World, since: Timestamp) -> Option<&'a Job> {
        self.entries.iter().find_map(|entry| match &entry.run {
            Run::Ended(Ended { at, outcome: Ok(made), .. }) => {
                (*at < since && record_of(world, entry.job, made).is_none()).then_some(entry.job)
            }
            _ => None,
        })
    }

    /// Each success and when its run started, newest first.
    pub fn successes(&self) -> impl Iterator<Item = (Timestamp, &Made<'a>)> {
        self.entries.iter().filter_map(|entry| match &entry.run {
            Run::Ended(Ended { started, outcome: Ok(made), .. }) => Some((*started, made)),
            _ => None,
        })
    }

    /// Whether a Job of this name is one of the runs.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.job.name_any() == name)
    }
}

fn judge<'a>(world: &'a World, job: &'a Job) -> Run<Made<'a>> {
    let pods = (world.pods.as_slice(), world.troubles.as_slice());
    match run::judge_backup(job, pods, world.now) {
        Run::UnderWay { begun } => Run::UnderWay { begun },
        Run::Retrying { begun, failure } => {
            Run::Retrying { begun, failure: build::located(&world.policy, failure) }
        }
        Run::Stuck(failure) => Run::Stuck(build::located(&world.policy, failure)),
        Run::Ended(Ended { at, started, pod, is_mute, outcome }) => {
            let recorded = is_mute.then(|| recorded(world, job)).flatten();
            let outcome = outcome.map_err(|failure| build::located(&world.policy, failure));
            let outcome = recorded.map_or_else(|| outcome.map(|told| Made::Told(Box::new(told))), Ok);
            Run::Ended(Ended { at, started, pod, is_mute, outcome })
        }
    }
}

/// Records are made of successes only, so the mark outlives the pod as its witness.
fn recorded<'a>(world: &'a World, job: &'a Job) -> Option<Made<'a>> {
    let name = job.annotations().get(marks::RECORD)?;
    let record = world.records.iter().find(|record| record.name_any() == *name);
    Some(Made::Recorded { name, record })
}

/// The record that was made of a run.
pub fn record_of<'a>(world: &'a World, job: &'a Job, made: &Made<'a>) -> Option<&'a str> {
    let backup = match made {
        Made::Recorded { name, .. } => return Some(name),
        Made::Told(backup) => backup,
    };
    let marked = job.annotations().get(marks::RECORD).map(String::as_str);
    let is_its = |id: &Option<String>| id.as_deref() == Some(backup.snapshot_id.as_str());
    let made = world
        .records
        .iter()
        .find(|record| record.status.as_ref().is_some_and(|status| is_its(&status.snapshot_id_full)));
    marked.or_else(|| made.and_then(|record| record.metadata.name.as_deref()))
}

/// Reason of a run's end, good or bad.
pub fn word(ended: &Ended<Made>) -> Reason {
    ended.outcome.as_ref().map_or_else(|failure| failure.reason, |_| Reason::Stored)
}
