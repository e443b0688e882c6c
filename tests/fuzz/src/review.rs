//! What any pod of a cluster may send to the webhooks' port: whatever it is, it is answered with a review of bounded size.
use std::sync::Arc;

use api::{
    AllowedHostPaths, BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataBackupRecordSpec,
    MetadataRestore, names::Verb, samples,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use webhooks::{Admission, Kind, Others, Services};

use crate::is_line;

/// The longest answer, bytes: 64 things at once, of 2 KiB each, twice.
const LONGEST_ANSWER: usize = 320 << 10;
/// The longest thing that is said of one field.
const LONGEST_CAUSE: usize = 2048;
/// The longest warning that the API server does not cut off.
const LONGEST_WARNING: usize = 256;
/// The most things that are said at once.
const MOST: usize = 64;
/// The longest uid that is repeated.
const LONGEST_UID: usize = 128;
/// Where the operator works.
const NAMESPACE: &str = "kubedr-system";

/// Asks for each kind and verb alike, so that what is sent to a wrong place is tried too.
pub fn check(input: &[u8]) {
    check_kind::<BackupLocation>(input);
    check_kind::<MetadataBackupPolicy>(input);
    check_kind::<MetadataBackupRecord>(input);
    check_kind::<MetadataRestore>(input);
}

fn check_kind<K: Kind>(input: &[u8]) {
    let by = admission();
    for verb in [Verb::Mutate, Verb::Validate] {
        let answer = webhooks::answer::<K>(verb, input, &by);
        assert!(answer.json.len() <= LONGEST_ANSWER, "{} bytes", answer.json.len());
        let review: Value = serde_json::from_slice(&answer.json).expect("an answer is JSON");
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(review["kind"], "AdmissionReview");
        let response = &review["response"];
        assert_eq!(response["allowed"], answer.allowed);
        assert!(response["uid"].as_str().expect("a uid").len() <= LONGEST_UID);
        if answer.allowed { check_allowed(response) } else { check_refused(response) }
    }
}

/// What is allowed is not changed, and a few things are said of it.
fn check_allowed(response: &Value) {
    assert!(response["patch"].is_null() && response["status"].is_null(), "{response}");
    let warnings = texts(&response["warnings"]);
    assert!(warnings.len() <= MOST, "{response}");
    assert!(warnings.iter().all(|warning| is_line(warning, LONGEST_WARNING)), "{response}");
}

/// What is refused says why, in words that a terminal shows.
fn check_refused(response: &Value) {
    let status = &response["status"];
    let code = status["code"].as_u64().expect("a code");
    assert!([400, 422].contains(&code), "{response}");
    let message = status["message"].as_str().expect("a message");
    assert!(!message.is_empty() && is_line(message, LONGEST_ANSWER), "{response}");
    let causes = status["details"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(causes.is_empty(), code == 400, "{response}");
    for cause in causes {
        let said = ["field", "message"].map(|part| cause[part].as_str().expect("a text"));
        assert!(said.iter().all(|said| is_line(said, LONGEST_CAUSE)), "{cause}");
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text")).collect()
}

/// Admission that knows no location, and one policy of each: so everything is warned of.
fn admission() -> Admission {
    Admission {
        namespace: NAMESPACE.to_owned(),
        allowed_host_paths: AllowedHostPaths::default(),
        others: Others::new(|_| Some(false), |location| vec![format!("user-of-{location}")]),
        services: Services::of("10.96.0.1"),
        now: || Timestamp::UNIX_EPOCH,
        told: Arc::new(|_| {}),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let record = MetadataBackupRecordSpec {
        policy: "etcd".to_owned(),
        snapshot_id: "9a9808ce".to_owned(),
        backuploc: None,
    };
    let (location, policy, restore) = (samples::location(), samples::policy(), samples::restore());
    let record = MetadataBackupRecord::new("mbr-9a9808ce", record);
    let all = [
        created::<BackupLocation>(&location),
        created::<MetadataBackupPolicy>(&policy),
        created::<MetadataBackupRecord>(&record),
        created::<MetadataRestore>(&restore),
        changed(&policy),
        without_keys(&policy),
        removed(&location),
        json!({}),
    ];
    all.iter().map(|review| review.to_string().into_bytes()).collect()
}

fn created<K: Kind + Serialize>(object: &K) -> Value {
    review::<K>("CREATE", &stored(object), &Value::Null)
}

/// A policy that has run becomes wrong in several ways, and stays so in one.
fn changed(policy: &MetadataBackupPolicy) -> Value {
    let mut old = stored(policy);
    old["spec"]["certsDir"] = json!("/root");
    old["status"] = json!({
        "totalDurationSecs": "95.250",
        "conditions": [{
            "type": "Complete", "status": "False", "reason": "EncryptionKeyMissing", "message": "",
            "lastTransitionTime": "2030-01-01T00:00:00Z",
        }],
    });
    let mut new = old.clone();
    new["spec"]["schedule"] = json!("CRON_TZ=UTC * * * * *");
    new["spec"]["etcdEndpoint"] = json!("http://root@10.0.0.5/v3");
    new["spec"]["options"] = json!({ "master": "x" });
    review::<MetadataBackupPolicy>("UPDATE", &new, &old)
}

/// A policy from which the file with the keys goes, of which its last backup told.
fn without_keys(policy: &MetadataBackupPolicy) -> Value {
    let mut old = stored(policy);
    old["spec"]["extraHostPaths"] = json!([{ "path": "/etc/kubernetes/enc.yaml" }]);
    old["status"] = json!({ "encryptionConfigs": ["/etc/kubernetes/enc.yaml"] });
    let mut new = old.clone();
    new["spec"]["extraHostPaths"] = json!([]);
    review::<MetadataBackupPolicy>("UPDATE", &new, &old)
}

fn removed(location: &BackupLocation) -> Value {
    review::<BackupLocation>("DELETE", &Value::Null, &stored(location))
}

fn stored(object: &impl Serialize) -> Value {
    let mut object = json!(object);
    object["metadata"]["namespace"] = json!(NAMESPACE);
    object
}

/// As the API server writes it.
fn review<K: Kind>(operation: &str, object: &Value, old: &Value) -> Value {
    let there = if object.is_null() { old } else { object };
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": K::group(&()), "version": K::version(&()), "kind": K::kind(&()) },
            "name": there["metadata"]["name"], "namespace": there["metadata"]["namespace"],
            "operation": operation, "object": object, "oldObject": old, "dryRun": false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Or nothing behind the first words of a review would be tried.
    #[test]
    fn seeds_are_judged() {
        let policy = changed(&samples::policy());
        let answer = webhooks::answer::<MetadataBackupPolicy>(
            Verb::Validate,
            policy.to_string().as_bytes(),
            &admission(),
        );
        let review: Value = serde_json::from_slice(&answer.json).expect("JSON");
        let causes = review["response"]["status"]["details"]["causes"].as_array().map(Vec::len);
        assert_eq!(causes, Some(3), "{review}");
        let created = created::<MetadataBackupPolicy>(&samples::policy()).to_string();
        assert!(
            webhooks::answer::<MetadataBackupPolicy>(Verb::Validate, created.as_bytes(), &admission())
                .allowed
        );
    }
}
