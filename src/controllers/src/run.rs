//! How one Job stands: from its pods' results where there are any, else from what Kubernetes says.
//!
//! One Job is one piece of work, however many pods it took.
use std::time::Duration;

use api::names::Work;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{Resource, ResourceExt};
use model::{
    Reason, environment,
    result::{Backup, Failure, Outcome, parse},
};
use serde::Deserialize;

use crate::{
    agent_pod::{self, CONTAINER, FINAL},
    ownership::pods_of,
};

/// A pod that has not begun after this long is worth a word: 60 s is what is promised.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);
/// Kubernetes' word for a Job that ran out of time.
const DEADLINE: &str = "DeadlineExceeded";
/// How soon to look again at a Job whose pod has not begun.
pub const NEXT_LOOK: Duration = Duration::from_secs(16);

/// How one Job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Run<Success> {
    /// It waits for its pod, or its pod runs.
    UnderWay {
        /// Whether its pod began; if not, look again soon.
        begun: bool,
    },
    /// One of its pods failed, and it tries again.
    Retrying {
        /// Whether the next pod began; if not, look again soon.
        begun: bool,
        /// What the newest pod that failed said, or what befell it.
        failure: Failure,
    },
    /// It cannot begin for now.
    Stuck(Failure),
    /// It ended.
    Ended(Ended<Success>),
}

/// A Job that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended<Success> {
    /// When.
    pub at: Timestamp,
    /// When it was started.
    pub started: Timestamp,
    /// Name of the pod that decided, or of the Job where no pod is left.
    pub pod: String,
    /// Whether no pod is left: a drain or the pod collector takes pods before Jobs, and what
    /// they said with them. The outcome is then only what the Job says.
    pub is_mute: bool,
    /// What came of it.
    pub outcome: Outcome<Success>,
}

/// Pods, and what is known of troubles: by the pods' UIDs mounts that fail, by the Jobs' pods that cannot be made.
pub type Seen<'a> = (&'a [Pod], &'a [(String, String)]);

/// Judges a Job that makes a backup.
///
/// A success in another repository or of another cluster than the Job was told of is not believed: an honest agent
/// fails there, or never says so.
pub fn judge_backup(job: &Job, seen: Seen, now: Timestamp) -> Run<Backup> {
    match judge::<Backup>(Work::Backup.verb(), job, seen, now) {
        Run::Ended(ended) => {
            let outcome = ended.outcome.and_then(|backup| as_told(job, backup));
            Run::Ended(Ended { outcome, ..ended })
        }
        run => run,
    }
}

/// A backup, where it is what its Job was told to make.
fn as_told(job: &Job, backup: Backup) -> Outcome<Backup> {
    let told = |name| agent_pod::told(job, name).unwrap_or("none");
    let facts = [
        ("repository", backup.repository_id.as_str(), told(environment::REPOSITORY_ID)),
        ("cluster", backup.cluster_uid.as_str(), told(environment::CLUSTER_UID)),
    ];
    let Some((what, found, told)) = facts.into_iter().find(|(_, found, told)| found != told) else {
        return Ok(backup);
    };
    let message = format!("the result is of {what} {found}; its Job was told of {told}");
    Err(Failure::new(Reason::Unknown, message))
}

/// Judges a Job of the agent's `verb`.
///
/// Only pods that the Job controls count, and of a success only the result of a pod
/// that ended well.
pub fn judge<Success>(verb: &str, job: &Job, (pods, troubles): Seen, now: Timestamp) -> Run<Success>
where
    Success: for<'a> Deserialize<'a>,
{
    let mut pods = pods_of(job, pods);
    pods.sort_by_key(|pod| (pod.creation_timestamp().map(|time| time.0), pod.name_any()));
    let success = pods.iter().rev().filter(|pod| phase(pod) == "Succeeded").find_map(|pod| {
        let success = parse::<Success>(verb, message(pod)).ok()?;
        Some((pod.name_any(), success))
    });
    let Some((at, condition)) = finish(job) else {
        let run = match pods.last() {
            Some(pod) => unfinished(pod, troubles, now),
            None => podless(job, troubles, now),
        };
        return match (run, failed_so_far::<Success>(verb, &pods)) {
            (Run::UnderWay { begun }, Some(failure)) => Run::Retrying { begun, failure },
            (run, _) => run,
        };
    };
    let last = pods.last().map_or_else(|| job.name_any(), |pod| pod.name_any());
    let (pod, outcome) = match success {
        Some((pod, success)) => (pod, Ok(success)),
        None => (last, Err(failure::<Success>(verb, &pods, &condition))),
    };
    Run::Ended(Ended { at, started: started(job), pod, is_mute: pods.is_empty(), outcome })
}

/// When a Job was started.
pub fn started(job: &Job) -> Timestamp {
    let status = job.status.as_ref();
    let time = status.and_then(|status| status.start_time.clone()).or_else(|| job.creation_timestamp());
    time.map_or(Timestamp::UNIX_EPOCH, |Time(time)| time)
}

