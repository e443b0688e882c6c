//! What a policy says of its runs.
use api::{
    MetadataBackupPolicyStatus, MetadataBackupRecord,
    conditions::{COMPLETE, FRESH, LINEAGE_ACCEPTED, PROVEN, READY, RETAINED},
    metadata::Phase,
    names::Work,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::batch::v1::Job,
    apimachinery::pkg::{apis::meta::v1::Time, util::intstr::IntOrString},
};
use model::{
    Reason,
    result::{Backup, Failure},
};
use runtime::{
    Event, Importance,
    conditions::{Page, Verdict, find},
};

use super::{
    history::{History, Made, record_of, word},
    lineage,
    observe::World,
    shrink,
    told::Told,
};
use crate::{
    metadata::text,
    run::{self, Ended},
};

/// The whole status.
pub fn status(
    world: &World,
    history: &History,
    (ready, retained): (&Verdict, &Verdict),
) -> MetadataBackupPolicyStatus {
    let previous = previous(world);
    let generation = world.policy.metadata.generation;
    let page = Page { previous: &previous.conditions, generation, now: world.now };
    let lineage = lineage::lineage(world);
    let conditions = page.write(&[
        (READY, ready.clone()),
        (FRESH, fresh(world, history)),
        (COMPLETE, complete(world, history)),
        (PROVEN, Verdict::stored(&previous.conditions, PROVEN)),
        (RETAINED, retained.clone()),
        (LINEAGE_ACCEPTED, lineage.verdict),
    ]);
    let newest_success = history.successes().map(|(started, _)| Time(started)).next();
    let base = MetadataBackupPolicyStatus {
        observed_generation: generation,
        lineage: lineage.accepted,
        encryption_configs: encryption_configs(world, history, &previous),
        records: i64::try_from(world.records.len()).ok(),
        last_successful_time: newest_success.max(previous.last_successful_time.clone()),
        next_schedule_time: history.slots.next.map(Time),
        conditions,
        ..previous
    };
    let known = base.backup_pod.is_some();
    match newest(world, history) {
        _ if history.stuck().is_some() => hanging(history, base),
        Some((job, ended)) => after(world, base, (job, ended)),
        None if known => base,
        // Nothing ended since there was something to say.
        None if ready.holds == Some(false) => failed(base, &Failure::new(ready.reason, &*ready.message)),
        None if base.backup_time.is_none() || history.is_busy() => initializing(base),
        None => base,
    }
}

/// Upstream's fields tell of a run that cannot begin as of one that failed, but that it has no pod to name.
fn hanging(history: &History, base: MetadataBackupPolicyStatus) -> MetadataBackupPolicyStatus {
    let Some((job, failure)) = history.stuck() else { return base };
    let began = run::started(job).to_string();
    failed(MetadataBackupPolicyStatus { backup_time: Some(began), backup_pod: None, ..base }, failure)
}

fn initializing(base: MetadataBackupPolicyStatus) -> MetadataBackupPolicyStatus {
    MetadataBackupPolicyStatus {
        backup_status: Some(Phase::Initializing.to_string()),
        backup_error_message: Some(String::new()),
        ..base
    }
}

fn previous(world: &World) -> MetadataBackupPolicyStatus {
    world.policy.status.clone().unwrap_or_default()
}

/// The newest run that ended, unless the status tells of a newer one that hung or whose Job is
/// gone, or of the end of this very one and nobody is left who could tell more.
fn newest<'a, 'b>(world: &World, history: &'b History<'a>) -> Option<(&'a Job, &'b Ended<Made<'a>>)> {
    let told = Told::of(world);
    let has_more = |ended: &Ended<_>| told.lacks(ended) || (told.is_of(ended) && !ended.is_mute);
    history.newest().filter(|(_, ended)| has_more(ended))
}

fn after(
    world: &World,
    base: MetadataBackupPolicyStatus,
    (job, ended): (&Job, &Ended<Made>),
) -> MetadataBackupPolicyStatus {
    let common = MetadataBackupPolicyStatus {
        backup_time: Some(ended.started.to_string()),
        backup_pod: Some(ended.pod.clone()),
        ..base
    };
    match &ended.outcome {
        Ok(made) => succeeded(common, made, record_of(world, job, made)),
        Err(failure) => failed(common, &explained(world, failure, ended.is_mute)),
    }
}

fn succeeded(
    base: MetadataBackupPolicyStatus,
    made: &Made,
    record: Option<&str>,
) -> MetadataBackupPolicyStatus {
    let base = MetadataBackupPolicyStatus {
        backup_status: Some(Phase::Completed.to_string()),
        backup_error_message: Some(String::new()),
        mbr_name: record.map(str::to_owned),
        ..without_figures(base)
    };
    match made {
        Made::Told(backup) => with_figures(base, backup),
        Made::Recorded { record, .. } => with_figures_of_record(base, *record),
    }
}

