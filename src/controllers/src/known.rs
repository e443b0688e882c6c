//! What is known of all objects together: the controllers' caches, and the runs that were counted.
//!
//! ```text
//! watch ─▶ Cache ─────┐
//! reconcile ─▶ Tally ─┴▶ metrics
//! ```
//!
//! Decisions start from what the API server says and read none of this.
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use api::{BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore};
use kube::{Resource, core::DeserializeGuard, runtime::reflector::Store};

use crate::metadata::{
    outside::Outside,
    policy::{
        observe::World,
        tally::{Counts, Tally},
    },
};

/// How many tallies of policies that are gone may wait for being forgotten.
const SPARE: usize = 16;

/// What the controllers of one process know.
#[derive(Default)]
pub struct Known {
    pub(crate) locations: Cache<BackupLocation>,
    pub(crate) policies: Cache<MetadataBackupPolicy>,
    pub(crate) records: Cache<MetadataBackupRecord>,
    pub(crate) restores: Cache<MetadataRestore>,
    pub(crate) outside: Outside,
    tallies: Mutex<HashMap<String, Tally>>,
}

impl Known {
    /// Counts what there is to see of a policy's runs and was not counted before.
    pub(crate) fn count(&self, world: &World) {
        let Some(uid) = world.policy.metadata.uid.clone() else { return };
        let mut tallies = self.tallies();
        if tallies.len() > 2 * self.policies.len() + SPARE {
            let policies = self.policies.objects();
            let there: HashSet<_> =
                policies.iter().filter_map(|policy| policy.meta().uid.as_deref()).collect();
            tallies.retain(|uid, _| there.contains(uid.as_str()));
        }
        tallies.entry(uid).or_default().count(world);
    }

    /// What was counted, by the policies' UIDs; also of some that are gone.
    pub(crate) fn counted(&self) -> HashMap<String, Counts> {
        self.tallies().iter().map(|(uid, tally)| (uid.clone(), tally.counts().clone())).collect()
    }

    fn tallies(&self) -> MutexGuard<'_, HashMap<String, Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The objects of one kind, as their controller watches them.
pub struct Cache<K>(OnceLock<Store<DeserializeGuard<K>>>)
where
    K: Resource<DynamicType = ()> + Clone + 'static;

impl<K> Default for Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    /// Lends out what a controller has; there is one of each kind.
    pub(crate) fn lend(&self, store: Store<DeserializeGuard<K>>) {
        self.0.get_or_init(|| store);
    }

    /// All objects; none before the controller has listed them.
    pub(crate) fn objects(&self) -> Vec<Arc<DeserializeGuard<K>>> {
        self.0.get().map(Store::state).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.0.get().map_or(0, Store::len)
    }
}