/// Whether a pod hangs in front of its containers, so that only its events can say why.
pub fn hangs_in_creation(pod: &Pod, now: Timestamp) -> bool {
    let waits = waiting(pod).and_then(|waiting| waiting.reason.as_deref()) == Some("ContainerCreating");
    phase(pod) == "Pending" && waits && is_overdue(pod, now)
}

/// Whether a Job should have a pod by now and has none, so that only its events can say why.
pub fn lacks_a_pod(job: &Job, pods: &[Pod], now: Timestamp) -> bool {
    finish(job).is_none() && pods_of(job, pods).is_empty() && is_overdue(job, now)
}

/// When and how a Job ended, if it did.
fn finish(job: &Job) -> Option<(Timestamp, JobEnd)> {
    let conditions = job.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    let ends = conditions.iter().find(|condition| {
        condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed")
    })?;
    let at = ends.last_transition_time.as_ref().map_or_else(|| started(job), |Time(time)| *time);
    let reason = ends.reason.clone().unwrap_or_default();
    Some((at, JobEnd { reason, message: ends.message.clone().unwrap_or_default() }))
}

/// What the Job's own condition says.
struct JobEnd {
    reason: String,
    message: String,
}

fn unfinished<Success>(pod: &Pod, troubles: &[(String, String)], now: Timestamp) -> Run<Success> {
    if phase(pod) != "Pending" {
        return Run::UnderWay { begun: phase(pod) == "Running" };
    }
    if !is_overdue(pod, now) {
        return Run::UnderWay { begun: false };
    }
    let trouble = troubles.iter().find(|(uid, _)| Some(uid) == pod.meta().uid.as_ref());
    let stuck = unscheduled(pod)
        .or_else(|| waiting(pod).and_then(not_created))
        .or_else(|| trouble.map(|(_, message)| not_mounted(message)));
    stuck.map_or(Run::UnderWay { begun: false }, Run::Stuck)
}

/// A Job without pods: either it was never given one, or its pod was taken away and the next one
/// comes in a moment. Only a refusal tells the one from the other.
fn podless<Success>(job: &Job, troubles: &[(String, String)], now: Timestamp) -> Run<Success> {
    let is_taken_up = job.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let refused = troubles.iter().find(|(uid, _)| Some(uid) == job.meta().uid.as_ref());
    let why = match refused {
        _ if !is_overdue(job, now) => return Run::UnderWay { begun: false },
        Some((_, message)) => message.as_str(),
        None if is_taken_up => return Run::UnderWay { begun: false },
        None => "the controller-manager does not take up the Job",
    };
    Run::Stuck(Failure::new(Reason::Unschedulable, format!("Job {} gets no pod: {why}", job.name_any())))
}

fn is_overdue(object: &impl Resource, now: Timestamp) -> bool {
    object.meta().creation_timestamp.as_ref().is_none_or(|Time(time)| now.duration_since(*time) >= PATIENCE)
}

fn unscheduled(pod: &Pod) -> Option<Failure> {
    let conditions = pod.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    let refused = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let message = refused.message.clone().unwrap_or_default();
    Some(Failure::new(Reason::Unschedulable, format!("no node takes pod {}: {message}", pod.name_any())))
}

fn not_created(waiting: &ContainerStateWaiting) -> Option<Failure> {
    let word = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.as_deref().unwrap_or_default();
    let reason = match word {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => Reason::ImagePull,
        "CreateContainerError" | "RunContainerError" => Reason::ImageBroken,
        "CreateContainerConfigError" => Reason::MountFailed,
        _ => return None,
    };
    Some(Failure::new(reason, format!("{word}: {message}")))
}

fn not_mounted(message: &str) -> Failure {
    let is_absent = message.contains("hostPath type check failed");
    Failure::new(if is_absent { Reason::HostPathMissing } else { Reason::MountFailed }, message)
}

/// Why a Job failed: what its newest pod said or what befell it, else the same of the one before,
/// else what Kubernetes says of it.
fn failure<Success>(verb: &str, pods: &[&Pod], end: &JobEnd) -> Failure
where
    Success: for<'a> Deserialize<'a>,
{
    // Of a Job that ran out of time the newest pod is gone, so an older one's fate is not its end.
    let fate = |pod: &Pod| if end.reason == DEADLINE { None } else { taken(pod) };
    let mut newest_first = pods.iter().rev();
    let failure = newest_first
        .find_map(|pod| said::<Success>(verb, pod).or_else(|| fate(pod)))
        .unwrap_or_else(|| wordless(pods, end));
    // An agent that began late does not live to see its own deadline: the Job's ends it, as anybody might.
    let is_stopped = end.reason == DEADLINE && failure.reason == Reason::Killed;
    if is_stopped { Failure { reason: Reason::DeadlineExceeded, ..failure } } else { failure }
}

