//! Worlds to decide about, each told as what happened in it.
use super::*;
pub(super) use crate::fixtures::world as new;

/// The same with its CronJob, as it was applied.
pub(super) fn running() -> World {
    let mut world = new();
    let plan = decide(&world);
    let mut cronjob: CronJob = object(json!(plan.apply[0]));
    cronjob.metadata.uid = Some("cronjob-uid".to_owned());
    cronjob.metadata.creation_timestamp = Some(object(json!("2030-01-01T11:59:00Z")));
    world.cronjob = Some(cronjob);
    world.policy.status = Some(told(&plan, &world));
    world
}

impl World {
    /// With a run that ended at this time and left this.
    pub(super) fn run(mut self, time: &str, phase: &str, left: &str) -> Self {
        let end = if phase == "Succeeded" { "Complete" } else { "Failed" };
        let name = format!("run-{}", self.backups.len());
        let ended = format!("2030-01-01T{time}:00Z");
        let cronjob = self.cronjob.as_ref().expect("a cronjob");
        let mut job = job(&name, "CronJob", cronjob, Some((end, &ended)));
        job.spec = cronjob.spec.as_ref().and_then(|spec| spec.job_template.spec.clone());
        let code = i32::from(phase != "Succeeded");
        self.pods.push(ended_pod(&job, phase, (code, left)));
        self.backups.push(job);
        self
    }

    pub(super) fn succeeded(self, time: &str) -> Self {
        self.run(time, "Succeeded", &backed_up('1', 'b'))
    }

    pub(super) fn failed(self, time: &str) -> Self {
        self.run(time, "Failed", &failure("backup", Reason::EtcdUnreachable))
    }

    pub(super) fn recorded(self) -> Self {
        self.records([record('1', 1)])
    }

    pub(super) fn out_of_time(self, time: &str) -> Self {
        let mut world = self.run(time, "Failed", "");
        world.pods.clear();
        let job = world.backups.last_mut().and_then(|job| job.status.as_mut()).expect("a status");
        job.conditions.as_mut().expect("conditions")[0].reason = Some("DeadlineExceeded".to_owned());
        world
    }

    /// A Job of the CronJob as it is now, that has not ended.
    pub(super) fn unfinished(&self) -> Job {
        let cronjob = self.cronjob.as_ref().expect("a cronjob");
        let template = cronjob.spec.as_ref().and_then(|spec| spec.job_template.metadata.clone());
        let mut job = job("run-x", "CronJob", cronjob, None);
        job.metadata.annotations = template.and_then(|template| template.annotations);
        job
    }

    pub(super) fn hanging(mut self, reason: &str) -> Self {
        let job = self.unfinished();
        let waiting = container(&json!({ "waiting": { "reason": reason } }));
        self.pods.push(pod(&job, &json!({ "phase": "Pending", "containerStatuses": [waiting] })));
        self.backups.push(job);
        self
    }

    /// With a Job of a minute that has no pod, and what its events say.
    pub(super) fn without_a_pod(mut self, trouble: Option<&str>) -> Self {
        let job = self.unfinished();
        self.troubles.extend(trouble.map(|message| ("run-x-uid".to_owned(), message.to_owned())));
        self.backups.push(job);
        self
    }

    pub(super) fn backing_up(self) -> Self {
        let mut world = self.without_a_pod(None);
        let job = world.backups.last().expect("a Job");
        world.pods.push(pod(job, &json!({ "phase": "Running" })));
        world
    }

    pub(super) fn on_a_missing_folder(self) -> Self {
        let mut world = self.hanging("ContainerCreating");
        let said = "MountVolume.SetUp failed for volume \"certificates\" : hostPath type check failed: /x";
        world.troubles.push(("run-x-pod-uid".to_owned(), said.to_owned()));
        world
    }

    /// After a drain took the pods.
    pub(super) fn drained(mut self) -> Self {
        self.pods.clear();
        self
    }

    /// After the record controller made the newest Job's record.
    pub(super) fn marked(mut self) -> Self {
        let job = self.backups.last_mut().expect("a Job");
        job.annotations_mut().insert(marks::RECORD.to_owned(), "mbr-11111111".to_owned());
        self.recorded()
    }

    /// Where the administrator allows no path but this.
    pub(super) fn allowing(mut self, path: &str) -> Self {
        let allowed_host_paths = api::AllowedHostPaths::new([path]).expect("a clean path");
        self.settings =
            std::sync::Arc::new(crate::Settings { allowed_host_paths, ..(*self.settings).clone() });
        self
    }

    /// After what was found out has been written down.
    pub(super) fn written(mut self) -> Self {
        self.policy.status = Some(told(&decide(&self), &self));
        self
    }

    pub(super) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.policy.annotations_mut().insert(key.to_owned(), value.to_owned());
        self
    }

    pub(super) fn with_location(mut self, location: Option<BackupLocation>) -> Self {
        self.location = location;
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut api::MetadataBackupPolicySpec)) -> Self {
        change(&mut self.policy.spec);
        self
    }

    pub(super) fn records(mut self, records: impl IntoIterator<Item = MetadataBackupRecord>) -> Self {
        self.records = records.into_iter().collect();
        self
    }

    pub(super) fn keeping(self, last: i64) -> Self {
        self.with(|spec| spec.retain_num_backups = last)
    }

    /// With the forget Job that it asks for, ended with this.
    pub(super) fn forgetting(mut self, end: Option<(&str, &str)>, (phase, left): (&str, &str)) -> Self {
        let asked: Job = object(json!(decide(&self).create[0]));
        let mut job = job(&asked.name_any(), "MetadataBackupPolicy", &self.policy, end);
        job.spec = asked.spec;
        self.pods.push(ended_pod(&job, phase, (0, left)));
        self.forgets.push(job);
        self
    }
}
