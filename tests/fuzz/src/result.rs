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
/// The field that is not read back to the last bit.
const DURATION: &str = "totalDurationSecs";

/// No result is one of each verb, and whichever it is must not be read in a way that the others are.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let believed = [
        is_believed::<Initialization>("init", &text),
        is_believed::<Forgotten>("forget", &text),
        is_believed::<Backup>("backup", &text),
    ];
    assert!(believed.into_iter().filter(|is_believed| *is_believed).count() <= 1, "of two verbs");
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
        _ => {}
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let id: SnapshotId = "ab".repeat(32).parse().expect("64 digits");
    let initialized: Outcome<_> = Ok(Initialization { repository_id: id.clone(), created: true });
    let failed: Outcome<Forgotten> =
        Err(Failure::new(Reason::WrongPassword, "Secret \"s3\": no key found").at("spec.credentials"));
    let backup = backup(&id);
    let mut incomplete: Value = serde_json::from_str(&backup).expect("JSON");
    incomplete["incomplete"] =
        serde_json::to_value(Lack::new(Reason::NeedsKms, "vault")).expect("a lack is JSON");
    let texts = [
        render("init", &initialized),
        render("forget", &failed),
        render("forget", &Ok(Forgotten { forgotten: 3 })),
        incomplete.to_string(),
        // Longer than a termination message, and whole but for that.
        format!("{backup:5000}"),
        backup,
        r#"{"v":1,"verb":"backup","ok":false,"reason":"Bug","message":"\u001b[2J\n","field":"\u0007"}"#
            .to_owned(),
    ];
    texts.map(String::into_bytes).into()
}

fn backup(id: &SnapshotId) -> String {
    let result = serde_json::json!({
        "v": 1, "verb": "backup", "ok": true, "backupId": "0123456789abcdef", "snapshotId": id,
        "filesSnapshotId": id, "repositoryId": id, "time": "2030-01-01T11:50:05.5Z", "node": "node1",
        "clusterUid": "11111111-2222-3333-4444-555555555555", "lineage": "0123456789abcdef",
        "etcd": {
            "version": "3.6.16", "clusterId": "c1", "revision": 591, "raftIndex": 689, "raftTerm": 2,
            "memberId": "e1", "keys": 300, "dbSizeBytes": 4096, "sha256": id,
        },
        "filesNew": 23, "filesChanged": 0, "dataAdded": 1000, "totalBytesProcessed": 5000,
        DURATION: 2.532, "objects": { "count": 280, "shrunk": false },
    });
    result.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_of_each_verb() {
        let is_of = |seed: &[u8]| {
            let text = String::from_utf8_lossy(seed);
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
