//! The repository of a run: how it is reached, and that it is the right one.
use model::{Reason, SnapshotId, result::Failure};
use repository::{Access, Bucket, Contents, Opened, Restic, attach, remove_stale_locks};

use crate::{config::Place, run::Run};

/// What talks to the repository.
pub struct Repository {
    /// Stops when the run does.
    pub restic: Restic,
    /// Goes on when the run stops: for what must not be left half done.
    pub finisher: Restic,
    /// The bucket.
    pub bucket: Bucket,
    /// What restic calls the place: server, bucket and folder.
    place: String,
}

/// What is in the place of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not even a bucket.
    NoBucket,
    /// A bucket with these parts of a repository.
    Bucket(Contents),
}

impl Repository {
    /// Reads the Secret; asks nobody yet.
    pub fn new(place: &Place, run: &Run) -> Result<Self, Failure> {
        let credentials = place.secrets.bucket_credentials()?;
        let access = Access { store: place.store.clone(), credentials, ca_file: place.ca_file.clone() };
        let finisher = Restic::new(&access, &place.mounts.work()).handing_on(place.secrets.names());
        let restic = finisher.clone().stopped_by(run.stop());
        Ok(Self { restic, finisher, bucket: Bucket::new(&access)?, place: place.store.repository() })
    }

    /// Looks what is there; a missing bucket is a finding.
    pub async fn look(&self) -> Result<Found, Failure> {
        match self.bucket.contents().await {
            Ok(contents) => Ok(Found::Bucket(contents)),
            Err(failure) if failure.reason == Reason::BucketMissing => Ok(Found::NoBucket),
            Err(failure) => Err(failure),
        }
    }

    /// A failure that is about what is in this place, with its name.
    pub fn named(&self, failure: Failure) -> Failure {
        with_place(&self.place, failure)
    }

    /// Opens the pinned repository, or the one that is there where none was, and clears the locks of those that died.
    ///
    /// # Errors
    ///
    /// `RepositoryGone` and `RepositoryReplaced`: nothing is made or written then.
    pub async fn open(&self, pinned: Option<&SnapshotId>, run: &Run) -> Result<Opened, Failure> {
        let opening = async {
            if let Some(pinned) = pinned {
                still_there(self.look().await?, pinned)?;
            }
            let opened = attach(&self.restic, &self.bucket).await?;
            if let Some(pinned) = pinned {
                same(opened.id(), pinned)?;
            } else {
                tracing::warn!(repository = %opened.id(), "no id was given: the repository that is there is taken");
            }
            for lock in remove_stale_locks(&self.bucket).await? {
                tracing::info!(lock = lock.id, age = ?lock.age, "another restic works on the repository");
            }
            Ok(opened)
        };
        run.unless_stopped(opening).await.map_err(|failure| self.named(failure))
    }
}

fn with_place(place: &str, failure: Failure) -> Failure {
    let is_of_it = matches!(
        failure.reason,
        Reason::RepositoryGone | Reason::RepositoryReplaced | Reason::RepositoryHalfMade
    );
    if !is_of_it || failure.message.contains(place) {
        return failure;
    }
    Failure { message: format!("{place}: {}", failure.message), ..failure }
}

/// Whether there is a repository at all where one was pinned.
pub fn still_there(found: Found, pinned: &SnapshotId) -> Result<(), Failure> {
    let what = match found {
        Found::Bucket(contents) if contents.config => return Ok(()),
        Found::Bucket(contents) if contents.is_half_made() => {
            "the folder holds parts of a repository but no config"
        }
        Found::Bucket(_) => "the folder holds no repository",
        Found::NoBucket => "the bucket does not exist",
    };
    let message = format!("the repository {} is not there any more: {what}", pinned.short());
    Err(Failure::new(Reason::RepositoryGone, message))
}

/// Whether the repository is the pinned one.
pub fn same(found: &SnapshotId, pinned: &SnapshotId) -> Result<(), Failure> {
    if found == pinned {
        return Ok(());
    }
    let message = format!("the repository {found} is in the place of {pinned}");
    Err(Failure::new(Reason::RepositoryReplaced, message))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn id(digit: char) -> SnapshotId {
        digit.to_string().repeat(64).parse().expect("an id")
    }

    #[rstest]
    #[case::whole(Found::Bucket(Contents { config: true, keys: true, ..Contents::default() }), None)]
    #[case::bucket_deleted(Found::NoBucket, Some(Reason::RepositoryGone))]
    #[case::bucket_emptied(Found::Bucket(Contents::default()), Some(Reason::RepositoryGone))]
    #[case::config_deleted(
        Found::Bucket(Contents { keys: true, data: true, ..Contents::default() }),
        Some(Reason::RepositoryGone)
    )]
    fn a_pinned_repository_must_be_there(#[case] found: Found, #[case] reason: Option<Reason>) {
        assert_eq!(still_there(found, &id('a')).err().map(|failure| failure.reason), reason);
    }

    #[test]
    fn another_repository_is_not_the_pinned_one() {
        assert_eq!(same(&id('a'), &id('a')), Ok(()));
        let failure = same(&id('b'), &id('a')).expect_err("another");
        assert_eq!(failure.reason, Reason::RepositoryReplaced);
    }

    #[test]
    fn a_repository_that_is_not_meant_is_named_with_its_place() {
        let place = "s3:https://s3.example.org/b";
        let replaced = with_place(place, same(&id('b'), &id('a')).expect_err("another"));
        assert!(replaced.message.starts_with(&format!("{place}: the repository b")), "{replaced}");
        assert_eq!(with_place(place, replaced.clone()), replaced, "once");
        let other = Failure::new(Reason::WrongPassword, "no key found");
        assert_eq!(with_place(place, other.clone()), other);
    }
}
