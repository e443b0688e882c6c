//! Objects outside of the operator's namespace: nothing is done for them, and they say so.
use anyhow::{Context, Result};
use api::{BackupLocation, MetadataBackupPolicy, MetadataRestore};
use k8s_openapi::api::{batch::v1::CronJob, events::v1::Event};
use kube::{Api, api::ListParams};
use kubedr_tests::{Installation, condition, message, until, with_kubedr, within_a_minute};
use serde_json::json;

#[tokio::test]
async fn what_is_made_in_another_namespace_does_nothing_and_says_so() {
    with_kubedr("inside", async |kubedr| {
        let namespace = "kubedr-inside-not";
        kubedr.remove_namespace(namespace).await.context("failed to remove what an earlier run left")?;
        let made = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        kubedr.apply(made).await?;
        let mut policy = kubedr.policy("etcd", "s3", &json!({ "schedule": "* * * * *" }));
        policy["metadata"]["namespace"] = json!(namespace);
        kubedr.apply(policy).await?;
        let policies = Api::<MetadataBackupPolicy>::namespaced(kubedr.client.clone(), namespace);
        let said = until("the policy to say so", async || {
            let conditions = policies.get("etcd").await?.status.unwrap_or_default().conditions;
            let is_said = condition(&conditions, "Ready") == ("False", "WrongNamespace");
            Ok(if is_said { Ok(conditions) } else { Err(conditions) })
        });
        let conditions = within_a_minute(said).await?;
        assert!(message(&conditions, "Ready").contains("kubedr works in namespace"), "{conditions:#?}");
        tells_of_it(kubedr, namespace).await?;
        answers_the_other_kinds(kubedr, namespace).await?;
        let cronjobs = Api::<CronJob>::namespaced(kubedr.client.clone(), namespace);
        assert!(cronjobs.list(&ListParams::default()).await?.items.is_empty());
        kubedr.remove_namespace(namespace).await
    })
    .await;
}

/// Locations and restores are told the same.
async fn answers_the_other_kinds(kubedr: &Installation, namespace: &str) -> Result<()> {
    let mut location = kubedr.location("s3");
    location["metadata"]["namespace"] = json!(namespace);
    let restore = json!({
        "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1", "kind": "MetadataRestore",
        "metadata": { "name": "once", "namespace": namespace },
        "spec": { "mbrName": "mbr-9a9808ce", "pvcName": "target" },
    });
    kubedr.apply(location).await?;
    kubedr.apply(restore).await?;
    let locations = Api::<BackupLocation>::namespaced(kubedr.client.clone(), namespace);
    let restores = Api::<MetadataRestore>::namespaced(kubedr.client.clone(), namespace);
    let said = until("location and restore to say so", async || {
        let location = locations.get("s3").await?.status.unwrap_or_default().conditions;
        let restore = restores.get("once").await?.status.unwrap_or_default().conditions;
        let are_said = [&location, &restore]
            .into_iter()
            .all(|conditions| condition(conditions, "Ready") == ("False", "WrongNamespace"));
        Ok(if are_said { Ok(()) } else { Err((location, restore)) })
    });
    within_a_minute(said).await
}

/// One event beside the policy, and a figure.
async fn tells_of_it(kubedr: &Installation, namespace: &str) -> Result<()> {
    let events = Api::<Event>::namespaced(kubedr.client.clone(), namespace);
    until("one event to tell of the policy", async || {
        let all = events.list(&ListParams::default()).await?.items;
        let notes: Vec<_> = all.into_iter().filter_map(|event| event.note).collect();
        Ok(if notes.len() == 1 && notes[0].starts_with("WrongNamespace: ") { Ok(()) } else { Err(notes) })
    })
    .await?;
    until("the metrics to tell of the policy", async || {
        let page = kubedr.metrics().await?;
        let metric = "kubedr_wrong_namespace_objects{kind=\"MetadataBackupPolicy\"} ";
        Ok(if page.lines().any(|line| line.starts_with(metric)) { Ok(()) } else { Err(page) })
    })
    .await
}
