//! A run that nobody started, as a controller-manager leaves it that was away.
use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;
use kubedr_tests::{Installation, load::Etcd, with_kubedr};
use serde_json::{Value, json};

#[tokio::test]
async fn a_run_that_could_not_start_in_time_is_missed_and_the_next_backup_ends_it() {
    with_kubedr("missed-run", async |kubedr| {
        let now = kubedr.make_location().await?.metadata.creation_timestamp.context("no time")?.0;
        let slot = now - SignedDuration::from_mins(30);
        let minute = slot.as_second() / 60 % 60;
        let hourly = json!({ "schedule": format!("{minute} * * * *"), "timeZone": "UTC" });
        kubedr.make_policy("etcd", &hourly).await?;
        make_older(kubedr, "etcd-backup-cronjob", SignedDuration::from_hours(2)).await?;
        kubedr.policy_says("etcd", "Fresh", ("False", "MissedRun")).await?;
        kubedr.successful_backup("etcd").await?;
        kubedr.policy_says("etcd", "Fresh", ("True", "Fresh")).await.map(drop)
    })
    .await;
}

/// Has a CronJob be there, as it is, for so much longer: straight in etcd, for the API server changes no such time.
async fn make_older(kubedr: &Installation, name: &str, by: SignedDuration) -> Result<()> {
    let cronjob = serde_json::to_value(kubedr.api::<CronJob>().get(name).await?)?;
    let key = format!("/registry/cronjobs/{}/{name}", kubedr.namespace);
    let mut etcd = Etcd::new(kubedr.cluster.etcd(&kubedr.cluster.etcd_endpoint).await?);
    etcd.put(&key, older(cronjob, by)?.to_string().into_bytes()).await
}

fn older(mut cronjob: Value, by: SignedDuration) -> Result<Value> {
    let earlier = |time: &Value| -> Result<Value> {
        let time: Timestamp = time.as_str().context("no time")?.parse()?;
        Ok(json!((time - by).to_string()))
    };
    let metadata = &mut cronjob["metadata"];
    metadata["creationTimestamp"] = earlier(&metadata["creationTimestamp"])?;
    for entry in metadata["managedFields"].as_array_mut().into_iter().flatten() {
        entry["time"] = earlier(&entry["time"])?;
    }
    Ok(cronjob)
}
