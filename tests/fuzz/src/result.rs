//! A termination message, as whoever has a node may write it.
use model::{
    Reason, SnapshotId,
    result::{Backup, Failure, Forgotten, Initialization, Lack, MAX_BYTES, Outcome, parse, render},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::is_line;

/// The longest text of a result: what a failure says.
const LONGEST: usize = 2048;
/// The longest path that a backup tells, and most of them.
const LONGEST_PATH: usize = 512;
const MOST_PATHS: usize = 4;
/// The field that is not read back to the last bit.
const DURATION: &str = "totalDurationSecs";

/// What begins an input that is no text, but changes to a whole result.
const CHANGES: u8 = 0;
/// The fields that are changed so.
const FIELDS: [&str; 23] = [
    "/ok",
    "/reason",
    "/message",
    "/field",
    "/backupId",
    "/snapshotId",
    "/filesSnapshotId",
    "/repositoryId",
    "/lineage",
    "/time",
    "/node",
    "/clusterUid",
    "/etcd/version",
    "/etcd/clusterId",
    "/etcd/memberId",
    "/etcd/revision",
    "/etcd/sha256",
    "/dataAdded",
    "/totalDurationSecs",
    "/objects",
    "/incomplete/reason",
    "/incomplete/message",
    "/encryptionConfigs",
];

/// No result is one of each verb, and whichever it is must not be read in a way that the others are.
pub fn check(input: &[u8]) {
    let text = text(input);
    let believed = [
        is_believed::<Initialization>("init", &text),
        is_believed::<Forgotten>("forget", &text),
        is_believed::<Backup>("backup", &text),
    ];
    assert!(believed.into_iter().filter(|is_believed| *is_believed).count() <= 1, "of two verbs");
}

/// The text of an input: itself, or a result of which some fields are others, since few mutations of a long text leave
/// it one that is read to its end.
fn text(input: &[u8]) -> String {
    let Some((&CHANGES, changes)) = input.split_first() else {
        return String::from_utf8_lossy(input).into_owned();
    };
    let mut result = incomplete();
    for change in changes.split(|byte| *byte == CHANGES) {
        let Some((field, value)) = change.split_first() else { continue };
        let value =
            serde_json::from_slice(value).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(value)));
        if let Some(place) = result.pointer_mut(FIELDS[usize::from(*field) % FIELDS.len()]) {
            *place = value;
        }
    }
    result.to_string()
}

/// Reads a result, holds what was read to all promises, and tells whether it is a success.
fn is_believed<Success: Serialize + DeserializeOwned>(verb: &str, text: &str) -> bool {
    let outcome = parse::<Success>(verb, text);
    match &outcome {
        Ok(_) => is_claimed(verb, text),
        Err(failure) => is_told(failure),
    }
    let written = render(verb, &outcome);
    assert!(written.len() <= MAX_BYTES, "{} bytes", written.len());
    let again = render(verb, &parse::<Success>(verb, &written));
    assert_eq!(without_duration(&again), without_duration(&written), "read and written again");
    check_texts(&without_duration(&written));
    outcome.is_ok()
}

/// A success is one that says so in so many words.
fn is_claimed(verb: &str, text: &str) {
    let claimed: Value = serde_json::from_str(text).expect("JSON was believed");
    assert_eq!((&claimed["v"], &claimed["ok"]), (&Value::from(1), &Value::from(true)));
    assert_eq!(claimed["verb"], verb);
    assert!(text.len() <= MAX_BYTES);
    let ids: &[&str] = match verb {
        "init" => &["/repositoryId"],
        "backup" => &["/repositoryId", "/snapshotId", "/filesSnapshotId", "/etcd/sha256"],
        _ => &[],
    };
    for id in ids {
        let found = claimed.pointer(id).and_then(Value::as_str);
        assert!(found.is_some_and(|text| text.parse::<SnapshotId>().is_ok()), "{id}: {found:?}");
    }
}

fn is_told(failure: &Failure) {
    assert_ne!(failure.reason.exit_code(), 0, "a failure whose reason is none");
    assert!(is_line(&failure.message, LONGEST), "{:?}", failure.message);
    assert!(failure.field.as_deref().is_none_or(|field| is_line(field, 512) && !field.is_empty()));
}

