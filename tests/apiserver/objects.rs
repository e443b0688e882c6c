//! Objects of kubedr's kinds that are right but for what a test says.
use anyhow::Result;
use kubedr_tests::Installation;
use serde_json::{Value, json};

/// An object of a kind.
pub fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1", "kind": kind,
        "metadata": { "name": name }, "spec": spec,
    })
}

/// The location `s3` with these fields.
pub fn location(changes: &Value) -> Value {
    let spec = json!({ "url": "https://s3.example.org", "bucketName": "backups", "credentials": "s3" });
    object("BackupLocation", "s3", &merged(spec, changes))
}

/// The policy `etcd` with these fields.
pub fn policy(changes: &Value) -> Value {
    let spec = json!({ "destination": "s3", "schedule": "0 * * * *" });
    object("MetadataBackupPolicy", "etcd", &merged(spec, changes))
}

/// The record `mbr-9a9808ce` with these fields.
pub fn record(changes: &Value) -> Value {
    let spec = json!({ "policy": "etcd", "snapshotId": "9a9808ce" });
    object("MetadataBackupRecord", "mbr-9a9808ce", &merged(spec, changes))
}

/// The restore `once` with these fields.
pub fn restore(changes: &Value) -> Value {
    let spec = json!({ "mbrName": "mbr-9a9808ce", "pvcName": "target" });
    object("MetadataRestore", "once", &merged(spec, changes))
}

/// A spec with some of its fields replaced.
pub fn merged(mut spec: Value, changes: &Value) -> Value {
    for (field, value) in changes.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    spec
}

/// Sees that an object is refused with these words.
pub async fn refused(kubedr: &Installation, object: Value, words: &str) -> Result<()> {
    let shown = object.to_string();
    let error = kubedr.apply(object).await.expect_err(&format!("{shown} is refused"));
    let error = format!("{error:#}");
    assert!(error.contains(words), "{shown}: {error}");
    Ok(())
}
