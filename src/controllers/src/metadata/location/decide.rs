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

use super::{build, observe::World};
use crate::{
    marks,
    metadata::{refusal, text},
    ownership::controls,
    run::{self, Ended, Run},
};

/// Makes the repository or attaches it, and says how that went.
///
/// Where the location is ready for its present spec, there is nothing to do: a
/// repository is not made twice because a Job was tidied away.
pub fn decide(world: &World) -> Plan {
    if let Some(refused) = refusal(&world.location.validate()) {
        return report(world, &State::Failed(refused));
    }
    match &world.job {
        _ if is_settled(world) => report(world, &State::Settled),
        None => Plan { create: vec![dynamic(&job(world))], ..report(world, &State::Begins) },
        Some(job) if !controls(&world.location, job) => {
            let message = format!("Job {:?} exists and is not of this location", job.name_any());
            report(world, &State::Failed(Failure::new(Reason::NameTaken, message)))
        }
        Some(job) if job.meta().deletion_timestamp.is_some() => {
            Plan { again: Some(run::NEXT_LOOK), ..report(world, &State::Begins) }
        }
        Some(job) if is_outdated(world, job) => remove(world, job),
        Some(job) => follow(world, job),
    }
}

/// What is known of the repository.
enum State {
    /// Everything was said before.
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

fn is_settled(world: &World) -> bool {
    let ready = find(conditions(world), READY);
    let is_ready = ready.is_some_and(|ready| {
        ready.status == "True" && ready.observed_generation == world.location.metadata.generation
    });
    is_ready && build::allowed_replacement(&world.location).is_none()
}

fn is_outdated(world: &World, job: &Job) -> bool {
    job.annotations().get(marks::MADE_FOR) != Some(&build::made_for(&world.location))
}

/// The Job goes; the next reconcile, which its end wakes, makes another.
fn remove(world: &World, job: &Job) -> Plan {
    Plan { delete: vec![Target::of(job)], again: Some(run::NEXT_LOOK), ..report(world, &State::Begins) }
}

fn follow(world: &World, job: &Job) -> Plan {
    let pods = (world.pods.as_slice(), world.troubles.as_slice());
    match run::judge::<Initialization>(Work::Init.verb(), job, pods, world.now) {
        Run::UnderWay { begun } => {
            let again = (!begun).then_some(run::NEXT_LOOK);
            Plan { again, ..report(world, &State::Begins) }
        }
        Run::Stuck(failure) => {
            let again = Some(run::NEXT_LOOK);
            Plan { again, ..report(world, &State::Failed(failure)) }
        }
        Run::Ended(Ended { outcome: Ok(made), .. }) if is_another(world, &made) => {
            report(world, &State::Failed(replaced(world, &made)))
        }
        Run::Ended(Ended { at, outcome: Ok(made), .. }) => report(world, &State::Attached(made, at)),
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
    let previous = find(conditions(world), READY).filter(|ready| ready.status == "False");
    let since = previous.map_or(world.now, |ready| ready.last_transition_time.0);
    let wait = run::retry_after(at, since);
    match run::left(at, wait, world.now) {
        Some(left) => Plan { again: Some(left), ..report(world, &State::Failed(failure)) },
        None => Plan { delete: vec![Target::of(job)], ..report(world, &State::Failed(failure)) },
    }
}

fn conditions(world: &World) -> &[Condition] {
    world.location.status.as_ref().map_or(&[], |status| status.conditions.as_slice())
}

/// The plan that says how things stand, and nothing else.
fn report(world: &World, state: &State) -> Plan {
    let location = &world.location;
    let ready = ready(world, state);
    let status = status(world, state, &ready);
    let is_news = ready.is_news(conditions(world), READY);
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
        State::Settled => stored,
        // A failure stays said while it is tried again: what is known has not changed.
        State::Begins if stored.holds == Some(false) => stored,
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
        Some(true) => Verdict::good(Reason::Healthy, &*ready.message),
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