fn without_duration(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).expect("results are JSON");
    if let Some(seconds) = value.as_object_mut().and_then(|fields| fields.remove(DURATION)) {
        let seconds = seconds.as_f64().expect("a number");
        assert!((0.0..=366.0 * 86_400.0).contains(&seconds), "{seconds}");
    }
    value
}

fn check_texts(value: &Value) {
    match value {
        Value::String(text) => assert!(is_line(text, LONGEST), "{text:?}"),
        Value::Object(fields) => fields.values().for_each(check_texts),
        Value::Array(paths) => assert!(paths.len() <= MOST_PATHS && paths.iter().all(is_path), "{paths:?}"),
        _ => {}
    }
}

fn is_path(value: &Value) -> bool {
    value.as_str().is_some_and(|path| path.starts_with('/') && is_line(path, LONGEST_PATH))
}

pub fn seeds() -> Vec<Vec<u8>> {
    let initialized: Outcome<_> = Ok(Initialization { repository_id: id(), created: true });
    let failed: Outcome<Forgotten> =
        Err(Failure::new(Reason::WrongPassword, "Secret \"s3\": no key found").at("spec.credentials"));
    let backup = backup().to_string();
    let texts = [
        render("init", &initialized),
        render("forget", &failed),
        render("forget", &Ok(Forgotten { forgotten: 3 })),
        incomplete().to_string(),
        changed(&[
            ("/node", "n2"),
            ("/incomplete/message", "vault \"a\"\u{7f}"),
            ("/totalDurationSecs", "1e3"),
        ]),
        changed(&[("/ok", "false"), ("/reason", "Bug"), ("/message", "\u{9b}2J"), ("/field", "spec\n")]),
        changed(&[("/etcd/version", "3.6\u{202e}"), ("/time", "1970-01-01T00:00:00Z")]),
        changed(&[("/clusterUid", "\u{7f}"), ("/etcd/memberId", "e2"), ("/etcd/clusterId", "c2")]),
        // Longer than a termination message, and whole but for that.
        format!("{backup:5000}"),
        backup,
        r#"{"v":1,"verb":"backup","ok":false,"reason":"Bug","message":"\u001b[2J\n","field":"\u0007"}"#
            .to_owned(),
    ];
    texts.map(String::into_bytes).into()
}

fn changed(changes: &[(&str, &str)]) -> String {
    let change = |(field, value): &(&str, &str)| {
        // None is told by 0, which divides changes.
        let number = FIELDS.iter().position(|known| known == field).expect("a field") + FIELDS.len();
        format!("\0{}{value}", char::from(u8::try_from(number).expect("few fields")))
    };
    changes.iter().map(change).collect()
}

fn id() -> SnapshotId {
    "ab".repeat(32).parse().expect("64 digits")
}

/// A result with each field that one may have, those of a failure too.
fn incomplete() -> Value {
    let mut result = backup();
    result["incomplete"] =
        serde_json::to_value(Lack::new(Reason::NeedsKms, "vault")).expect("a lack is JSON");
    result["encryptionConfigs"] = serde_json::json!(["/etc/kubernetes/encryption.yaml"]);
    for field in ["reason", "message", "field"] {
        result[field] = Value::Null;
    }
    result
}

/// What an agent leaves of a backup: the one of the tests of `model`, which would be built twice for a feature.
fn backup() -> Value {
    serde_json::from_str(include_str!("../../../src/model/src/result/backup.json")).expect("JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_make_another_result() {
        let parsed = |text: &str| parse::<Backup>("backup", text);
        let other =
            parsed(&text(changed(&[("/node", "n2"), ("/dataAdded", "7")]).as_bytes())).expect("a backup");
        assert_eq!((other.node.as_str(), other.data_added), ("n2", 7));
        let failed = text(changed(&[("/ok", "false"), ("/reason", "Bug"), ("/field", "f")]).as_bytes());
        assert_eq!(parsed(&failed).expect_err("a failure"), Failure::new(Reason::Bug, "").at("f"));
    }

    #[test]
    fn the_seeds_are_of_each_verb() {
        let is_of = |seed: &[u8]| {
            let text = text(seed);
            [
                is_believed::<Initialization>("init", &text),
                is_believed::<Forgotten>("forget", &text),
                is_believed::<Backup>("backup", &text),
            ]
        };
        let all: Vec<_> = seeds().iter().map(|seed| is_of(seed)).collect();
        for verb in 0..3 {
            assert!(all.iter().any(|believed| believed[verb]), "none is a success of verb {verb}");
        }
    }
}
