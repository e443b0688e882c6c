//! restic's locks, judged by the server's clock.
use std::time::Duration;

use model::result::Failure;

use crate::Bucket;

/// A lock that somebody renews.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its name: 64 hexadecimal digits.
    pub id: String,
    /// Time since it was last renewed, by the server's clock.
    pub age: Duration,
}

/// Deletes the locks of restics that died, and returns those that live.
pub async fn remove_stale_locks(_bucket: &Bucket) -> Result<Vec<Lock>, Failure> {
    todo!()
}
