//! What `agent stream` tells the `agent backup` that restic stands between.
//!
//! ```text
//! agent backup ─▶ restic ─▶ agent stream ──file──▶ agent backup
//! ```
//!
//! restic only says that its command failed, not why.
use std::{fs, io, path::Path};

use capture::etcd::StreamFacts;
use model::{Reason, result::Failure};
use serde::{Deserialize, Serialize};

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Handover {
    /// Whole and undamaged.
    Whole(StreamFacts),
    /// Not so.
    Failed {
        /// Why, as one word.
        reason: Reason,
        /// Why, as a sentence.
        message: String,
        /// The field to look at.
        field: Option<String>,
    },
}

impl Handover {
    /// Of a failure.
    pub fn failed(failure: Failure) -> Self {
        let Failure { reason, message, field } = failure;
        Self::Failed { reason, message, field }
    }

    /// What was streamed, or why it was not.
    pub fn into_outcome(self) -> Result<StreamFacts, Failure> {
        match self {
            Self::Whole(facts) => Ok(facts),
            Self::Failed { reason, message, field } => Err(Failure { reason, message, field }),
        }
    }

    /// Leaves it for the parent, whole or not at all.
    pub fn leave(&self, file: &Path) -> io::Result<()> {
        let unfinished = file.with_extension("unfinished");
        fs::write(&unfinished, serde_json::to_vec(self)?)?;
        fs::rename(&unfinished, file)
    }

    /// Takes what the child left; none where it left nothing.
    pub fn take(file: &Path) -> Option<Self> {
        let text = fs::read(file).ok()?;
        _ = fs::remove_file(file);
        serde_json::from_slice(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_taken_once_as_it_was_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("0123456789abcdef.stream.json");
        let failure = Failure::new(Reason::SnapshotTruncated, "ended early").at("spec.etcdEndpoint");
        let contents = Err("the file has more bytes in one value than can be read".to_owned());
        let whole = Handover::Whole(StreamFacts { bytes: 1056, sha256: "ab".repeat(32), contents });
        for left in [Handover::failed(failure), whole] {
            left.leave(&file).expect("written");
            assert_eq!(Handover::take(&file), Some(left));
            assert_eq!(Handover::take(&file), None);
        }
    }
}
