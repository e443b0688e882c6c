//! What a watch brings of the operator's own writes: who judges the API server's answer need not look again.
//!
//! ```text
//! write ─▶ answer ─▶ expected ─┐
//! watch ─▶ object ─────────────┴▶ that very version? ─▶ dropped
//!                              └▶ any other ─────────▶ a look
//! ```
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, ResourceExt};

/// How many may be expected: more than are on their way at a time. What a watch brings before its write is answered
/// is looked at, and does not come again.
const MOST: usize = 256;

/// The versions of objects that only the operator's own writes bring.
#[derive(Debug, Default)]
pub struct Echoes(Mutex<HashSet<Version>>);

/// One state of one object: its UID and its resource version.
type Version = (String, String);

impl Echoes {
    /// From now on this state of an object is nothing new. Where too many are expected none is any more: that costs a
    /// look at each, and nothing else.
    pub(crate) fn expect(&self, stored: &impl Resource) {
        let Some(version) = version(stored) else { return };
        let mut expected = self.expected();
        if expected.len() >= MOST {
            expected.clear();
        }
        expected.insert(version);
    }

    /// Whether what a watch brings is expected, once.
    pub fn is_one(&self, object: &impl Resource) -> bool {
        version(object).is_some_and(|version| self.expected().remove(&version))
    }

    fn expected(&self) -> MutexGuard<'_, HashSet<Version>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(object: &impl Resource) -> Option<Version> {
    Some((object.uid()?, object.resource_version()?))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;

    fn object(uid: &str, version: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    #[test]
    fn what_is_expected_is_an_echo_once() {
        let echoes = Echoes::default();
        echoes.expect(&object("a", "7"));
        assert!(!echoes.is_one(&object("a", "6")), "what someone wrote before");
        assert!(!echoes.is_one(&object("a", "8")), "what someone wrote since");
        assert!(!echoes.is_one(&object("b", "7")), "another object, maybe in another etcd");
        assert!(echoes.is_one(&object("a", "7")));
        assert!(!echoes.is_one(&object("a", "7")), "a listing that begins anew is looked at");
    }

    #[test]
    fn what_never_comes_is_not_kept_for_ever() {
        let echoes = Echoes::default();
        for version in 0..3 * MOST {
            echoes.expect(&object("a", &version.to_string()));
            assert!(echoes.expected().len() <= MOST);
        }
        assert!(echoes.is_one(&object("a", &(3 * MOST - 1).to_string())));
    }
}
