//! The decisions of the record controller: from a [`JobWorld`] or a [`World`] to a [`Plan`].
use api::{
    MetadataBackupRecord, MetadataBackupRecordStatus,
    conditions::{COMPLETE, PROVEN, READY, STORED},
    names::{self, Work},
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt};
use model::{
    environment::{self, ForgetList},
    result::{Backup, Forgotten},
};
use runtime::{
    Error, MetadataPatch, Plan, Target,
    conditions::{Page, Verdict},
    dynamic, status_of,
};
use serde_json::json;

use super::{
    build,
    observe::{JobWorld, World},
};
use crate::{
    agent_pod, marks,
    ownership::{controls, is_run_of},
    run::{self, Ended, Run},
};

/// A record this young may be one that is being made: its status comes with the next write.
const YOUNG: SignedDuration = SignedDuration::from_secs(30);

/// Makes the record of a successful backup, or removes those whose backups were forgotten.
///
/// A Job that is not of the policy that it names is not believed, whatever its labels say.
pub fn decide_job(world: &JobWorld) -> Result<Plan, Error> {
    match world.work {
        Work::Backup if is_run_of(&world.policy, world.cronjob.as_ref(), &world.job) => keep(world),
        Work::Forget if controls(&world.policy, &world.job) => Ok(forget(world)),
        _ => Ok(Plan::default()),
    }
}

/// First the record, then all that is known of it, then the mark that both are there: an
/// operator that dies in between does the same again.
fn keep(world: &JobWorld) -> Result<Plan, Error> {
    let Run::Ended(Ended { outcome: Ok(backup), .. }) = run::judge_backup(&world.job, pods(world), world.now)
    else {
        return Ok(Plan::default());
    };
    let location = agent_pod::told(&world.job, environment::LOCATION_NAME);
    let (name, found) = name(world, &backup)?;
    let record = found.cloned().unwrap_or_else(|| build::record(&name, &world.policy, &backup, location));
    let status = build::status(&record, &backup, world.now);
    let mark = MetadataPatch::annotation(Target::of(&world.job), marks::RECORD, &name);
    Ok(Plan {
        create: found.is_none().then(|| dynamic(&record)).into_iter().collect(),
        status: status_of(&record, &status),
        patch: vec![mark],
        ..Plan::default()
    })
}

/// The name of a backup's record: the usual one, or a longer one where another snapshot has it.
fn name<'a>(
    world: &'a JobWorld,
    backup: &Backup,
) -> Result<(String, Option<&'a MetadataBackupRecord>), Error> {
    let names = names::records(&backup.snapshot_id);
    for name in &names {
        let found = world.records.iter().find(|record| record.name_any() == *name);
        if found.is_none_or(|record| is_of(record, backup)) {
            return Ok((name.clone(), found));
        }
    }
    let [.., name] = names;
    Err(Error::NameTaken { kind: "MetadataBackupRecord".to_owned(), name })
}

fn is_of(record: &MetadataBackupRecord, backup: &Backup) -> bool {
    let full = record.status.as_ref().and_then(|status| status.snapshot_id_full.as_deref());
    full.map_or(record.spec.snapshot_id == backup.snapshot_id.short(), |id| id == backup.snapshot_id.as_str())
}

fn forget(world: &JobWorld) -> Plan {
    let Run::Ended(Ended { outcome: Ok(_), .. }) =
        run::judge::<Forgotten>(world.work.verb(), &world.job, pods(world), world.now)
    else {
        return Plan::default();
    };
    let told = agent_pod::told(&world.job, environment::FORGET);
    let list: Option<ForgetList> = told.and_then(|text| serde_json::from_str(text).ok());
    let Some(list) = list else { return Plan::default() };
    let gone = world.records.iter().filter(|record| is_forgotten(world, record, &list));
    Plan { delete: gone.map(Target::of).collect(), ..Plan::default() }
}

/// Whether a Job removed what a record stands for: a copy of the repository has backups of the
/// same ids, and another policy may know them.
fn is_forgotten(world: &JobWorld, record: &MetadataBackupRecord, list: &ForgetList) -> bool {
    let Some(status) = &record.status else { return false };
    let repository = agent_pod::told(&world.job, environment::REPOSITORY_ID);
    let is_listed = |id: &str| list.go.iter().any(|pair| pair.etcd.as_str() == id);
    record.spec.policy == world.policy.name_any()
        && repository.is_some()
        && status.repository_id.as_deref() == repository
        && status.snapshot_id_full.as_deref().is_some_and(is_listed)
}

/// The pods of a Job that has ended: no mount and no quota holds it up any more.
fn pods(world: &JobWorld) -> run::Seen<'_> {
    (&world.pods, &[])
}

/// Completes a record that someone else made: upstream, or a person.
///
/// What it is a record of is found out by the next listing of the repository; until then
/// nothing is known of it.
pub fn decide(world: &World) -> Plan {
    let record = &world.record;
    let pin = world.policy.as_ref().filter(|_| record.spec.backuploc.is_none()).map(|policy| {
        MetadataPatch::spec(Target::of(record), json!({ "backuploc": policy.spec.destination }))
    });
    let is_known = record.status.as_ref().is_some_and(|status| status.snapshot_id_full.is_some());
    let age = record.creation_timestamp().map(|Time(made)| world.now.duration_since(made));
    let left = age.map(|age| YOUNG - age).filter(|left| *left > SignedDuration::ZERO);
    let status = (!is_known && left.is_none()).then(|| unknown(world)).and_then(|status| {
        let write = status_of(record, &status)?;
        Some(at_version(write, record))
    });
    Plan {
        status,
        patch: pin.into_iter().collect(),
        again: left.filter(|_| !is_known).map(SignedDuration::unsigned_abs),
        ..Plan::default()
    }
}

/// The other loop may complete the record at the same time: then this write must fail.
fn at_version(
    mut write: kube::api::DynamicObject,
    record: &MetadataBackupRecord,
) -> kube::api::DynamicObject {
    write.meta_mut().resource_version = record.resource_version();
    write
}

fn unknown(world: &World) -> MetadataBackupRecordStatus {
    let previous = world.record.status.clone().unwrap_or_default();
    let generation = world.record.metadata.generation;
    let page = Page { previous: &previous.conditions, generation, now: world.now };
    let pending = || Verdict::pending("not seen in the repository yet");
    let conditions = page.write(&[READY, STORED, COMPLETE, PROVEN].map(|type_| (type_, pending())));
    MetadataBackupRecordStatus { observed_generation: generation, conditions, ..previous }
}

#[cfg(test)]
mod tests;
