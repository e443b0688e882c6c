//! When an attached repository is looked at again: daily, and when a backup did not find it.
//!
//! ```text
//! policy: Fresh=False ─┐
//! a day ───────────────┴▶ the told init Job goes ─▶ another one ─▶ its result is told
//! ```
use std::time::Duration;

use api::{
    BackupLocationStatus, MetadataBackupPolicy,
    conditions::{FRESH, REPOSITORY_HEALTHY},
    metadata::Phase,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use model::Group;
use runtime::conditions::{Verdict, find};

use super::{build, decide, observe::World};
use crate::{
    ownership::controls,
    run::{self, Ended, Run},
};

/// How long a repository is believed to be there without a look.
const BELIEVED: SignedDuration = SignedDuration::from_hours(24);

/// How soon to look again after a look that came to nothing.
pub const PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// Whether the repository was found for the present spec, and nothing was said against it since.
///
/// Not read from `Ready`: that also says when a request to the API server failed, which is
/// nothing against the repository.
pub fn is_attached(world: &World) -> bool {
    let Some(status) = &world.location.status else { return false };
    let generation = world.location.metadata.generation;
    let healthy = find(&status.conditions, REPOSITORY_HEALTHY);
    let is_healthy =
        healthy.is_some_and(|found| found.status == "True" && found.observed_generation == generation);
    is_healthy
        && status.init_status.as_deref() == Some(Phase::Completed.as_str())
        && status.repository_id.is_some()
        && build::allowed_replacement(&world.location).is_none()
}

/// Whether it is time for another look.
pub fn is_due(world: &World) -> bool {
    left(world).is_none() || world.policies.iter().any(|policy| doubts(world, policy))
}

/// What is left of the time in which the last look is believed.
pub fn left(world: &World) -> Option<Duration> {
    run::left(last(world), BELIEVED, world.now)
}

/// Whether there is nothing more to learn from a Job: its end was told, or it is a stranger's.
pub fn is_spent(world: &World, job: &Job) -> bool {
    let is_told = match decide::judge(world, job) {
        Run::Ended(Ended { at, .. }) => at <= last(world),
        Run::UnderWay { .. } | Run::Retrying { .. } | Run::Stuck(_) => false,
    };
    is_told || !controls(&world.location, job)
}

/// When the repository was last seen.
fn last(world: &World) -> Timestamp {
    let told = |status: &BackupLocationStatus| status.init_time.as_ref()?.parse().ok();
    world.location.status.as_ref().and_then(told).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Whether a policy's newest backup did not find its repository.
pub fn has_missed(policy: &MetadataBackupPolicy) -> bool {
    let Some(status) = &policy.status else { return false };
    let fresh = Verdict::stored(&status.conditions, FRESH);
    let is_about_it = matches!(fresh.reason.group(), Group::Repository | Group::Store);
    // Of a run that is tried again the status tells no time yet.
    let is_over = status.backup_status.as_deref() == Some(Phase::Failed.to_string().as_str());
    is_over && fresh.holds == Some(false) && is_about_it
}

/// Whether a policy's newest backup did not find the repository as it was last seen.
///
/// By when the backup began, which is told by the same clock as the end of a Job: each
/// failed backup asks for one look and no more. Both have whole seconds: one that began in that of the
/// look's end began after it.
fn doubts(world: &World, policy: &MetadataBackupPolicy) -> bool {
    let began = || policy.status.as_ref()?.backup_time.as_deref()?.parse::<Timestamp>().ok();
    has_missed(policy)
        && policy.spec.destination == world.location.name_any()
        && began().is_some_and(|began| began >= last(world))
}
