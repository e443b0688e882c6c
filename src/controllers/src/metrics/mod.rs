//! What a scrape is told of objects: read off the controllers' caches in that moment.
//!
//! ```text
//! Known ─▶ observe ─▶ World ─▶ write ─▶ Page
//!                              pure
//! ```
//!
//! A figure that is read where it is kept survives a restart, cannot drift from what `kubectl` shows,
//! and goes with its object. Only runs are counted, by [`Tally`](crate::metadata::policy::tally::Tally).
mod conditions;
mod outside;
mod policies;

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use api::{BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore};
use jiff::Timestamp;
use kube::{Resource, core::DeserializeGuard};
use runtime::metrics::{self, Metric, Page};

use crate::{Known, Settings, metadata::policy::tally::Counts};

/// Objects of one kind, those that do not have its shape among them.
type Objects<K> = Vec<Arc<DeserializeGuard<K>>>;

/// Everything that a page may depend on.
#[derive(Clone, Debug)]
pub struct World {
    /// All locations.
    pub locations: Objects<BackupLocation>,
    /// All policies.
    pub policies: Objects<MetadataBackupPolicy>,
    /// All records.
    pub records: Objects<MetadataBackupRecord>,
    /// All restores.
    pub restores: Objects<MetadataRestore>,
    /// How many objects of each kind say that they are in a wrong namespace.
    pub misplaced: Vec<(String, i64)>,
    /// What was counted of policies, by their UIDs.
    pub counted: HashMap<String, Counts>,
    /// uid of the namespace `kube-system`: records of other clusters tell nothing of this one.
    pub cluster_uid: String,
    /// The moment of the scrape.
    pub now: Timestamp,
}

/// Every metric of the operator, in the order of the page.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    metrics::METRICS
        .iter()
        .copied()
        .chain(policies::all())
        .chain([&conditions::CONDITION, &outside::MISPLACED])
}

/// Reads the [`World`], from memory alone.
pub fn observe(known: &Known, settings: &Settings, now: Timestamp) -> World {
    World {
        locations: sorted(known.locations.objects()),
        policies: sorted(known.policies.objects()),
        records: known.records.objects(),
        restores: sorted(known.restores.objects()),
        misplaced: known.outside.misplaced(),
        counted: known.counted(),
        cluster_uid: settings.cluster_uid.clone(),
        now,
    }
}

/// In an order that stays, so that two pages can be compared.
fn sorted<K: Resource>(mut objects: Objects<K>) -> Objects<K> {
    let by_name = |one: &Arc<DeserializeGuard<K>>, other: &Arc<DeserializeGuard<K>>| -> Ordering {
        one.meta().name.cmp(&other.meta().name)
    };
    objects.sort_by(by_name);
    objects
}

/// Writes what is known of all objects.
pub fn write(page: &mut Page, world: &World) {
    policies::write(page, world);
    conditions::write(page, world);
    outside::write(page, world);
}

#[cfg(test)]
mod tests;