fn with_figures(base: MetadataBackupPolicyStatus, backup: &Backup) -> MetadataBackupPolicyStatus {
    MetadataBackupPolicyStatus {
        files_new: i64::try_from(backup.files_new).ok(),
        files_changed: i64::try_from(backup.files_changed).ok(),
        data_added: i64::try_from(backup.data_added).ok(),
        total_bytes_processed: i64::try_from(backup.total_bytes_processed).ok(),
        total_duration_secs: Some(IntOrString::String(format!("{:.3}", backup.total_duration_secs))),
        snapshot_id: Some(backup.snapshot_id.short().to_owned()),
        ..base
    }
}

/// A record holds less than its backup's result did: what it lacks stays absent.
fn with_figures_of_record(
    base: MetadataBackupPolicyStatus,
    record: Option<&MetadataBackupRecord>,
) -> MetadataBackupPolicyStatus {
    let known = record.and_then(|record| record.status.as_ref());
    MetadataBackupPolicyStatus {
        data_added: known.and_then(|known| known.added_bytes),
        total_bytes_processed: known.and_then(|known| known.size_bytes),
        snapshot_id: record.map(|record| record.spec.snapshot_id.clone()),
        ..base
    }
}

fn failed(base: MetadataBackupPolicyStatus, failure: &Failure) -> MetadataBackupPolicyStatus {
    MetadataBackupPolicyStatus {
        backup_status: Some(Phase::Failed.to_string()),
        backup_error_message: Some(format!("{}: {}", failure.reason, text(failure))),
        ..without_figures(base)
    }
}

/// Figures of an earlier run beside the end of a later one would be taken for its own.
fn without_figures(base: MetadataBackupPolicyStatus) -> MetadataBackupPolicyStatus {
    MetadataBackupPolicyStatus {
        files_new: None,
        files_changed: None,
        data_added: None,
        total_bytes_processed: None,
        total_duration_secs: None,
        snapshot_id: None,
        mbr_name: None,
        ..base
    }
}

/// Whether the newest run was a success. One that cannot begin, or is tried again, says so before it ends.
fn fresh(world: &World, history: &History) -> Verdict {
    if let Some((_, failure)) = history.stuck() {
        return said(failure);
    }
    if let Some(failure) = history.retried() {
        return said(failure);
    }
    if let Some(slot) = history.slots.missed {
        return missed(slot);
    }
    if let Some(told) = still_missing(world, history) {
        return told;
    }
    match newest(world, history).map(|(_, ended)| ended) {
        Some(Ended { started, outcome: Ok(_), .. }) => {
            Verdict::good(Reason::Fresh, format!("the newest backup began at {started}"))
        }
        Some(Ended { outcome: Err(failure), is_mute, .. }) => said(&explained(world, failure, *is_mute)),
        None => Verdict::stored(world.conditions(), FRESH),
    }
}

/// That a run is missing stays said until another one that began since has ended, whatever becomes of the schedule.
///
/// Not what was said at a time that is still to come: by a clock that was ahead every run is missing.
fn still_missing(world: &World, history: &History) -> Option<Verdict> {
    let Time(since) = find(world.conditions(), FRESH)?.last_transition_time.clone();
    let told = Verdict::stored(world.conditions(), FRESH);
    // Times have whole seconds: one that began in the same one began after the slot too.
    let is_over = newest(world, history).is_some_and(|(_, ended)| ended.started >= since);
    (told.reason == Reason::MissedRun && since <= world.now && !is_over).then_some(told)
}

fn missed(slot: Timestamp) -> Verdict {
    let found = format!("no backup began for {slot}, when one was due");
    said(&Failure::new(Reason::MissedRun, found))
}

fn said(failure: &Failure) -> Verdict {
    Verdict::bad(failure.reason, text(failure))
}

/// Why a run failed, as far as it was seen.
///
/// One that never began ends at its deadline, and its pod, which alone knew why, is
/// gone by then. An agent that began has a deadline of its own and tells it.
fn explained(world: &World, failure: &Failure, is_mute: bool) -> Failure {
    let stored = Verdict::stored(world.conditions(), FRESH);
    let hung = matches!(
        stored.reason,
        Reason::Unschedulable
            | Reason::ImagePull
            | Reason::ImageBroken
            | Reason::MountFailed
            | Reason::HostPathMissing
    );
    if failure.reason == Reason::DeadlineExceeded && is_mute && stored.holds == Some(false) && hung {
        return Failure::new(stored.reason, stored.message);
    }
    failure.clone()
}

