//! Controllers of metadata backup: where to, what and when, what came of it, and the way back.
pub mod location;
pub mod policy;
pub mod record;
pub mod restore;

use model::{Violation, result::Failure};

/// Everything that is wrong with an object, as one failure: a user corrects it in one round.
fn refusal(found: &[Violation]) -> Option<Failure> {
    let all: Vec<String> = found.iter().map(ToString::to_string).collect();
    found.first().map(|first| Failure::new(api::reason(first), all.join("; ")))
}

/// A failure in words: never empty, and with the field that it is about.
fn text(failure: &Failure) -> String {
    let message = if failure.message.is_empty() { failure.reason.meaning() } else { &failure.message };
    match &failure.field {
        Some(field) => format!("{field}: {message}"),
        None => message.to_owned(),
    }
}
