//! What is wrong with a field.

/// One reason to refuse an object, said the way a user would look for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Violation {
    /// Path of the field, as a user would write it: `spec.extraHostPaths[2].path`.
    pub path: String,
    /// What was found and what is allowed, as the end of a sentence.
    pub problem: String,
}

impl Violation {
    /// A violation of the field at `path`.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}
