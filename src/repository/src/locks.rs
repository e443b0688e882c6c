//! restic's locks, judged by the server's clock.
//!
//! ```text
//! list locks/ ─▶ age = Date of that answer - LastModified ─▶ delete what nobody renews ─▶ list again
//! ```
//!
//! `restic unlock` is never called: it judges by host name and process id, which
//! pods of one node share, and removes the lock of a backup that runs.
use std::time::Duration;

use jiff::Timestamp;
use model::{Reason, result::Failure};

use crate::{Bucket, Page};

/// Age at which a lock's owner is dead. restic renews every 5 minutes and calls
/// it stale at 30; the rest is for slow servers.
const DEAD: Duration = Duration::from_mins(45);

/// A lock that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its name: 64 hexadecimal digits.
    pub id: String,
    /// Time since it was last renewed, by the server's clock.
    pub age: Duration,
}

impl Lock {
    /// Whether nobody renews it any more.
    pub fn is_dead(&self) -> bool {
        self.age > DEAD
    }
}

/// Deletes the locks of restics that died, and returns those that live.
///
/// # Guarantees
///
/// Only a file with the name of a lock is deleted, and only if the very answer
/// that listed it was given 45 minutes after it was written. The node's clock
/// has no say.
pub async fn remove_stale_locks(bucket: &Bucket) -> Result<Vec<Lock>, Failure> {
    let (dead, _) = list(bucket).await?;
    for lock in &dead {
        tracing::warn!(
            lock = lock.id,
            age_seconds = lock.age.as_secs(),
            "its restic died: deleting the lock"
        );
        tell(lock, bucket.delete(&format!("locks/{}", lock.id)).await)?;
    }
    // What could not be deleted is still in restic's way, so it is told as well.
    let (left, alive) = list(bucket).await?;
    Ok(left.into_iter().chain(alive).collect())
}

/// Lets a lock be that may not be deleted.
///
/// Keys for backups need no right to delete: the lock is counted as there, and whoever
/// it is in the way of says so.
fn tell(lock: &Lock, deleted: Result<(), Failure>) -> Result<(), Failure> {
    match deleted {
        Err(failure) if matches!(failure.reason, Reason::AccessDenied | Reason::ObjectLocked) => {
            tracing::warn!(lock = lock.id, reason = %failure.reason, "not deleted: {}", failure.message);
            Ok(())
        }
        other => other,
    }
}

async fn list(bucket: &Bucket) -> Result<(Vec<Lock>, Vec<Lock>), Failure> {
    let mut locks = Ok(Vec::new());
    bucket
        .list("locks/", |page| {
            if let Ok(found) = &mut locks {
                match aged(&page) {
                    Some(more) => found.extend(more),
                    None => locks = Err(undated()),
                }
            }
        })
        .await?;
    Ok(locks?.into_iter().partition(Lock::is_dead))
}

fn undated() -> Failure {
    Failure::new(
        Reason::Unavailable,
        "the S3 server lists locks without saying when it did or when they were written",
    )
}

/// The locks of a page with their ages; none if the server does not say enough to judge.
fn aged(page: &Page) -> Option<Vec<Lock>> {
    let locks = page.objects.iter().filter_map(|object| Some((lock_id(&object.name)?, object.modified)));
    locks
        .map(|(id, modified)| Some(Lock { id: id.to_owned(), age: age(modified?, page.answered?) }))
        .collect()
}

/// Time since `modified`; zero if that lies ahead.
fn age(modified: Timestamp, answered: Timestamp) -> Duration {
    Duration::try_from(answered.duration_since(modified)).unwrap_or_default()
}

fn lock_id(name: &str) -> Option<&str> {
    let id = name.strip_prefix("locks/")?;
    let is_hex = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (id.len() == 64 && is_hex).then_some(id)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::Object;

    fn page(name: &str, modified: Option<&str>, answered: Option<&str>) -> Page {
        let time = |text: &str| text.parse().expect("a timestamp");
        Page {
            objects: vec![Object { name: name.to_owned(), size: 100, modified: modified.map(time) }],
            answered: answered.map(time),
        }
    }

    fn name() -> String {
        format!("locks/{}", "0f".repeat(32))
    }

    #[rstest]
    #[case::fresh("2030-01-01T10:00:00Z", "2030-01-01T10:00:01Z", false)]
    #[case::stale_to_restic_but_not_to_us("2030-01-01T10:00:00Z", "2030-01-01T10:31:00Z", false)]
    #[case::just_not("2030-01-01T10:00:00Z", "2030-01-01T10:45:00Z", false)]
    #[case::dead("2030-01-01T10:00:00Z", "2030-01-01T10:45:01Z", true)]
    #[case::from_the_future("2030-01-01T12:00:00Z", "2030-01-01T10:00:00Z", false)]
    fn a_lock_is_dead(#[case] modified: &str, #[case] answered: &str, #[case] dead: bool) {
        let locks = aged(&page(&name(), Some(modified), Some(answered))).expect("dated");
        assert_eq!(locks[0].age > DEAD, dead);
    }

    #[rstest]
    #[case::deleted(Ok(()), Ok(()))]
    #[case::not_allowed(Err(Reason::AccessDenied), Ok(()))]
    #[case::object_lock(Err(Reason::ObjectLocked), Ok(()))]
    #[case::server_gone(Err(Reason::ConnectionRefused), Err(Reason::ConnectionRefused))]
    fn a_lock_that_may_not_be_deleted_stops_nothing(
        #[case] deleted: Result<(), Reason>,
        #[case] expected: Result<(), Reason>,
    ) {
        let lock = Lock { id: "0f".repeat(32), age: DEAD };
        let told = tell(&lock, deleted.map_err(|reason| Failure::new(reason, "")));
        assert_eq!(told.map_err(|failure| failure.reason), expected);
    }

    #[rstest]
    #[case::other_folder("data/00/0f")]
    #[case::short("locks/0f")]
    #[case::upper_case(&format!("locks/{}", "0F".repeat(32)))]
    #[case::deeper(&format!("locks/a/{}", "0f".repeat(31)))]
    #[case::no_hex(&format!("locks/{}", "0g".repeat(32)))]
    fn what_has_not_the_name_of_a_lock_is_not_touched(#[case] name: &str) {
        let page = page(name, Some("2000-01-01T00:00:00Z"), Some("2030-01-01T00:00:00Z"));
        assert_eq!(aged(&page), Some(Vec::new()));
    }

    #[rstest]
    #[case::no_date_of_the_answer(Some("2000-01-01T00:00:00Z"), None)]
    #[case::no_date_of_the_lock(None, Some("2030-01-01T00:00:00Z"))]
    fn a_server_that_hides_its_clock_is_not_guessed_about(
        #[case] modified: Option<&str>,
        #[case] answered: Option<&str>,
    ) {
        assert_eq!(aged(&page(&name(), modified, answered)), None);
    }
}
