//! The decision of the restore controller: from a [`World`] to a [`Plan`].
use api::{
    MetadataRestoreStatus,
    conditions::{COMPLETE, READY},
    metadata::Phase,
    names::Work,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use model::Reason;
use runtime::{
    Event, Importance, Plan,
    conditions::{Page, Verdict, find},
    status_of,
};

use super::observe::World;

const MESSAGE: &str =
    "this version of kubedr cannot restore to a volume; docs/restore.md says how to restore by hand";

/// Says once that it cannot be done.
///
/// A restore that upstream completed keeps saying so: it happened.
pub fn decide(world: &World) -> Plan {
    let previous = world.restore.status.clone().unwrap_or_default();
    if previous.restore_status.as_deref() == Some(Phase::Completed.as_str()) {
        return confirm(world, previous);
    }
    let said = Verdict::bad(Reason::Unsupported, MESSAGE);
    let is_news = said.is_news(&previous.conditions, READY);
    let conditions = conditions(world, &[(READY, said.clone()), (COMPLETE, said)]);
    let since = find(&conditions, READY).map(|ready| ready.last_transition_time.0.to_string());
    let status = MetadataRestoreStatus {
        restore_status: Some(Phase::Failed.to_string()),
        restore_time: since,
        restore_error_message: Some(format!("{}: {MESSAGE}", Reason::Unsupported)),
        observed_generation: world.restore.metadata.generation,
        conditions,
        ..previous
    };
    let event = Event {
        importance: Importance::Warning,
        reason: "RestoreFailed",
        action: Work::Restore.verb(),
        word: Reason::Unsupported,
        message: MESSAGE.to_owned(),
    };
    Plan {
        status: status_of(&world.restore, &status),
        events: is_news.then_some(event).into_iter().collect(),
        ..Plan::default()
    }
}

/// Upstream wrote no conditions: what waits for one would wait for ever.
fn confirm(world: &World, previous: MetadataRestoreStatus) -> Plan {
    let ready = Verdict::good(Reason::Ready, "upstream's kubedr restored it");
    let complete = Verdict { reason: Reason::Complete, ..ready.clone() };
    let conditions = conditions(world, &[(READY, ready), (COMPLETE, complete)]);
    let observed_generation = world.restore.metadata.generation;
    let status = MetadataRestoreStatus { observed_generation, conditions, ..previous };
    Plan { status: status_of(&world.restore, &status), ..Plan::default() }
}

fn conditions(world: &World, verdicts: &[(&str, Verdict)]) -> Vec<Condition> {
    let previous = world.restore.status.as_ref().map_or(&[][..], |status| &status.conditions);
    Page { previous, generation: world.restore.metadata.generation, now: world.now }.write(verdicts)
}

#[cfg(test)]
mod tests;
