//! Controllers of metadata backup: where to, what and when, what came of it, and the way back.
pub mod destinations;
pub mod location;
pub mod outside;
pub mod policy;
pub mod record;
pub mod restore;

use model::{Violation, result::Failure};
use runtime::Complaint;

/// What the controller of a kind says on an object when a look at it fails, besides in these conditions.
const fn complaint<K: outside::Kind>(conditions: &'static [&'static str]) -> Complaint {
    let (event, work) = K::EVENT;
    Complaint { conditions, event, action: work.verb() }
}

/// Everything that is wrong with an object, as one failure: a user corrects it in one round.
fn refusal(found: &[Violation]) -> Option<Failure> {
    let all: Vec<String> = found.iter().map(ToString::to_string).collect();
    found.first().map(|first| Failure::new(api::reason(first), all.join("; ")))
}

/// A failure in words: never empty, with the field that it is about, and with what to do.
fn text(failure: &Failure) -> String {
    let found = if failure.message.is_empty() { failure.reason.meaning() } else { &failure.message };
    let advice = failure.reason.advice();
    let message = if found.contains(advice) {
        found.to_owned()
    } else {
        format!("{}. {advice}", found.trim_end_matches('.'))
    };
    match &failure.field {
        Some(field) => format!("{field}: {message}"),
        None => message,
    }
}
