//! A location that is attached, where nobody is there who would attach it.
use std::time::SystemTime;

use anyhow::{Context, Result};
use api::{BackupLocation, conditions::READY};
use controllers::metadata::location;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::Installation;

impl Installation {
    /// Makes a node beside which there could be an etcd, and a location whose repository was found a moment ago: for all
    /// that an operator can know.
    pub async fn make_attached_location(&self, name: &str) -> Result<()> {
        let labels = json!({ "node-role.kubernetes.io/control-plane": "" });
        self.apply(
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "made", "labels": labels } }),
        )
        .await?;
        let spec = json!({ "url": "https://s3.example.org", "bucketName": "backups", "credentials": "s3" });
        let metadata = json!({ "name": name });
        let mut location = json!({
            "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1", "kind": "BackupLocation", "metadata": metadata,
        });
        let told = location.clone();
        location["spec"] = spec;
        self.apply(location).await?;
        self.tell_attached(name, told).await
    }

    async fn tell_attached(&self, name: &str, mut told: serde_json::Value) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let now = Timestamp::from_second(i64::try_from(now)?)?.to_string();
        let condition = |type_: &str, reason: &str| {
            json!({
                "type": type_, "status": "True", "reason": reason, "message": "for a test",
                "lastTransitionTime": now, "observedGeneration": 1,
            })
        };
        told["status"] = json!({
            "initStatus": "Completed", "initTime": now, "initErrorMessage": "", "repositoryId": "0".repeat(64),
            "observedGeneration": 1,
            "conditions": [condition(READY, "Ready"), condition("RepositoryHealthy", "Healthy")],
        });
        let params = PatchParams::apply(location::MANAGER).force();
        let locations = self.api::<BackupLocation>();
        locations.patch_status(name, &params, &Patch::Apply(&told)).await.map(drop).context("no status")
    }
}
