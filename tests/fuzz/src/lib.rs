//! What must hold whatever comes from outside: from a node, from etcd, from whoever writes tags and schedules, or
//! sends reviews.
//!
//! ```text
//! libFuzzer, or a seed in a test ──▶ bytes ──▶ Target::check ──▶ a panic where a promise does not hold
//! ```
//!
//! Plain code that knows nothing of libFuzzer, so that `cargo test` holds the seeds to it too.
mod contents;
mod result;
mod review;
mod schedule;
mod tags;

/// The variable that tells the fuzzing program its target.
pub const VARIABLE: &str = "KUBEDR_FUZZ";

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Termination messages of pods.
    Result,
    /// Files that etcd sends.
    Snapshot,
    /// Schedules, and what follows from them.
    Schedule,
    /// Tags of a repository's snapshots.
    Tags,
    /// Bodies of requests to webhooks.
    Review,
}

impl Target {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Result, Self::Snapshot, Self::Schedule, Self::Tags, Self::Review];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Snapshot => "snapshot",
            Self::Schedule => "schedule",
            Self::Tags => "tags",
            Self::Review => "review",
        }
    }

    /// The one of that name.
    pub fn called(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Tries an input.
    ///
    /// # Panics
    ///
    /// Where a promise does not hold.
    pub fn check(self, input: &[u8]) {
        match self {
            Self::Result => result::check(input),
            Self::Snapshot => contents::check(input),
            Self::Schedule => schedule::check(input),
            Self::Tags => tags::check(input),
            Self::Review => review::check(input),
        }
    }

    /// Inputs to begin with: such as are accepted, and some that are not.
    pub fn seeds(self) -> Vec<Vec<u8>> {
        match self {
            Self::Result => result::seeds(),
            Self::Snapshot => contents::seeds(),
            Self::Schedule => schedule::seeds(),
            Self::Tags => tags::seeds(),
            Self::Review => review::seeds(),
        }
    }
}

/// Whether a text may stand in a condition: no more than so many bytes, and nothing that a terminal obeys.
fn is_line(text: &str, most: usize) -> bool {
    let is_shown =
        |character: char| !character.is_control() && !('\u{2028}'..='\u{202e}').contains(&character);
    text.len() <= most && text.chars().all(is_shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_keep_every_promise() {
        for target in Target::ALL {
            assert!(target.seeds().len() > 1, "{target:?}");
            target.seeds().iter().for_each(|seed| target.check(seed));
        }
    }

    #[test]
    fn parts_of_seeds_keep_every_promise() {
        for target in Target::ALL {
            for seed in target.seeds() {
                for end in (0..seed.len()).step_by(seed.len() / 50 + 1) {
                    target.check(&seed[..end]);
                    target.check(&seed[end..]);
                }
            }
        }
    }

    #[test]
    fn a_target_is_found_by_its_name() {
        for target in Target::ALL {
            assert_eq!(Target::called(target.name()), Some(target));
        }
        assert_eq!(Target::called("nothing"), None);
    }
}
