//! What the stored status tells of runs: whoever wrote it has seen that much.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observe::World;
use crate::run::Ended;

/// What the stored status tells of runs.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// When the run began that it tells of: the newest, or one that could not begin.
    began: Option<Timestamp>,
    /// Whether it tells of one that could not begin, which has no pod to name.
    hung: bool,
    /// The next slot. Whoever wrote it looked for the last time before that, or would have written another one.
    until: Option<Timestamp>,
}

impl Told {
    /// By the status of the policy.
    pub fn of(world: &World) -> Self {
        let status = world.policy.status.as_ref();
        let began = status.and_then(|status| status.backup_time.as_deref());
        let hung = status.is_some_and(|status| status.backup_pod.is_none());
        let until = status.and_then(|status| status.next_schedule_time.as_ref());
        Self { began: began.and_then(|time| time.parse().ok()), hung, until: until.map(|Time(time)| *time) }
    }

    /// Whether it tells neither of this run's end nor of a newer run.
    pub fn lacks<Success>(self, run: &Ended<Success>) -> bool {
        self.began.is_none_or(|began| run.started > began || (run.started == began && self.hung))
    }

    /// Whether it tells of this run.
    pub fn is_of<Success>(self, run: &Ended<Success>) -> bool {
        self.began == Some(run.started)
    }

    /// Whether it is certainly older than a moment, so that nobody who wrote it can have seen what was then.
    pub fn is_before(self, moment: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= moment)
    }
}
