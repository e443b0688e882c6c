//! Kinds of metadata backup: where to, what and when, what came of it, and the way back.
pub mod location;
pub mod policy;
pub mod record;
pub mod restore;

use std::fmt;

/// Words of upstream's status fields `initStatus`, `backupStatus` and `restoreStatus`.
///
/// The fields themselves are plain strings: an object that upstream stored with
/// another word must stay readable and writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was asked for and has not begun or not ended.
    Initializing,
    /// A restore copies.
    Running,
    /// It succeeded.
    Completed,
    /// It failed; the error message beside it says why.
    Failed,
}

impl Phase {
    /// The word itself.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "Initializing",
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
