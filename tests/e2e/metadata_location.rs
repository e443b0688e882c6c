//! BackupLocation: buckets that are missing, empty, in use, closed or out of reach.
use anyhow::{Context, Result};
use api::{BackupLocation, BackupLocationStatus};
use k8s_openapi::api::{batch::v1::Job, core::v1::ResourceQuota};
use kube::api::DeleteParams;
use kubedr_tests::{Bucket, Installation, TcpRelay, condition, is_finished, message, until, with_kubedr};
use serde_json::json;

const READY: (&str, &str) = ("True", "Ready");

#[tokio::test]
async fn a_missing_bucket_is_made_and_the_repository_in_it() {
    with_kubedr("missing-bucket", async |kubedr| {
        kubedr.apply(kubedr.location("s3")).await?;
        let location = kubedr.location_is("s3", READY).await?;
        let status = location.status.unwrap_or_default();
        assert_eq!(status.init_status.as_deref(), Some("Completed"));
        assert_eq!(condition(&status.conditions, "RepositoryHealthy"), ("True", "Healthy"));
        // The mark comes after what it marks.
        let is_marked = |location: &BackupLocation| {
            let annotations = location.metadata.annotations.as_ref();
            let mark = "initialized.annotations.kubedr.catalogicsoftware.com";
            annotations.and_then(|all| all.get(mark)).is_some_and(|value| value == "true")
        };
        kubedr.location_when("s3", "to be marked", is_marked).await?;
        assert_eq!(status.repository_id, Some(id_in(&kubedr.bucket).await?));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_empty_bucket_gets_a_repository() {
    with_kubedr("empty-bucket", async |kubedr| {
        // A repository elsewhere in the bucket makes the bucket, and leaves the prefix empty.
        kubedr.bucket.restic().args(["init"]).succeed().await?;
        let mut location = kubedr.location("s3");
        location["spec"]["prefix"] = json!("clusters/one");
        kubedr.apply(location).await?;
        kubedr.location_is("s3", READY).await?;
        kubedr.bucket.at("clusters/one").restic().args(["cat", "config"]).succeed().await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_repository_that_exists_is_attached_with_what_is_in_it() {
    with_kubedr("attach", async |kubedr| {
        make_repository_with_a_snapshot(&kubedr.bucket).await?;
        kubedr.apply(kubedr.location("s3")).await?;
        let location = kubedr.location_is("s3", READY).await?;
        assert_eq!(location.status.unwrap_or_default().repository_id, Some(id_in(&kubedr.bucket).await?));
        assert_eq!(kubedr.bucket.snapshots().await?.len(), 1, "what was there is still there");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_key_is_named_and_heals_when_the_secret_is_corrected() {
    with_kubedr("wrong-key", async |kubedr| {
        let mut wrong = kubedr.bucket.clone();
        wrong.secret_key = "not-the-key".to_owned();
        kubedr.make_secret("s3", &wrong.credentials()).await?;
        kubedr.apply(kubedr.location("s3")).await?;
        let location = kubedr.location_is("s3", ("False", "AccessDenied")).await?;
        let status = location.status.unwrap_or_default();
        assert_eq!(status.init_status.as_deref(), Some("Failed"));
        names_the_secret(&status, "s3");
        kubedr.make_secret("s3", &kubedr.bucket.credentials()).await?;
        kubedr.location_is("s3", READY).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_named_and_heals_when_the_secret_is_corrected() {
    with_kubedr("wrong-password", async |kubedr| {
        kubedr.bucket.restic().args(["init"]).succeed().await?;
        let mut wrong = kubedr.bucket.clone();
        wrong.password = "another password".to_owned();
        kubedr.make_secret("s3", &wrong.credentials()).await?;
        kubedr.apply(kubedr.location("s3")).await?;
        let location = kubedr.location_is("s3", ("False", "WrongPassword")).await?;
        let status = location.status.unwrap_or_default();
        assert_eq!(
            condition(&status.conditions, "Stalled"),
            ("True", "WrongPassword"),
            "only a person can end it"
        );
        names_the_secret(&status, "s3");
        kubedr.make_secret("s3", &kubedr.bucket.credentials()).await?;
        kubedr.location_is("s3", READY).await?;
        Ok(())
    })
    .await;
}

/// Both to the one who reads conditions and to the one who reads upstream's field.
fn names_the_secret(status: &BackupLocationStatus, secret: &str) {
    let upstreams = status.init_error_message.as_deref().unwrap_or_default();
    for said in [message(&status.conditions, "Ready"), upstreams] {
        assert!(said.contains(&format!("Secret {secret:?}")) && said.contains("spec.credentials"), "{said}");
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_named_and_heals_when_it_comes_back() {
    with_kubedr("dead-endpoint", async |kubedr| {
        let mut relay = TcpRelay::dead(&kubedr.cluster.machine_ip)?;
        let mut location = kubedr.location("s3");
        location["spec"]["url"] =
            json!(kubedr.bucket.endpoint.replace(kubedr.bucket.address(), &relay.address()));
        kubedr.apply(location).await?;
        let location = kubedr.location_is("s3", ("False", "ConnectionRefused")).await?;
        assert_eq!(condition(&location.status.unwrap_or_default().conditions, "Reconciling").0, "True");
        relay.come_back(kubedr.bucket.address())?;
        kubedr.location_is("s3", READY).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_and_a_missing_key_are_named() {
    with_kubedr("missing-secret", async |kubedr| {
        let mut location = kubedr.location("s3");
        location["spec"]["credentials"] = json!("forgotten");
        kubedr.apply(location).await?;
        kubedr.location_is("s3", ("False", "SecretMissing")).await?;
        kubedr.make_secret("forgotten", &kubedr.bucket.credentials()[..2]).await?;
        let location = kubedr.location_is("s3", ("False", "SecretKeyMissing")).await?;
        let status = location.status.unwrap_or_default();
        names_the_secret(&status, "forgotten");
        assert!(message(&status.conditions, "Ready").contains("restic_repo_password"), "{status:#?}");
        kubedr.make_secret("forgotten", &kubedr.bucket.credentials()).await?;
        kubedr.location_is("s3", READY).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_quota_without_room_for_a_pod_is_named_and_heals_when_it_goes() {
    with_kubedr("quota", async |kubedr| {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "no-room" },
            "spec": { "hard": { "pods": "0" } },
        });
        kubedr.apply(quota).await?;
        let quotas = kubedr.api::<ResourceQuota>();
        until("the quota to be in force", async || {
            let status = quotas.get("no-room").await?.status.unwrap_or_default();
            Ok(if status.hard.is_some() { Ok(()) } else { Err(status) })
        })
        .await?;
        kubedr.apply(kubedr.location("s3")).await?;
        let location = kubedr.location_is("s3", ("False", "Unschedulable")).await?;
        let conditions = location.status.unwrap_or_default().conditions;
        assert!(message(&conditions, "Ready").contains("exceeded quota: no-room"), "{conditions:#?}");
        quotas.delete("no-room", &DeleteParams::default()).await?;
        kubedr.location_is("s3", READY).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pinned_repository_that_vanished_is_not_made_anew() {
    with_kubedr("gone", async |kubedr| {
        let pinned = kubedr.make_location().await?.status.unwrap_or_default().repository_id;
        kubedr.make_policy("etcd", &json!({})).await?;
        kubedr.bucket.clear()?;
        // A backup that finds it gone makes the location look, whose end the policy's own `Ready` may tell at once.
        let job = kubedr.start_backup("etcd").await?;
        kubedr.policy_says("etcd", "Fresh", ("False", "RepositoryGone")).await?;
        let location = kubedr.location_is("s3", ("False", "RepositoryGone")).await?;
        assert_eq!(location.status.unwrap_or_default().repository_id, pinned, "the id stays pinned");
        assert!(!kubedr.bucket.folder().exists(), "nothing was made in its place");
        kubedr.end(&job).await?;
        allow_to_replace(kubedr, pinned.as_deref()).await?;
        let location = kubedr.location_is("s3", READY).await?;
        assert_ne!(location.status.unwrap_or_default().repository_id, pinned);
        kubedr.policy_is("etcd", READY).await?;
        kubedr.successful_backup("etcd").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn another_repository_in_the_place_of_the_pinned_one_is_attached_when_that_is_allowed() {
    with_kubedr("replaced", async |kubedr| {
        kubedr.apply(kubedr.location("s3")).await?;
        let pinned = kubedr.location_is("s3", READY).await?.status.unwrap_or_default().repository_id;
        kubedr.bucket.clear()?;
        make_repository_with_a_snapshot(&kubedr.bucket).await?;
        let stored = kubedr.bucket.snapshots().await?;
        kubedr.patch::<BackupLocation>("s3", json!({ "spec": { "bucketLookup": "Path" } })).await?;
        let location = kubedr.location_is("s3", ("False", "RepositoryReplaced")).await?;
        assert_eq!(location.status.unwrap_or_default().repository_id, pinned, "the id stays pinned");
        allow_to_replace(kubedr, pinned.as_deref()).await?;
        let location = kubedr.location_is("s3", READY).await?;
        assert_eq!(location.status.unwrap_or_default().repository_id, Some(id_in(&kubedr.bucket).await?));
        assert_eq!(kubedr.bucket.snapshots().await?, stored);
        Ok(())
    })
    .await;
}

async fn make_repository_with_a_snapshot(bucket: &Bucket) -> Result<()> {
    bucket.restic().args(["init"]).succeed().await?;
    let backup = bucket.restic().args(["backup", "--stdin", "--stdin-filename", "old"]);
    backup.input("old").succeed().await.map(drop)
}

/// The id of the repository, as restic reads it.
async fn id_in(bucket: &Bucket) -> Result<String> {
    let config = bucket.restic().args(["cat", "config"]).succeed().await?;
    let config: serde_json::Value = serde_json::from_str(&config)?;
    config["id"].as_str().map(str::to_owned).context("a config without an id")
}

async fn allow_to_replace(kubedr: &Installation, pinned: Option<&str>) -> Result<()> {
    let annotations = json!({ "kubedr.catalogicsoftware.com/replace-repository": pinned });
    kubedr
        .patch::<BackupLocation>("s3", json!({ "metadata": { "annotations": annotations } }))
        .await
        .map(drop)
}

#[tokio::test]
async fn locations_that_make_one_repository_at_once_have_the_same_or_say_so() {
    with_kubedr("at-once", async |kubedr| {
        tokio::try_join!(kubedr.apply(kubedr.location("one")), kubedr.apply(kubedr.location("two")))?;
        let first = tokio::try_join!(first_told(kubedr, "one"), first_told(kubedr, "two"))?;
        tokio::try_join!(tried_again(kubedr, "one", &first.0), tried_again(kubedr, "two", &first.1))?;
        let again = tokio::try_join!(first_told(kubedr, "one"), first_told(kubedr, "two"))?;
        for status in [first.0, first.1, again.0, again.1] {
            match condition(&status.conditions, "Ready") {
                READY => assert_eq!(status.repository_id, Some(id_in(&kubedr.bucket).await?)),
                told => assert_eq!((told, status.repository_id), (("False", "RepositoryHalfMade"), None)),
            }
        }
        Ok(())
    })
    .await;
}

/// Waits until a location that failed has looked once more.
async fn tried_again(kubedr: &Installation, name: &str, told: &BackupLocationStatus) -> Result<()> {
    if condition(&told.conditions, "Ready") == READY {
        return Ok(());
    }
    let job = || async { kubedr.api::<Job>().get_opt(&format!("{name}-init")).await };
    let first = job().await?.and_then(|job| job.metadata.uid);
    until("the second try to end", async || {
        let now = job().await?;
        let is_another = now.as_ref().is_some_and(|job| job.metadata.uid != first && is_finished(job));
        Ok(if is_another { Ok(()) } else { Err(now.and_then(|job| job.status)) })
    })
    .await
}

/// What a location says once it knows.
async fn first_told(kubedr: &Installation, name: &str) -> Result<BackupLocationStatus> {
    let knows = |location: &BackupLocation| {
        let conditions = location.status.clone().unwrap_or_default().conditions;
        !["", "Unknown"].contains(&condition(&conditions, "Ready").0)
    };
    Ok(kubedr.location_when(name, "to know", knows).await?.status.unwrap_or_default())
}
