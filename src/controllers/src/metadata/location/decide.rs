//! The decision of the location controller: from a [`World`] to a [`Plan`].
use api::{
    BackupLocationStatus,
    conditions::{MAINTAINED, READY, REPOSITORY_HEALTHY},
    metadata::Phase,
    names::{Work, annotation},
};
use jiff::Timestamp;
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{Resource, ResourceExt};
use model::{
    Group, Reason,
    result::{Failure, Initialization},
};
use runtime::{
    Event, Importance, MetadataPatch, Plan, Target,
    conditions::{Page, Verdict, find},
    dynamic, status_of,
};

use super::{build, look, observe::World};
use crate::{
    marks,
    metadata::{refusal, text},
    ownership::controls,
    run::{self, Ended, Run},
};

/// Makes the repository or attaches it, and says how that went.
///
/// Where it is attached for the present spec, there is nothing to do until it is time for
/// another look: a repository is not made twice because a Job was tidied away.
pub fn decide(world: &World) -> Plan {
    if let Some(refused) = refusal(&world.location.validate()) {
        return report(world, &State::Failed(refused));
    }
    match &world.job {
        job if is_at_rest(world, job.as_ref()) => {
            Plan { again: look::left(world), ..report(world, &State::Settled) }
        }
        None => Plan { create: vec![dynamic(&job(world))], ..report(world, &waiting(world)) },
        // Nothing tells when a stranger's Job goes: it is not watched.
        Some(job) if !controls(&world.location, job) => {
            let message = format!("Job {:?} exists and is not of this location", job.name_any());
            let taken = State::Failed(Failure::new(Reason::NameTaken, message));
            Plan { again: Some(run::NEXT_LOOK), ..report(world, &taken) }
        }
        Some(job) if job.meta().deletion_timestamp.is_some() => {
            Plan { again: Some(run::NEXT_LOOK), ..report(world, &waiting(world)) }
        }
        Some(job) if is_outdated(world, job) => remove(world, job),
        Some(job) if look::is_attached(world) && look::is_spent(world, job) => remove(world, job),
        Some(job) => follow(world, job),
    }
}

/// What is known of the repository.
enum State {
    /// It was found before, and nothing was said against it since.
    Settled,
    /// The work begins, or begins anew.
    Begins,
    /// It is there.
    Attached(Initialization, Timestamp),
    /// It is not.
    Failed(Failure),
}

fn job(world: &World) -> Job {
    build::init_job(&world.location, &world.settings, &world.nodes)
}

fn is_at_rest(world: &World, job: Option<&Job>) -> bool {
    let has_no_news = job.is_none_or(|job| look::is_spent(world, job));
    look::is_attached(world) && has_no_news && !look::is_due(world)
}

/// What is known while a Job is at it: a look at what is attached changes nothing by itself.
fn waiting(world: &World) -> State {
    if look::is_attached(world) { State::Settled } else { State::Begins }
}

fn is_outdated(world: &World, job: &Job) -> bool {
    job.annotations().get(marks::MADE_FOR) != Some(&build::made_for(&world.location))
}

/// The Job goes; the next reconcile, which its end wakes, makes another.
fn remove(world: &World, job: &Job) -> Plan {
    Plan { delete: vec![Target::of(job)], again: Some(run::NEXT_LOOK), ..report(world, &waiting(world)) }
}

/// How an init Job stands.
pub(super) fn judge(world: &World, job: &Job) -> Run<Initialization> {
    let pods = (world.pods.as_slice(), world.troubles.as_slice());
    run::judge(Work::Init.verb(), job, pods, world.now)
}

fn follow(world: &World, job: &Job) -> Plan {
    match judge(world, job) {
        Run::UnderWay { begun } | Run::Retrying { begun, .. } => {
            let again = (!begun).then_some(run::NEXT_LOOK);
            Plan { again, ..report(world, &waiting(world)) }
        }
        // An image that cannot be pulled is never tried in another way by the pod that waits for it.
        Run::Stuck(failure) if build::is_of_another_image(job, &world.settings) => {
            Plan { status: report(world, &State::Failed(failure)).status, ..remove(world, job) }
        }
        Run::Stuck(failure) => {
            let again = Some(run::NEXT_LOOK);
            Plan { again, ..report(world, &State::Failed(failure)) }
        }
        Run::Ended(Ended { at, outcome: Ok(made), .. }) if is_another(world, &made) => {
            retry(world, job, (replaced(world, &made), at))
        }
        Run::Ended(Ended { at, outcome: Ok(made), .. }) => report(world, &State::Attached(made, at)),
        // Somebody took the pod and what it had found with it: that says nothing of the repository.
        Run::Ended(Ended { at, is_mute: true, outcome: Err(failure), .. })
            if failure.reason == Reason::NoResult && look::is_attached(world) =>
        {
            match run::left(at, look::PAUSE, world.now) {
                Some(left) => Plan { again: Some(left), ..report(world, &State::Settled) },
                None => remove(world, job),
            }
        }
        Run::Ended(Ended { at, outcome: Err(failure), .. }) => retry(world, job, (failure, at)),
    }
}

