//! The decision of the policy controller: from a [`World`] to a [`Plan`].
use std::time::Duration;

use api::{BackupLocation, conditions::READY, names::annotation};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use model::{Reason, result::Failure};
use runtime::{MetadataPatch, Plan, Target, apply_of, conditions::Verdict, dynamic, status_of};

use super::{
    build::{self, Way},
    history::History,
    observe::World,
    retention::{self, Retained},
    shrink, status,
};
use crate::{
    marks,
    metadata::{refusal, text},
    ownership::controls,
    run,
};

/// How often to look without being woken while something is in the way: nothing tells when a stranger's CronJob goes.
const NOW_AND_THEN: Duration = Duration::from_mins(5);
/// How long a backup may be without its record: the record controller tries again by itself,
/// and has no object of its own to complain on.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// How often to look for what will be there in a moment.
const SOON: Duration = Duration::from_secs(2);

/// Keeps the CronJob as the spec has it, says what came of its runs, and removes what
/// retention does not keep.
///
/// What cannot be asked for leaves the CronJob as it was: the backups of yesterday's
/// spec are better than none, unless nothing may start at all.
pub fn decide(world: &World) -> Plan {
    let history = History::of(world);
    match prepare(world) {
        Ok(way) => proceed(world, &history, &way),
        Err(failure) => refuse(world, &history, &failure),
    }
}

/// Finds what stands between the spec and its CronJob.
fn prepare(world: &World) -> Result<Way<'_>, Failure> {
    let policy = &world.policy;
    if let Some(refused) = refusal(&policy.validate(&world.settings.allowed_host_paths)) {
        return Err(refused);
    }
    let destination = &policy.spec.destination;
    let missing = || {
        Failure::new(Reason::DestinationMissing, format!("no BackupLocation is called {destination:?}"))
            .at("spec.destination")
    };
    let location = world.location.as_ref().ok_or_else(missing)?;
    if location.status.as_ref().is_none_or(|status| status.repository_id.is_none()) {
        return Err(not_ready(location));
    }
    if world.cronjob.as_ref().is_some_and(|cronjob| !controls(policy, cronjob)) {
        let message = "a CronJob of the name that this policy needs is not of this policy";
        return Err(Failure::new(Reason::NameTaken, message));
    }
    let place = build::place(policy, location, &world.nodes).ok_or_else(|| no_node(world))?;
    let (settings, accepted_shrink) = (&*world.settings, shrink::accepted(world));
    Ok(Way { policy, location, place, settings, accepted_shrink })
}

fn not_ready(location: &BackupLocation) -> Failure {
    let said = readiness(location);
    let message = format!("BackupLocation {:?}: {}: {}", location.name_any(), said.reason, said.message);
    Failure::new(Reason::DestinationNotReady, message)
}

fn has_failed(location: &BackupLocation) -> bool {
    readiness(location).holds == Some(false)
}

fn readiness(location: &BackupLocation) -> Verdict {
    let conditions = location.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    Verdict::stored(conditions, READY)
}

fn no_node(world: &World) -> Failure {
    let message = match world.policy.spec.node_label() {
        Some(label) => format!("no node carries the label {label:?}"),
        None => {
            "no node carries the label node-role.kubernetes.io/etcd, /control-plane or /master".to_owned()
        }
    };
    Failure::new(Reason::NoEtcdNode, message)
}

fn refuse(world: &World, history: &History, failure: &Failure) -> Plan {
    let halt = halt(world);
    let message = match &halt {
        Some(halt) => format!("{} {}: {}", text(failure), Reason::Suspended, halt.why),
        None => text(failure),
    };
    let is_known =
        failure.reason != Reason::DestinationNotReady || world.location.as_ref().is_some_and(has_failed);
    // A repository that is only being made is nobody's failure.
    let ready = Verdict { holds: is_known.then_some(false), ..Verdict::bad(failure.reason, message) };
    let running = halt.map(|halt| halt.cronjob).filter(|cronjob| !is_suspended(cronjob));
    let report = report(world, history, (ready, Retained::untouched(world)));
    Plan {
        // Without the mark of what was applied: the next plan that can be carried out replaces it all.
        apply: running.map(|cronjob| dynamic(&build::suspended(cronjob))).into_iter().collect(),
        again: soonest([Some(NOW_AND_THEN), report.again]),
        ..report
    }
}

/// The policy's CronJob, where not even the backups of yesterday's spec may start.
struct Halt<'a> {
    cronjob: &'a CronJob,
    why: &'static str,
}

/// A person's word and the administrator's allow-list hold whatever else is wrong.
fn halt(world: &World) -> Option<Halt<'_>> {
    let cronjob = world.cronjob.as_ref().filter(|cronjob| controls(&world.policy, *cronjob))?;
    if world.policy.spec.suspend {
        return Some(Halt { cronjob, why: "no scheduled backup starts while spec.suspend is true" });
    }
    let why = "the CronJob mounts a host path that is not allowed any more";
    build::host_paths(cronjob).any(|path| is_forbidden(world, path)).then_some(Halt { cronjob, why })
}

fn is_suspended(cronjob: &CronJob) -> bool {
    cronjob.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true))
}

