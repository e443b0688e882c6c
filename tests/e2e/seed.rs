//! The manifests of upstream's README, unchanged, do what they say.
use anyhow::{Context, Result};
use api::{MetadataBackupPolicy, MetadataBackupRecord};
use kubedr_tests::{Installation, pair, until, with_kubedr};
use serde_json::json;

/// The namespace that upstream hard-codes.
const NAMESPACE_SUFFIX: &str = "system";

const LOCATION: &str = include_str!("seed/location.yaml");
const POLICY: &str = include_str!("seed/policy.yaml");
const RECORD: &str = include_str!("seed/record.yaml");

#[tokio::test]
async fn upstreams_manifests_apply_unchanged_and_make_backups() {
    with_kubedr(NAMESPACE_SUFFIX, async |kubedr| {
        let mut bucket = kubedr.bucket.clone();
        "testbucket".clone_into(&mut bucket.name);
        bucket.clear()?;
        serve_at_upstreams_address(kubedr).await?;
        kubedr.make_secret("minio-creds", &kubedr.bucket.credentials()).await?;
        for manifest in [LOCATION, POLICY, RECORD] {
            let apply = ["apply", "-n", &kubedr.namespace, "-f", "-"];
            kubedr.cluster.program("kubectl").args(apply).input(manifest).succeed().await?;
        }
        kubedr.policy_is("test-backup", ("True", "Ready")).await?;
        // Other tests remove many objects between the two backups, after which the guard would keep the first.
        kubedr.patch::<MetadataBackupPolicy>("test-backup", json!({ "spec": { "shrinkGuard": 0 } })).await?;
        let first = kubedr.successful_backup("test-backup").await?;
        let second = kubedr.successful_backup("test-backup").await?;
        assert_eq!(second.spec.backuploc.as_deref(), Some("local-minio"));
        // retainNumBackups: 1
        until("the first backup to be forgotten", async || {
            let record =
                kubedr.api::<MetadataBackupRecord>().get_opt(&kube::ResourceExt::name_any(&first)).await?;
            Ok(record.map_or(Ok(()), Err))
        })
        .await?;
        let stored: Vec<_> = bucket.snapshots().await?.into_iter().map(|snapshot| snapshot.id).collect();
        assert!(pair(&second)?.iter().all(|id| stored.contains(id)) && stored.len() == 2, "{stored:?}");
        kubedr
            .api::<MetadataBackupRecord>()
            .get("mbr-9a9808ce")
            .await
            .context("a record that a user made stays")?;
        Ok(())
    })
    .await;
}

/// Puts the test cluster's S3 server at the cluster IP that the manifest names.
async fn serve_at_upstreams_address(kubedr: &Installation) -> Result<()> {
    let (ip, port) = kubedr.bucket.address().split_once(':').context("no port")?;
    let port: u16 = port.parse()?;
    kubedr
        .apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "minio" },
            "spec": { "clusterIP": "10.96.57.3", "ports": [{ "name": "s3", "port": 9000, "targetPort": port }] },
        }))
        .await?;
    kubedr
        .apply(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "minio", "labels": { "kubernetes.io/service-name": "minio" } },
            "endpoints": [{ "addresses": [ip] }], "ports": [{ "name": "s3", "port": port }],
        }))
        .await
}