/// The agent refuses any but the pinned repository; so does this side.
fn is_another(world: &World, made: &Initialization) -> bool {
    let pinned = pinned(world).is_some_and(|id| id != made.repository_id.as_str());
    pinned && build::allowed_replacement(&world.location).is_none()
}

fn replaced(world: &World, made: &Initialization) -> Failure {
    let pinned = pinned(world).unwrap_or_default();
    let message = format!("found repository {}, expected {pinned}", made.repository_id);
    Failure::new(Reason::RepositoryReplaced, message)
}

fn pinned(world: &World) -> Option<&str> {
    world.location.status.as_ref()?.repository_id.as_deref()
}

/// Waits as long as it has been failing, then makes room for another try.
fn retry(world: &World, job: &Job, (failure, at): (Failure, Timestamp)) -> Plan {
    let again = run::left_after(at, find(conditions(world), READY), world.now);
    let delete = again.is_none().then(|| Target::of(job)).into_iter().collect();
    Plan { again, delete, ..report(world, &State::Failed(failure)) }
}

fn conditions(world: &World) -> &[Condition] {
    world.location.status.as_ref().map_or(&[], |status| status.conditions.as_slice())
}

/// The plan that says how things stand, and nothing else.
fn report(world: &World, state: &State) -> Plan {
    let location = &world.location;
    let ready = ready(world, state);
    let status = status(world, state, &ready);
    let is_news = !matches!(state, State::Settled) && ready.is_news(conditions(world), READY);
    let marked = location.annotations().get(annotation::INITIALIZED).is_some_and(|value| value == "true");
    let is_done = ready.holds == Some(true) && !marked;
    let mark = || MetadataPatch::annotation(Target::of(location), annotation::INITIALIZED, "true");
    Plan {
        status: status_of(location, &status),
        events: event(&ready).filter(|_| is_news).into_iter().collect(),
        patch: is_done.then(mark).into_iter().collect(),
        ..Plan::default()
    }
}

fn ready(world: &World, state: &State) -> Verdict {
    let stored = Verdict::stored(conditions(world), READY);
    match state {
        State::Settled => {
            Verdict { reason: Reason::Ready, ..Verdict::stored(conditions(world), REPOSITORY_HEALTHY) }
        }
        // A failure stays said while it is tried again: what is known has not changed. That of
        // another spec says nothing of this one.
        State::Begins
            if stored.holds == Some(false) && stored.generation == world.location.metadata.generation =>
        {
            stored
        }
        State::Begins => Verdict::pending("the repository is being made or attached"),
        State::Attached(made, _) => {
            let how = if made.created { "made" } else { "attached" };
            let repository = world.location.spec.store().repository();
            let short = made.repository_id.short();
            Verdict::good(Reason::Ready, format!("repository {short} was {how} at {repository}"))
        }
        State::Failed(failure) => Verdict::bad(failure.reason, text(failure)),
    }
}

fn status(world: &World, state: &State, ready: &Verdict) -> BackupLocationStatus {
    let location = &world.location;
    let previous = location.status.clone().unwrap_or_default();
    let page =
        Page { previous: &previous.conditions, generation: location.metadata.generation, now: world.now };
    let healthy = healthy(&previous.conditions, ready);
    let maintained = Verdict::stored(&previous.conditions, MAINTAINED);
    let verdicts = [(READY, ready.clone()), (REPOSITORY_HEALTHY, healthy), (MAINTAINED, maintained)];
    let conditions = page.write(&verdicts);
    let base =
        BackupLocationStatus { observed_generation: location.metadata.generation, conditions, ..previous };
    match state {
        State::Settled => base,
        State::Begins if ready.holds == Some(false) => base,
        State::Begins => BackupLocationStatus {
            init_status: Some(Phase::Initializing.to_string()),
            init_error_message: Some(String::new()),
            ..base
        },
        State::Attached(made, at) => BackupLocationStatus {
            init_status: Some(Phase::Completed.to_string()),
            init_time: Some(at.to_string()),
            init_error_message: Some(String::new()),
            repository_id: Some(made.repository_id.to_string()),
            ..base
        },
        State::Failed(failure) => BackupLocationStatus {
            init_status: Some(Phase::Failed.to_string()),
            // Since when, not when last: a status that changed with every look would be
            // written with every look.
            init_time: find(&base.conditions, READY).map(|ready| ready.last_transition_time.0.to_string()),
            init_error_message: Some(text(failure)),
            ..base
        },
    }
}

/// The repository is as healthy as the location is ready; a spec that cannot be used says nothing of it.
fn healthy(previous: &[Condition], ready: &Verdict) -> Verdict {
    match ready.holds {
        Some(true) => Verdict { reason: Reason::Healthy, ..ready.clone() },
        Some(false) if matches!(ready.reason.group(), Group::Repository | Group::Store) => ready.clone(),
        _ => Verdict::stored(previous, REPOSITORY_HEALTHY),
    }
}

fn event(ready: &Verdict) -> Option<Event> {
    let (importance, reason) = if ready.holds? {
        (Importance::Normal, "InitSucceeded")
    } else {
        (Importance::Warning, "InitFailed")
    };
    Some(Event {
        importance,
        reason,
        action: Work::Init.verb(),
        word: ready.reason,
        message: ready.message.clone(),
    })
}

#[cfg(test)]
mod tests;
