//! Conditions: each owned one always present, its time kept while its status stays.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use model::Reason;
use serde_json::{Value, json};

use crate::Error;

/// The one condition that every kind has.
pub const READY: &str = "Ready";
/// kstatus: kubedr is still at it. Present only while true.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: only a person can end it. Present only while true.
pub const STALLED: &str = "Stalled";

/// Longest message: the limit of the API server is 32,768 bytes, an object of many must stay small.
const MAX_MESSAGE: usize = 4096;

/// What is to be said about one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// True is good; nothing stands for Unknown.
    pub holds: Option<bool>,
    /// Why, as one word.
    pub reason: Reason,
    /// Why, for a human.
    pub message: String,
    /// The generation that was judged, where it was judged before: what is only said again must
    /// not pass for a judgement of a spec that nobody tried.
    pub generation: Option<i64>,
}

impl Verdict {
    /// It is as it should be.
    pub fn good(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(true), reason, message: message.into(), generation: None }
    }

    /// It is not.
    pub fn bad(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(false), reason, message: message.into(), generation: None }
    }

    /// Nobody knows yet.
    pub fn pending(message: impl Into<String>) -> Self {
        Self { holds: None, reason: Reason::Pending, message: message.into(), generation: None }
    }

    /// What a stored condition said; Pending where there is none.
    pub fn stored(conditions: &[Condition], type_: &str) -> Self {
        let Some(found) = find(conditions, type_) else { return Self::pending("not known yet") };
        let holds = match found.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        let reason = found.reason.parse().unwrap_or(Reason::Unknown);
        Self { holds, reason, message: found.message.clone(), generation: found.observed_generation }
    }

    /// Whether it says other than a stored condition did, so that it is news.
    pub fn is_news(&self, conditions: &[Condition], type_: &str) -> bool {
        let Some(found) = find(conditions, type_) else { return true };
        found.status != self.status() || found.reason != self.reason.as_str()
    }

    fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// Finds a condition by its type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// What the conditions of one object are written on.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The conditions that are stored now.
    pub previous: &'a [Condition],
    /// Generation of the object that was looked at.
    pub generation: Option<i64>,
    /// The moment of looking.
    pub now: Timestamp,
}

impl Page<'_> {
    /// The conditions to store, in the order given, with kstatus' two at the end.
    ///
    /// `Reconciling` or `Stalled`, never both, follow from `Ready`: what only a person
    /// can end is stalled, everything else that is not ready is being worked at.
    pub fn write(&self, verdicts: &[(&str, Verdict)]) -> Vec<Condition> {
        let mut conditions: Vec<_> = verdicts.iter().map(|(type_, said)| self.one(type_, said)).collect();
        let ready = verdicts.iter().find(|(type_, _)| *type_ == READY).map(|(_, said)| said);
        if let Some(ready) = ready.filter(|said| said.holds != Some(true)) {
            let stalled = ready.holds == Some(false) && ready.reason.needs_a_person();
            let type_ = if stalled { STALLED } else { RECONCILING };
            let said = Verdict { holds: Some(true), ..ready.clone() };
            conditions.push(self.one(type_, &said));
        }
        conditions
    }

    fn one(&self, type_: &str, said: &Verdict) -> Condition {
        let same = find(self.previous, type_).filter(|found| found.status == said.status());
        // Stored times have whole seconds: more would make each status differ from itself.
        let second = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        Condition {
            type_: type_.to_owned(),
            status: said.status().to_owned(),
            reason: said.reason.to_string(),
            message: cut(&said.message, MAX_MESSAGE),
            observed_generation: said.generation.or(self.generation),
            last_transition_time: same.map_or(Time(second), |found| found.last_transition_time.clone()),
        }
    }
}

/// The conditions of a status, as it is stored or sent.
pub(crate) fn of(status: &Value) -> Vec<Condition> {
    let list = status.get("conditions").cloned();
    list.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default()
}

/// The status of an object whose reconcile failed: `Ready` says why, the rest is as in `told`.
///
/// Conditions in `owned` that nobody has written yet are added as Unknown, so that a
/// failure of the first reconcile leaves no condition out.
pub(crate) fn failed(page: &Page, told: &Value, owned: &[&str], error: &Error) -> Value {
    let said = of(told);
    let verdict = |type_: &str| {
        let is_ready = type_ == READY;
        if is_ready {
            Verdict::bad(error.reason(), model::chain(error))
        } else {
            Verdict::stored(&said, type_)
        }
    };
    let verdicts: Vec<_> = owned.iter().map(|type_| (*type_, verdict(type_))).collect();
    let mut status = if told.is_object() { told.clone() } else { json!({}) };
    status["observedGeneration"] = json!(page.generation);
    status["conditions"] = json!(page.write(&verdicts));
    status
}