/// The failure that a pod told of.
fn said<Success>(verb: &str, pod: &Pod) -> Option<Failure>
where
    Success: for<'a> Deserialize<'a>,
{
    match parse::<Success>(verb, message(pod)) {
        Err(failure) if failure.reason != Reason::NoResult => Some(failure),
        // A success of a pod that did not end well: not to be believed.
        _ => None,
    }
}

/// Why the newest failed pod of a Job that goes on failed: waiting for the last try would keep it secret for minutes.
fn failed_so_far<Success>(verb: &str, pods: &[&Pod]) -> Option<Failure>
where
    Success: for<'a> Deserialize<'a>,
{
    let pod = pods.iter().rev().find(|pod| phase(pod) == "Failed")?;
    let ended = terminated(pod);
    // What is final fails the Job in a moment; what the cluster did to the pod does not count as a try.
    if ended.is_some_and(|ended| FINAL.contains(&ended.exit_code)) || was_disrupted(pod) {
        return None;
    }
    let by_exit = || ended.map(|ended| by_exit(pod, ended));
    said::<Success>(verb, pod).or_else(|| taken(pod)).or_else(by_exit)
}

fn wordless(pods: &[&Pod], end: &JobEnd) -> Failure {
    if end.reason == DEADLINE {
        return Failure::new(Reason::DeadlineExceeded, said_or(&end.message, "the Job took too long"));
    }
    let Some(pod) = pods.last() else {
        return Failure::new(Reason::NoResult, format!("the Job's pods are gone. {}", end.message));
    };
    let before = || format!("pod {} ended before its container began. {}", pod.name_any(), text(pod));
    terminated(pod).map_or_else(|| Failure::new(Reason::Killed, before()), |ended| by_exit(pod, ended))
}

fn was_disrupted(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")
}

/// What befell a pod that could not say so itself.
fn taken(pod: &Pod) -> Option<Failure> {
    if pod.status.as_ref()?.reason.as_deref() == Some("Evicted") {
        return Some(Failure::new(Reason::Evicted, said_or(text(pod), "the node evicted the pod")));
    }
    let message = || format!("pod {} was killed at its memory limit", pod.name_any());
    let is_too_big = terminated(pod)?.reason.as_deref() == Some("OOMKilled");
    is_too_big.then(|| Failure::new(Reason::OutOfMemory, message()))
}

fn text(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.message.as_deref()).unwrap_or_default()
}

fn by_exit(pod: &Pod, ended: &ContainerStateTerminated) -> Failure {
    let (name, code) = (pod.name_any(), ended.exit_code);
    match code {
        _ if did_not_start(ended) => Failure::new(
            Reason::ImageBroken,
            format!("pod {name} could not start: {}", ended.message.as_deref().unwrap_or_default()),
        ),
        130 | 137 | 143 => {
            Failure::new(Reason::Killed, format!("pod {name} was ended from outside (exit code {code})"))
        }
        _ => Failure::new(Reason::NoResult, format!("pod {name} ended with exit code {code} and no result")),
    }
}

fn said_or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// The agent's own container: admission may have put others beside it.
fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let all = pod.status.as_ref()?.container_statuses.as_ref()?;
    all.iter().find(|container| container.name == CONTAINER)
}

fn waiting(pod: &Pod) -> Option<&ContainerStateWaiting> {
    container(pod)?.state.as_ref()?.waiting.as_ref()
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    container(pod)?.state.as_ref()?.terminated.as_ref()
}

/// What the agent left; where its container did not start, the words there are the runtime's.
fn message(pod: &Pod) -> &str {
    let ended = terminated(pod).filter(|ended| !did_not_start(ended));
    ended.and_then(|ended| ended.message.as_deref()).unwrap_or_default()
}

fn did_not_start(ended: &ContainerStateTerminated) -> bool {
    matches!(ended.reason.as_deref(), Some("ContainerCannotRun" | "StartError"))
}

/// What is left of the wait after a failure that ended at `ended`; nothing where it is time to try again.
///
/// `said` is the condition that tells of it: the work has been failing for as long as that is False.
pub fn left_after(ended: Timestamp, said: Option<&Condition>, now: Timestamp) -> Option<Duration> {
    let since = said.filter(|said| said.status == "False").map_or(now, |said| said.last_transition_time.0);
    left(ended, retry_after(ended, since), now)
}

/// How long to wait after a failure before trying again: as long as it has been failing.
///
/// That doubles by itself and needs no counter that could be lost.
fn retry_after(ended: Timestamp, failing_since: Timestamp) -> SignedDuration {
    const SHORTEST: SignedDuration = SignedDuration::from_secs(10);
    const LONGEST: SignedDuration = SignedDuration::from_mins(5);
    ended.duration_since(failing_since).clamp(SHORTEST, LONGEST)
}

/// What is left of a wait that began at `since`; nothing where it is over.
pub fn left(since: Timestamp, wait: SignedDuration, now: Timestamp) -> Option<Duration> {
    let left = wait - now.duration_since(since);
    left.is_positive().then(|| left.unsigned_abs() + Duration::from_millis(100))
}

#[cfg(test)]
mod tests;
