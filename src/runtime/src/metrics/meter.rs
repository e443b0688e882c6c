//! How the reconciles of each controller go.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use model::Reason;

use super::{Histogram, Metric, Page};
use crate::Error;

/// How long reconciles take.
pub const DURATION: Metric = Metric::histogram(
    "kubedr_reconcile_duration_seconds",
    &["controller"],
    "How long a look at one object took, whatever came of it.",
);
/// Whether a controller has listed its objects.
pub const SYNCED: Metric = Metric::gauge(
    "kubedr_controller_synced",
    &["controller"],
    "Whether the controller has listed all its objects, 1 or 0: until then it looks after some or none of them.",
);
/// Reconciles and watches that failed.
pub const ERRORS: Metric = Metric::counter(
    "kubedr_reconcile_errors_total",
    &["controller", "reason"],
    "Looks at an object, and watches, that failed. Each is tried again.",
);

/// From a look at what did not change to one whose every request waits for its end.
const SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

#[derive(Debug)]
struct Seen {
    synced: bool,
    durations: Histogram,
    errors: BTreeMap<Reason, i64>,
}

/// Counts what one controller does.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Mutex<Seen>>);

impl Default for Meter {
    fn default() -> Self {
        // Begun at 0: the first error is an increase too.
        let errors = Error::REASONS.iter().map(|reason| (*reason, 0)).collect();
        Self(Arc::new(Mutex::new(Seen { synced: false, durations: Histogram::new(SECONDS), errors })))
    }
}

impl Meter {
    /// All objects were listed.
    pub fn synced(&self) {
        self.seen().synced = true;
    }

    /// A reconcile ended after so long.
    pub fn took(&self, time: Duration) {
        self.seen().durations.observe(time.as_secs_f64());
    }

    /// Something failed.
    pub fn failed(&self, reason: Reason) {
        *self.seen().errors.entry(reason).or_default() += 1;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The meters of a process.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Mutex<BTreeMap<&'static str, Meter>>>);

impl Meters {
    /// The meter of a controller.
    pub fn meter(&self, controller: &'static str) -> Meter {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(controller).or_default().clone()
    }

    /// Writes what they counted.
    pub fn write(&self, page: &mut Page) {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen: Vec<_> = meters.iter().map(|(name, meter)| (*name, meter.seen())).collect();
        page.numbers(&SYNCED, seen.iter().map(|(name, seen)| ([*name], i64::from(seen.synced))));
        page.histograms(&DURATION, seen.iter().map(|(name, seen)| ([*name], &seen.durations)));
        let errors = seen.iter().flat_map(|(name, seen)| {
            seen.errors.iter().map(|(reason, count)| ([*name, reason.as_str()], *count))
        });
        page.numbers(&ERRORS, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_counts_from_its_start_and_its_errors_by_reason_and_tells_when_it_knows_all() {
        let meters = Meters::default();
        let location = meters.meter("location");
        location.synced();
        meters.meter("policy").took(Duration::from_millis(30));
        location.failed(Reason::ApiReadFailed);
        meters.meter("location").failed(Reason::ApiReadFailed);
        let mut page = Page::default();
        meters.write(&mut page);
        let text = page.into_text();
        for line in [
            r#"kubedr_controller_synced{controller="location"} 1"#,
            r#"kubedr_controller_synced{controller="policy"} 0"#,
            r#"kubedr_reconcile_duration_seconds_bucket{controller="policy",le="0.025"} 0"#,
            r#"kubedr_reconcile_duration_seconds_bucket{controller="policy",le="0.05"} 1"#,
            r#"kubedr_reconcile_duration_seconds_count{controller="location"} 0"#,
            r#"kubedr_reconcile_errors_total{controller="location",reason="ApiReadFailed"} 2"#,
            r#"kubedr_reconcile_errors_total{controller="policy",reason="ApiReadFailed"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
