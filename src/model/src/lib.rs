//! The rules of backup: no I/O, no Kubernetes, no clock.
//!
//! Everything that two programs must agree on stands here once: the closed set
//! of [`Reason`]s, the [`result`] that an agent hands to the operator, the
//! [`tags`] of a snapshot, the [`environment`] of an agent's pod, and the rules
//! that both sides apply ([`retention`], [`lineage`]).
pub mod environment;
mod identity;
pub mod lineage;
mod reason;
pub mod result;
pub mod retention;
mod secret;
mod store;
pub mod tags;
mod violation;

pub use identity::{BackupId, MalformedId, SnapshotId};
pub use reason::{Group, Reason, UnknownReason};
pub use secret::Secret;
pub use store::{BucketLookup, Store};
pub use violation::Violation;

/// Formats an error with all of its causes, separated by colons.
///
/// `Display` of our errors names the failed step only, so this is the one way
/// in which they are logged and shown.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
