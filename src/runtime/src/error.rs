//! Why a reconcile stopped.
use model::Reason;

use crate::CallError;

/// Why a reconcile stopped.
///
/// `Display` names the failed step only; the cause is the source. Log and show
/// it with [`model::chain`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stored object does not have the shape of its kind.
    #[error("the object cannot be read: {0}")]
    Malformed(String),

    /// A read needed for the decision failed.
    #[error("failed to read {what}")]
    Read {
        /// What was to be read, in the plural.
        what: &'static str,
        /// What the API server or the client said.
        source: CallError,
    },

    /// A planned write failed.
    #[error("failed to write {kind} {name:?}")]
    Write {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// What the API server or the client said.
        source: CallError,
    },

    /// The API server does not take an object that was built from a spec.
    #[error("the spec makes a {kind} that is not valid")]
    Refused {
        /// Kind of the object.
        kind: String,
        /// What the API server said, its field paths included.
        source: CallError,
    },

    /// An earlier object of ours is still being deleted.
    #[error("{kind} {name:?} is still being deleted")]
    Leaving {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
    },

    /// Someone else's object sits where a planned one should be created.
    #[error("{kind} {name:?} exists but is not ours")]
    NameTaken {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
    },
}

impl Error {
    /// Whether the same write would meet the same answer, so that waiting for it helps nobody.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::NameTaken { .. } => true,
            Self::Write { source, .. } => source.is_refusal(),
            Self::Malformed(_) | Self::Read { .. } | Self::Leaving { .. } => false,
        }
    }

    /// Every word that [`Self::reason`] has.
    pub const REASONS: [Reason; 4] =
        [Reason::InvalidSpec, Reason::NameTaken, Reason::ApiReadFailed, Reason::ApiWriteFailed];

    /// `reason` of the `Ready` condition, and the metric label. Part of the API.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) | Self::Refused { .. } => Reason::InvalidSpec,
            Self::Read { .. } => Reason::ApiReadFailed,
            Self::Write { .. } | Self::Leaving { .. } => Reason::ApiWriteFailed,
            Self::NameTaken { .. } => Reason::NameTaken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_an_error_is_in_the_list() {
        let (kind, name) = (|| "Job".to_owned(), || "a".to_owned());
        let source = || CallError::TimedOut;
        let errors = [
            Error::Malformed(name()),
            Error::Read { what: "jobs", source: source() },
            Error::Write { kind: kind(), name: name(), source: source() },
            Error::Refused { kind: kind(), source: source() },
            Error::Leaving { kind: kind(), name: name() },
            Error::NameTaken { kind: kind(), name: name() },
        ];
        let reasons: std::collections::BTreeSet<_> = errors.iter().map(Error::reason).collect();
        assert_eq!(reasons, Error::REASONS.into());
    }
}
