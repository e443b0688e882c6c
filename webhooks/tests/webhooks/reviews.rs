//! Reviews as the API server sends them, and what is answered.
use std::sync::Arc;

use api::{
    AllowedHostPaths,
    names::{Verb, webhook_path},
};
use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tower::ServiceExt;
use webhooks::{Admission, Kind, Others};

/// Where the operator of every test works.
pub const NAMESPACE: &str = "kubedr-system";
/// What the answer must repeat.
pub const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// Midnight of every test, many years before the certificates of tests end.
pub fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().expect("a timestamp")
}

/// Admission with all defaults that knows no other object.
pub fn admission() -> Admission {
    Admission {
        namespace: NAMESPACE.to_owned(),
        allowed_host_paths: AllowedHostPaths::default(),
        others: Others::default(),
        services: None,
        now,
        told: Arc::new(|_| {}),
    }
}

/// The sample of a kind with some fields of its spec replaced, as it is stored.
pub fn stored(sample: &impl Serialize, fields: &Value) -> Value {
    let mut object = json!(sample);
    let fields = fields.as_object().expect("fields of a spec").clone();
    object["spec"].as_object_mut().expect("a spec").extend(fields);
    object["metadata"]["namespace"] = json!(NAMESPACE);
    object["metadata"]["managedFields"] =
        json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": { ".": {} } } }]);
    object
}

/// A review of a request, with what the API server puts beside it.
pub fn review<K: Kind>(operation: &str, object: &Value, old: &Value) -> Value {
    let there = if object.is_null() { old } else { object };
    let kind = json!({ "group": K::group(&()), "version": K::version(&()), "kind": K::kind(&()) });
    let resource = json!({ "group": K::group(&()), "version": K::version(&()), "resource": K::plural(&()) });
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID, "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": there["metadata"]["name"], "namespace": there["metadata"]["namespace"], "operation": operation,
            "userInfo": { "username": "admin", "groups": ["system:masters", "system:authenticated"] },
            "object": object, "oldObject": old, "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl" },
        },
    })
}

/// What was answered.
#[derive(Debug)]
pub struct Reply(pub Value);

impl Reply {
    /// Whether the request is allowed.
    pub fn is_allowed(&self) -> bool {
        self.0["allowed"].as_bool().expect("it says whether")
    }

    /// Paths of the fields for which it is refused.
    pub fn fields(&self) -> Vec<&str> {
        let causes = self.0["status"]["details"]["causes"].as_array();
        causes.into_iter().flatten().map(|cause| cause["field"].as_str().expect("a path")).collect()
    }

    /// Why, for a person.
    pub fn message(&self) -> &str {
        self.0["status"]["message"].as_str().unwrap_or_default()
    }

    /// HTTP's word for why.
    pub fn code(&self) -> Option<u64> {
        self.0["status"]["code"].as_u64()
    }

    /// What a person is told all the same.
    pub fn warnings(&self) -> Vec<&str> {
        let warnings = self.0["warnings"].as_array();
        warnings.into_iter().flatten().map(|warning| warning.as_str().expect("a text")).collect()
    }

    /// Sees that it is allowed without a doubt.
    pub fn accepts(&self) {
        assert!(self.is_allowed() && self.warnings().is_empty(), "{self:?}");
    }

    /// Sees that it is refused for these fields and no other.
    pub fn refuses(&self, paths: &[&str]) {
        assert_eq!((self.is_allowed(), self.fields()), (false, paths.to_vec()), "{self:?}");
    }

    /// Whether one thing is warned of, in these words.
    pub fn warns(&self, words: &str) -> bool {
        self.is_allowed() && matches!(self.warnings()[..], [only] if only.contains(words))
    }
}

/// Asks as the API server does; whatever the body is, the answer is a review.
pub async fn asked(admission: Admission, path: &str, body: impl Into<Body>) -> Reply {
    let request = Request::post(path).header("content-type", "application/json").body(body.into());
    let answer = webhooks::router(admission).oneshot(request.expect("a request")).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    let review: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        (&review["kind"], &review["apiVersion"]),
        (&json!("AdmissionReview"), &json!("admission.k8s.io/v1"))
    );
    Reply(review["response"].clone())
}

/// Whether what a review asks for may be.
pub async fn judged<K: Kind>(admission: Admission, review: Value) -> Reply {
    let reply = asked(admission, &webhook_path::<K>(Verb::Validate), review.to_string()).await;
    assert_eq!(reply.0["uid"], UID);
    reply
}

/// An object is made.
pub async fn created<K: Kind>(admission: Admission, object: &Value) -> Reply {
    judged::<K>(admission, review::<K>("CREATE", object, &Value::Null)).await
}

/// An object is changed.
pub async fn changed<K: Kind>(admission: Admission, (old, new): (&Value, &Value)) -> Reply {
    judged::<K>(admission, review::<K>("UPDATE", new, old)).await
}

/// An object is removed.
pub async fn removed<K: Kind>(admission: Admission, object: &Value) -> Reply {
    judged::<K>(admission, review::<K>("DELETE", &Value::Null, object)).await
}