/// The text, or its beginning where it is longer than `most` bytes.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most.saturating_sub('…'.len_utf8()))])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().expect("a timestamp")
    }

    fn page<'a>(previous: &'a [Condition], now: &str) -> Page<'a> {
        Page { previous, generation: Some(3), now: at(now) }
    }

    #[test]
    fn the_time_is_kept_while_the_status_stays_and_renewed_when_it_changes() {
        let bad = Verdict::bad(Reason::ConnectionRefused, "dead");
        let first = page(&[], "2030-01-01T00:00:00.5Z").write(&[(READY, bad)]);
        let other = Verdict::bad(Reason::HostNotFound, "no such host");
        let second = page(&first, "2030-01-01T00:01:00Z").write(&[(READY, other)]);
        assert_eq!(second[0].last_transition_time.0, at("2030-01-01T00:00:00Z"));
        assert_eq!(second[0].reason, "HostNotFound");
        let good = Verdict::good(Reason::Ready, "");
        let third = page(&second, "2030-01-01T00:02:00Z").write(&[(READY, good)]);
        assert_eq!(third[0].last_transition_time.0, at("2030-01-01T00:02:00Z"));
    }

    #[rstest]
    #[case::ready_is_neither(Verdict::good(Reason::Ready, ""), None)]
    #[case::suspended_is_neither(Verdict::good(Reason::Suspended, ""), None)]
    #[case::unknown_is_worked_at(Verdict::pending(""), Some(RECONCILING))]
    #[case::a_dead_server_is_worked_at(Verdict::bad(Reason::ConnectionRefused, ""), Some(RECONCILING))]
    #[case::a_missing_destination_is_waited_for(
        Verdict::bad(Reason::DestinationMissing, ""),
        Some(RECONCILING)
    )]
    #[case::a_wrong_password_waits_for_a_person(Verdict::bad(Reason::WrongPassword, ""), Some(STALLED))]
    #[case::a_wrong_spec_waits_for_a_person(Verdict::bad(Reason::InvalidSpec, ""), Some(STALLED))]
    fn kstatus_of(#[case] ready: Verdict, #[case] expected: Option<&str>) {
        let written = page(&[], "2030-01-01T00:00:00Z").write(&[(READY, ready)]);
        let added: Vec<_> = written[1..].iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(added, expected.into_iter().collect::<Vec<_>>());
        assert!(written[1..].iter().all(|condition| condition.status == "True"));
    }

    #[test]
    fn a_failed_reconcile_changes_ready_and_leaves_the_rest() {
        let error = Error::NameTaken { kind: "Job".to_owned(), name: "a".to_owned() };
        let fresh =
            page(&[], "2030-01-01T00:00:00Z").write(&[("Fresh", Verdict::good(Reason::Fresh, "new"))]);
        let stored = json!({ "backupPod": "p", "conditions": fresh });
        let owned = [READY, "Fresh", "Proven"];
        let later = |previous| Page { generation: Some(4), ..page(previous, "2030-01-01T01:00:00Z") };
        let status = failed(&later(&fresh), &stored, &owned, &error);
        assert_eq!(status["backupPod"], "p");
        let conditions = of(&status);
        let said: Vec<_> = conditions
            .iter()
            .map(|found| (found.type_.as_str(), found.status.as_str(), found.reason.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                ("Ready", "False", "NameTaken"),
                ("Fresh", "True", "Fresh"),
                ("Proven", "Unknown", "Pending"),
                ("Reconciling", "True", "NameTaken"),
            ]
        );
        assert_eq!(failed(&later(&conditions), &status, &owned, &error), status);
    }

    #[test]
    fn what_is_only_said_again_keeps_the_generation_that_it_was_said_of() {
        let first =
            page(&[], "2030-01-01T00:00:00Z").write(&[("Fresh", Verdict::good(Reason::Fresh, "new"))]);
        let changed = Page { generation: Some(4), ..page(&first, "2030-01-01T01:00:00Z") };
        let again =
            changed.write(&[("Fresh", Verdict::stored(&first, "Fresh")), (READY, Verdict::pending(""))]);
        let generations: Vec<_> = again.iter().map(|one| one.observed_generation).collect();
        assert_eq!(generations, [Some(3), Some(4), Some(4)]);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        assert_eq!(cut("äöü", 6), "äöü");
        assert_eq!(cut("äöüä", 7), "äö…");
    }
}