/// Whether the policy could not ask for this path now.
fn is_forbidden(world: &World, path: &str) -> bool {
    let mut asking = world.policy.clone();
    asking.spec.certs_dir = Some(path.to_owned());
    asking.spec.extra_host_paths.clear();
    let found = asking.validate(&world.settings.allowed_host_paths);
    found.iter().any(|violation| api::reason(violation) == Reason::HostPathNotAllowed)
}

fn proceed(world: &World, history: &History, way: &Way) -> Plan {
    let built = build::cronjob(way);
    let retained = retention::decide(world, way.location);
    let mut plan = report(world, history, (ready(world, history, way.location), retained));
    let upstreams = |cronjob: &&CronJob| build::is_upstreams(&world.policy, cronjob);
    if let Some(old) = world.cronjob.as_ref().filter(upstreams) {
        plan.delete.push(Target::of(old));
        plan.again = Some(SOON);
        return plan;
    }
    plan.apply.extend(apply_of(&built, world.cronjob.as_ref()));
    let now = run_now(world, history, &built);
    let instead = instead(world, history, &built);
    plan.create.extend(now.job.iter().chain(instead.job.iter()).map(dynamic));
    plan.delete.extend(instead.of);
    plan.patch.extend(now.seen);
    plan
}

/// What takes the place of runs that cannot begin.
#[derive(Default)]
struct Instead {
    job: Option<Job>,
    of: Vec<Target>,
}

/// Ends runs that cannot begin as they were asked for, once it is asked for in another way.
///
/// They would hold up every later one until their deadline. The place of the newest is taken before it
/// goes, so that no slot is lost in between.
fn instead(world: &World, history: &History, built: &CronJob) -> Instead {
    let is_outdated =
        |job: &Job| job.metadata.deletion_timestamp.is_none() && !build::is_up_to_date(built, job);
    let newest = history.stuck().map(|(job, _)| job).filter(|job| is_outdated(job));
    // What a person asked for runs although the schedule is suspended, as it did before.
    let newest = newest.filter(|job| !world.policy.spec.suspend || build::is_manual(job));
    let newest = newest.zip(world.cronjob.as_ref());
    let job = newest.map(|(job, stored)| build::replacement(&world.policy, job, (built, stored)));
    Instead { job, of: history.hung().filter(|job| is_outdated(job)).map(Target::as_seen).collect() }
}

fn ready(world: &World, history: &History, location: &BackupLocation) -> Verdict {
    if has_failed(location) {
        let failure = not_ready(location);
        return Verdict::bad(failure.reason, failure.message);
    }
    if let Some(job) = history.unrecorded(world, world.now - PATIENCE) {
        let message = format!("Job {:?} made a backup but its record cannot be written", job.name_any());
        return Verdict::bad(Reason::ApiWriteFailed, message);
    }
    if world.policy.spec.suspend {
        return Verdict::good(Reason::Suspended, "no scheduled backup starts while spec.suspend is true");
    }
    Verdict::good(Reason::Ready, "backups are made on schedule")
}

/// What a `run-now` asks for.
#[derive(Default)]
struct RunNow {
    job: Option<Job>,
    seen: Option<MetadataPatch>,
}

/// Answers a new tag once: with a Job that the tag names, then with a mark, since the Job
/// itself will be tidied away.
fn run_now(world: &World, history: &History, built: &CronJob) -> RunNow {
    let policy = &world.policy;
    let tag = policy.annotations().get(annotation::RUN_NOW).filter(|tag| !tag.is_empty());
    let Some(tag) = tag.filter(|tag| policy.annotations().get(marks::RUN_NOW_SEEN) != Some(tag)) else {
        return RunNow::default();
    };
    let seen = Some(MetadataPatch::annotation(Target::of(policy), marks::RUN_NOW_SEEN, tag));
    let name = build::manual_job_name(policy, tag);
    if history.has(&name) {
        return RunNow { seen, ..RunNow::default() };
    }
    match &world.cronjob {
        // One run at a time, whoever asked for it.
        Some(stored) if !history.is_busy() => {
            RunNow { job: Some(build::manual_job(name, (built, stored))), seen }
        }
        // The watch tells when the CronJob is there, or when the run ends.
        _ => RunNow::default(),
    }
}

/// The plan that says how things stand, and what retention asks for.
fn report(world: &World, history: &History, (ready, retained): (Verdict, Retained)) -> Plan {
    let told = status::status(world, history, (&ready, &retained.verdict));
    let is_waiting = history.is_waiting() || history.unrecorded(world, world.now).is_some();
    let waits = is_waiting.then_some(run::NEXT_LOOK);
    let events = status::events(world, history, (&ready, &retained.verdict));
    Plan {
        create: retained.create.iter().map(dynamic).collect(),
        delete: retained.delete.into_iter().collect(),
        status: status_of(&world.policy, &told),
        events,
        again: soonest([waits, retained.again, history.slots.again]),
        ..Plan::default()
    }
}

fn soonest<const N: usize>(waits: [Option<Duration>; N]) -> Option<Duration> {
    waits.into_iter().flatten().min()
}

#[cfg(test)]
mod tests;
