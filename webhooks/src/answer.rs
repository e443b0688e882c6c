//! What the API server is told: allowed, with warnings, or refused with everything that is wrong.
use model::{Violation, line};
use serde::Serialize;

use crate::review::{API_VERSION, KIND, Malformed};

/// Longest thing that is said of one field, bytes: a path may have 1024.
const LONGEST_CAUSE: usize = 2048;
/// Longest warning, bytes: the API server cuts off what is behind that.
const LONGEST_WARNING: usize = 256;
/// Most things that are said at once; no object that the schema lets through has more flaws.
const MOST: usize = 64;
/// HTTP's and Kubernetes' words for an object that is not valid: `kubectl` shows its causes line by line.
const INVALID: (u16, &str) = (422, "Invalid");
const FAILURE: &str = "Failure";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Everything for which the request is refused.
    pub refused: Vec<Violation>,
    /// What a person should know of a request that is not refused.
    pub warnings: Vec<Violation>,
}

/// An answer, and what it says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// What is wrong with it, where it is not.
    pub message: String,
    /// An `AdmissionReview`, as JSON.
    pub json: Vec<u8>,
}

/// The object that a verdict is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Its name, empty where it has none yet.
    pub name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: &'a Response<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Status<'a> {
    #[serde(rename = "status")]
    outcome: &'static str,
    code: u16,
    reason: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

#[derive(Serialize)]
struct Details<'a> {
    group: &'static str,
    kind: &'a str,
    name: &'a str,
    causes: Vec<Cause<'a>>,
}

#[derive(Serialize)]
struct Cause<'a> {
    /// A word of docs/reasons.md.
    reason: &'static str,
    field: &'a str,
    message: String,
}

impl Verdict {
    /// The answer that says it.
    pub fn answer(&self, uid: &str, subject: Subject) -> Answer {
        if self.refused.is_empty() {
            return self.allowed(uid);
        }
        let message = self.message();
        let name = line::of(subject.name, LONGEST_WARNING);
        let causes = self.refused.iter().take(MOST).map(cause).collect();
        let details = Details { group: api::GROUP, kind: subject.kind, name: &name, causes };
        let (code, reason) = INVALID;
        let status = Status { outcome: FAILURE, code, reason, message: &message, details: Some(details) };
        let json = written(&Response { uid, allowed: false, status: Some(status), warnings: &[] });
        Answer { allowed: false, message, json }
    }

    fn allowed(&self, uid: &str) -> Answer {
        let shown = self.warnings.iter().take(MOST);
        let warnings: Vec<String> =
            shown.map(|warning| line::of(&warning.to_string(), LONGEST_WARNING)).collect();
        let json = written(&Response { uid, allowed: true, status: None, warnings: &warnings });
        Answer { allowed: true, message: String::new(), json }
    }

    /// The word for the first flaw, and all of them: a user corrects them in one round.
    fn message(&self) -> String {
        let word = self.refused.first().map_or("", |first| api::reason(first).as_str());
        let all: Vec<String> = self.refused.iter().take(MOST).map(said).collect();
        let more = self.refused.len().saturating_sub(MOST);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{word}: {}{more}", all.join("; "))
    }
}

impl Malformed {
    /// The answer that says it.
    pub fn answer(&self, uid: &str) -> Answer {
        let message = line::of(&model::chain(self), LONGEST_CAUSE);
        let (code, reason) = (self.code(), self.word());
        let status = Status { outcome: FAILURE, code, reason, message: &message, details: None };
        let json = written(&Response { uid, allowed: false, status: Some(status), warnings: &[] });
        Answer { allowed: false, message, json }
    }
}

fn said(violation: &Violation) -> String {
    line::of(&violation.to_string(), LONGEST_CAUSE)
}

fn cause(violation: &Violation) -> Cause<'_> {
    Cause {
        reason: api::reason(violation).as_str(),
        field: &violation.path,
        message: line::of(&violation.problem, LONGEST_CAUSE),
    }
}

fn written(response: &Response) -> Vec<u8> {
    let mut json = Vec::with_capacity(256);
    let review = Review { api_version: API_VERSION, kind: KIND, response };
    serde_json::to_writer(&mut json, &review).expect("words and numbers are JSON");
    json
}
