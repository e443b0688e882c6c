//! How long a failed reconcile waits: doubled with each failure, up to a cap.
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::Target;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// Failures in a row, by namespace and name.
#[derive(Debug, Default)]
pub struct Retries {
    failures: Mutex<HashMap<(String, String), u32>>,
}

impl Retries {
    /// Counts one more failure and says how long to wait.
    pub fn failed(&self, object: &Target) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key(object)).or_default();
        let delay = FIRST.saturating_mul(2_u32.saturating_pow(*count)).min(LONGEST);
        *count = count.saturating_add(1);
        delay
    }

    /// Forgets the failures of an object.
    pub fn succeeded(&self, object: &Target) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(object));
    }
}

fn key(object: &Target) -> (String, String) {
    (object.namespace.clone(), object.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, name: &str) -> Target {
        Target {
            types: kube::core::TypeMeta::default(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: "u".to_owned(),
            version: None,
        }
    }

    #[test]
    fn waits_double_up_to_five_minutes_and_begin_anew_after_a_success() {
        let (retries, one) = (Retries::default(), object("n", "a"));
        let waits: Vec<u64> = (0..40).map(|_| retries.failed(&one).as_secs()).collect();
        assert_eq!(waits[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(waits[39], 300);
        retries.succeeded(&one);
        assert_eq!(retries.failed(&one).as_secs(), 1);
    }

    #[test]
    fn each_object_waits_for_its_own_failures() {
        let retries = Retries::default();
        for other in [object("n", "a"), object("n", "b"), object("m", "a")] {
            assert_eq!(retries.failed(&other).as_secs(), 1, "{other:?}");
        }
    }
}
