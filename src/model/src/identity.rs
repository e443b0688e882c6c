//! Names of stored things, known to be well formed.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A text that is not the lower-case hexadecimal id it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {expected} lower-case hexadecimal digits")]
pub struct MalformedId {
    found: String,
    expected: usize,
}

fn check(text: &str, expected: usize) -> Result<(), MalformedId> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex && text.len() == expected {
        return Ok(());
    }
    // Found text may come from a node: only its beginning is repeated.
    Err(MalformedId { found: text.chars().take(80).collect(), expected })
}

macro_rules! hexadecimal_id {
    ($(#[$meta:meta])* $name:ident, $digits:literal) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as lower-case hexadecimal digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                check(text, $digits).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                check(&text, $digits).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

hexadecimal_id!(
    /// Full id of a restic snapshot or of a repository's config: 64 digits (SHA-256).
    SnapshotId,
    64
);

hexadecimal_id!(
    /// Id of one backup, the pair of its two snapshots: 16 digits, random.
    BackupId,
    16
);

impl SnapshotId {
    /// The first eight digits, which restic prints and `spec.snapshotId` holds.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::too_short("abc")]
    #[case::upper_case("ABCDEF0123456789")]
    #[case::path("../../../../../..")]
    #[case::empty("")]
    fn refuses(#[case] text: &str) {
        text.parse::<BackupId>().expect_err("malformed");
        text.parse::<SnapshotId>().expect_err("malformed");
    }

    #[test]
    fn short_id_is_what_restic_prints() {
        let id: SnapshotId = "9a9808ce".repeat(8).parse().expect("64 digits");
        assert_eq!(id.short(), "9a9808ce");
    }

    #[test]
    fn json_with_a_malformed_id_is_refused() {
        serde_json::from_str::<BackupId>("\"zz\"").expect_err("malformed");
    }
}
