//! The two questions: about a new policy of ours and about a new Certificate of theirs, of the same length.
use anyhow::{Context, Result};
use api::{
    MetadataBackupPolicy,
    names::{Verb, webhook_path},
    samples,
};
use kube::Resource;
use serde_json::{Value, json};

/// Bytes of each: what an object of a dozen fields takes, with who asks and what the API server notes of it.
const BYTES: usize = 1300;
/// What each answer repeats.
pub const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// A question, and where it is asked.
pub struct Review {
    /// Path of the URL.
    pub path: String,
    /// An `AdmissionReview`, as JSON.
    pub body: Vec<u8>,
}

/// What a review is about.
struct Subject<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    plural: &'a str,
    object: Value,
}

/// Asks whether a policy may be.
pub fn ours(namespace: &str) -> Result<Review> {
    type Policy = MetadataBackupPolicy;
    let mut object = json!(samples::policy());
    object["metadata"]["namespace"] = json!(namespace);
    let (group, version) = (Policy::group(&()), Policy::version(&()));
    let (kind, plural) = (Policy::kind(&()), Policy::plural(&()));
    let subject = Subject { group: &group, version: &version, kind: &kind, plural: &plural, object };
    Ok(Review { path: webhook_path::<Policy>(Verb::Validate), body: subject.review()? })
}

/// Asks whether a Certificate may be.
pub fn theirs() -> Result<Review> {
    let object = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "secretName": "web-tls", "dnsNames": ["web.example.org"], "duration": "2160h0m0s",
            "issuerRef": { "name": "authority", "kind": "Issuer", "group": "cert-manager.io" },
        },
    });
    let (version, kind, plural) = ("v1", "Certificate", "certificates");
    let subject = Subject { group: "cert-manager.io", version, kind, plural, object };
    Ok(Review { path: "/validate".to_owned(), body: subject.review()? })
}

impl Subject<'_> {
    fn review(&self) -> Result<Vec<u8>> {
        let shortest = self.noted("").to_string().len();
        let lacks = BYTES.checked_sub(shortest).context("a review is longer than all should be")?;
        Ok(self.noted(&"x".repeat(lacks)).to_string().into_bytes())
    }

    /// The review of the object with a note, such as tools leave in annotations.
    fn noted(&self, note: &str) -> Value {
        let Self { group, version, kind, plural, object } = self;
        let mut object = object.clone();
        object["metadata"]["annotations"] = json!({ "kubedr.test/note": note });
        let kind = json!({ "group": group, "version": version, "kind": kind });
        let resource = json!({ "group": group, "version": version, "resource": plural });
        json!({
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": UID, "operation": "CREATE", "dryRun": false,
                "kind": kind, "requestKind": kind, "resource": resource, "requestResource": resource,
                "name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"],
                "userInfo": { "username": "me", "groups": ["system:authenticated"] },
                "object": object, "oldObject": null,
                "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl" },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_of_one_length() {
        for review in [ours("kubedr-bench"), theirs()].map(|review| review.expect("it fits")) {
            assert_eq!(review.body.len(), BYTES, "{}", String::from_utf8_lossy(&review.body));
        }
    }
}
