//! Whether a repository is made or attached.
use model::{Reason, SnapshotId, result::Failure};

use crate::repository_access::{Found, same, still_there};

/// What `init` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make what is missing, bucket included.
    Make,
    /// Use the repository that is there.
    Attach,
}

/// Decides by what is there.
///
/// A config file makes a repository. Parts without one are never built upon:
/// with the config back they are readable, with a new one they are lost.
pub fn decide(
    found: Found,
    pinned: Option<&SnapshotId>,
    replace: Option<&SnapshotId>,
) -> Result<Step, Failure> {
    if let Some(pinned) = pinned.filter(|pinned| replace != Some(*pinned)) {
        return still_there(found, pinned).map(|()| Step::Attach);
    }
    match found {
        Found::Bucket(contents) if contents.config => Ok(Step::Attach),
        Found::Bucket(contents) if contents.is_half_made() => Err(half_made()),
        Found::Bucket(_) | Found::NoBucket => Ok(Step::Make),
    }
}

/// Decides whether the repository that was attached may be used.
pub fn accept(
    id: &SnapshotId,
    pinned: Option<&SnapshotId>,
    replace: Option<&SnapshotId>,
) -> Result<(), Failure> {
    match pinned {
        Some(pinned) if replace != Some(pinned) => same(id, pinned),
        _ => Ok(()),
    }
}

fn half_made() -> Failure {
    let message = "the folder holds parts of a repository but no config: bring the config back, \
                   or delete them if a first init was cut short, or choose another prefix";
    Failure::new(Reason::RepositoryHalfMade, message)
}

#[cfg(test)]
mod tests {
    use repository::Contents;
    use rstest::rstest;

    use super::*;

    const NOTHING: Contents =
        Contents { config: false, keys: false, data: false, index: false, snapshots: false };
    const WHOLE: Found = Found::Bucket(Contents { config: true, keys: true, ..NOTHING });
    const EMPTY: Found = Found::Bucket(NOTHING);
    const KEYS_ONLY: Found = Found::Bucket(Contents { keys: true, ..NOTHING });
    const DATA_ONLY: Found = Found::Bucket(Contents { data: true, ..NOTHING });

    fn id(digit: char) -> SnapshotId {
        digit.to_string().repeat(64).parse().expect("an id")
    }

    #[rstest]
    #[case::no_bucket(Found::NoBucket, Ok(Step::Make))]
    #[case::empty_bucket(EMPTY, Ok(Step::Make))]
    #[case::whole(WHOLE, Ok(Step::Attach))]
    #[case::config_without_keys(Found::Bucket(Contents { config: true, ..NOTHING }), Ok(Step::Attach))]
    #[case::keys_only(KEYS_ONLY, Err(Reason::RepositoryHalfMade))]
    #[case::data_only(DATA_ONLY, Err(Reason::RepositoryHalfMade))]
    fn at_first(#[case] found: Found, #[case] expected: Result<Step, Reason>) {
        assert_eq!(decide(found, None, None).map_err(|failure| failure.reason), expected);
    }

    #[rstest]
    #[case::no_bucket(Found::NoBucket, Err(Reason::RepositoryGone))]
    #[case::emptied(EMPTY, Err(Reason::RepositoryGone))]
    #[case::config_deleted(KEYS_ONLY, Err(Reason::RepositoryGone))]
    #[case::there(WHOLE, Ok(Step::Attach))]
    fn where_one_was_pinned(#[case] found: Found, #[case] expected: Result<Step, Reason>) {
        for replace in [None, Some(id('c'))] {
            let decided = decide(found, Some(&id('a')), replace.as_ref());
            assert_eq!(decided.map_err(|failure| failure.reason), expected, "replace {replace:?}");
        }
    }

    #[rstest]
    #[case::no_bucket(Found::NoBucket, Ok(Step::Make))]
    #[case::emptied(EMPTY, Ok(Step::Make))]
    #[case::another_one_there(WHOLE, Ok(Step::Attach))]
    #[case::half_made(KEYS_ONLY, Err(Reason::RepositoryHalfMade))]
    fn where_the_pinned_one_may_be_replaced(#[case] found: Found, #[case] expected: Result<Step, Reason>) {
        let decided = decide(found, Some(&id('a')), Some(&id('a')));
        assert_eq!(decided.map_err(|failure| failure.reason), expected);
    }

    #[rstest]
    #[case::first_time(None, None, true)]
    #[case::the_pinned_one(Some('b'), None, true)]
    #[case::another_one(Some('a'), None, false)]
    #[case::another_one_allowed(Some('a'), Some('a'), true)]
    #[case::permission_for_an_older_one(Some('a'), Some('c'), false)]
    fn the_attached_repository_b_is_accepted(
        #[case] pinned: Option<char>,
        #[case] replace: Option<char>,
        #[case] accepted: bool,
    ) {
        let outcome = accept(&id('b'), pinned.map(id).as_ref(), replace.map(id).as_ref());
        let expected = if accepted { Ok(()) } else { Err(Reason::RepositoryReplaced) };
        assert_eq!(outcome.map_err(|failure| failure.reason), expected);
    }
}
