//! What a scrape is told: a page of metrics in Prometheus' text format.
//!
//! ```text
//! reconciles ─▶ Meter ────┐
//! reviews ─▶ Answers ─────┤
//! objects, runs ──────────┴▶ Page ─▶ text
//! ```
//!
//! Written here because the crate at hand writes `OpenMetrics` only: that has no counter without
//! `_total`, and upstream's users have three. Most of what we say is read off objects while the page
//! is written, so there is no registry either.
pub mod admission;
mod histogram;
mod meter;
mod page;

pub use histogram::Histogram;
pub use meter::{Meter, Meters};
pub use page::{CONTENT_TYPE, Kind, Metric, Page};

/// Whether this process leads.
pub const LEADER: Metric = Metric::gauge(
    "kubedr_leader",
    &[],
    "Whether this process leads, 1 or 0; only the one that does tells of objects.",
);
/// What this process is.
pub const BUILD_INFO: Metric =
    Metric::gauge("kubedr_build_info", &["version"], "Always 1; the label says which kubedr this is.");

/// Every metric of this crate, in the order of the page.
pub const METRICS: &[&Metric] = &[
    &LEADER,
    &BUILD_INFO,
    &admission::ANSWERS,
    &admission::DURATION,
    &admission::EXPIRY,
    &admission::REFUSED,
    &meter::SYNCED,
    &meter::DURATION,
    &meter::ERRORS,
];

/// Writes what every process can tell, whether it leads or not.
pub fn of_process(page: &mut Page, leads: bool, version: &str) {
    page.numbers(&LEADER, [([], i64::from(leads))]);
    page.numbers(&BUILD_INFO, [([version], 1)]);
}