/// Whether the newest backup has all that a restore needs. A failed run says nothing of it,
/// and an older backup nothing of one that was judged already.
fn complete(world: &World, history: &History) -> Verdict {
    let verdict = match newest_success(world, history) {
        Some(Made::Told(backup)) => completeness(backup),
        Some(Made::Recorded { record: Some(record), .. }) => {
            let known = record.status.as_ref().map(|status| status.conditions.as_slice());
            // Of another object, so of another generation.
            Verdict { generation: None, ..Verdict::stored(known.unwrap_or_default(), COMPLETE) }
        }
        _ => Verdict::stored(world.conditions(), COMPLETE),
    };
    match shrink::unheard(world) {
        Some(unheard) if verdict.reason == Reason::Shrunk && !verdict.message.contains(&unheard) => {
            Verdict { message: format!("{} {unheard}", verdict.message), ..verdict }
        }
        _ => verdict,
    }
}

/// The newest backup, unless the status told of a newer one.
fn newest_success<'a, 'b>(world: &World, history: &'b History<'a>) -> Option<&'b Made<'a>> {
    let told = world.policy.status.as_ref().and_then(|status| status.last_successful_time.as_ref());
    let (started, newest) = history.successes().next()?;
    told.is_none_or(|Time(told)| started >= *told).then_some(newest)
}

/// The files with the keys of the newest backup that tells. A record does not, nor a backup whose objects were not
/// counted: what was told stays.
fn encryption_configs(
    world: &World,
    history: &History,
    previous: &MetadataBackupPolicyStatus,
) -> Vec<String> {
    match newest_success(world, history) {
        Some(Made::Told(backup)) if backup.etcd.keys.is_some() => backup.encryption_configs.clone(),
        _ => previous.encryption_configs.clone(),
    }
}

/// What a backup lacks for a restore.
pub fn completeness(backup: &Backup) -> Verdict {
    match &backup.incomplete {
        None => Verdict::good(Reason::Complete, Reason::Complete.meaning()),
        Some(lack) => said(&Failure::new(lack.reason, &*lack.message)),
    }
}

/// What changed since the stored status: a run that ended, one that cannot begin, a backup that lacks
/// something, a policy from which none can be made, a retention that began to fail.
pub fn events(world: &World, history: &History, (ready, retained): (&Verdict, &Verdict)) -> Vec<Event> {
    let run = newest(world, history)
        .filter(|(_, ended)| is_news(world, ended))
        .map(|(_, ended)| ended_event(world, ended));
    let fresh = fresh(world, history);
    let is_early = history.stuck().is_some() || fresh.reason == Reason::MissedRun;
    let is_fresh_news = fresh.is_news(world.conditions(), FRESH);
    let stuck = (is_early && is_fresh_news).then(|| warning("BackupFailed", Work::Backup, &fresh));
    // One of a series of tries that fail alike is enough, and its end is told too.
    let retried = history.retried().filter(|_| is_fresh_news).map(|failure| {
        let said = said(failure);
        let message = format!("{} It is tried again.", said.message);
        warning("BackupFailed", Work::Backup, &Verdict { message, ..said })
    });
    let is_failing = retained.holds == Some(false) && retained.is_news(world.conditions(), RETAINED);
    let retention = is_failing.then(|| warning("RetentionFailed", Work::Forget, retained));
    let is_refused = ready.holds == Some(false) && ready.is_news(world.conditions(), READY);
    let refused = is_refused.then(|| warning("BackupFailed", Work::Backup, ready));
    let complete = complete(world, history);
    let is_lacking = complete.holds == Some(false) && complete.is_news(world.conditions(), COMPLETE);
    let lacking = is_lacking.then(|| warning("BackupIncomplete", Work::Backup, &complete));
    run.into_iter().chain(stuck).chain(retried).chain(refused).chain(lacking).chain(retention).collect()
}

fn is_news(world: &World, ended: &Ended<Made>) -> bool {
    world.policy.status.as_ref().is_none_or(|told| {
        told.backup_pod.as_ref() != Some(&ended.pod)
            || told.backup_time.as_deref() != Some(&ended.started.to_string())
    })
}

fn ended_event(world: &World, ended: &Ended<Made>) -> Event {
    match &ended.outcome {
        Ok(made) => Event {
            importance: Importance::Normal,
            reason: "BackupSucceeded",
            action: Work::Backup.verb(),
            word: word(ended),
            message: format!("backup completed, {}", called(made)),
        },
        Err(failure) => {
            warning("BackupFailed", Work::Backup, &said(&explained(world, failure, ended.is_mute)))
        }
    }
}

fn called(made: &Made) -> String {
    match made {
        Made::Told(backup) => format!("snapshot ID: {}", backup.snapshot_id.short()),
        Made::Recorded { name, .. } => format!("record: {name}"),
    }
}

fn warning(reason: &'static str, work: Work, said: &Verdict) -> Event {
    Event {
        importance: Importance::Warning,
        reason,
        action: work.verb(),
        word: said.reason,
        message: said.message.clone(),
    }
}
