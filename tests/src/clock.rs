//! What time it is.
use jiff::Timestamp;

/// By the clock that all parts of a cluster go by.
#[expect(clippy::disallowed_methods, reason = "no cluster has a clock of tests")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
