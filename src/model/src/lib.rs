//! The rules of backup: no I/O, no Kubernetes, no clock.
//!
//! Everything that two programs must agree on stands here once: the closed set
//! of [`Reason`]s, the [`result`] that an agent hands to the operator, the
//! [`tags`] of a snapshot, the [`environment`] of an agent's pod, and the rules
//! that both sides apply ([`retention`], [`lineage`]), what a CronJob's
//! [`Schedule`] means, and how much of what others say is told on ([`line`]).
pub mod environment;
mod identity;
pub mod line;
pub mod lineage;
mod reason;
pub mod result;
pub mod retention;
mod schedule;
mod secret;
mod store;
pub mod tags;
mod violation;

pub use identity::{BackupId, MalformedId, SnapshotId};
pub use reason::{Group, Reason, UnknownReason};
pub use schedule::{InvalidSchedule, Schedule};
pub use secret::Secret;
pub use store::{BucketLookup, Store};
pub use violation::Violation;

/// Formats an error with all of its causes, separated by colons, each said once.
///
/// `Display` of our errors names the failed step only, so this is the one way
/// in which they are logged and shown. Those of others, tonic and hyper among
/// them, repeat what they wrap before they hand it out as their cause.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.map(ToString::to_string).fold(error.to_string(), |said, cause| {
        if said.contains(&cause) { said } else { format!("{said}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use rstest::rstest;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Step {
        said: &'static str,
        source: io::Error,
    }

    fn step(said: &'static str, cause: Step) -> Step {
        Step { said, source: io::Error::other(cause) }
    }

    fn innermost(said: &'static str, cause: &'static str) -> Step {
        Step { said, source: io::Error::other(cause) }
    }

    #[rstest]
    #[case::every_cause(innermost("failed to connect", "refused"), "failed to connect: refused")]
    #[case::a_cause_that_its_wrapper_repeats(
        step("failed to read", innermost("transport error: refused", "refused")),
        "failed to read: transport error: refused"
    )]
    #[case::a_wrapper_that_says_nothing_else(
        step("failed to read", innermost("refused", "refused")),
        "failed to read: refused"
    )]
    fn is_told_once(#[case] error: Step, #[case] expected: &str) {
        assert_eq!(chain(&error), expected);
    }
}
