//! The operator beside each version of the API server: what it makes, and what it is asked.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use api::{MetadataBackupPolicy, names};
use k8s_openapi::{ByteString, api::batch::v1::CronJob};
use kubedr_tests::{Installation, OperatorProcess, condition, config, until, with_kinds};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::objects::{policy, refused};

#[tokio::test]
async fn the_operator_does_its_work_and_answers_reviews() {
    with_kinds("operator", async |kubedr| {
        if kubedr.cluster.has_node() {
            // There its own tests see more.
            return Ok(());
        }
        let folder = tempfile::tempdir()?;
        let authority = show_certificate(&kubedr.cluster.machine_ip, folder.path())?;
        kubedr.install("rbac").await?;
        kubedr.make_attached_location("s3").await?;
        let program = PathBuf::from(std::env::var("KUBEDR_OPERATOR").context("run `cargo xtask test`")?);
        let mut operator =
            OperatorProcess::start(kubedr, &program, folder.path(), Some(folder.path().as_os_str())).await?;
        operator.wait_until_it_leads().await?;
        is_asked(kubedr, operator.reviews, &authority).await?;
        works(kubedr).await?;
        operator.stop().await
    })
    .await;
}

/// A certificate for this machine's address, as the node sees it; who trusts it trusts that alone.
fn show_certificate(address: &str, folder: &Path) -> Result<ByteString> {
    let key = KeyPair::generate().context("no key")?;
    let certificate =
        CertificateParams::new(vec![address.to_owned()]).context("no address")?.self_signed(&key);
    let certificate = certificate.context("no certificate")?.pem();
    fs::write(folder.join("tls.crt"), &certificate)?;
    fs::write(folder.join("tls.key"), key.serialize_pem())?;
    Ok(ByteString(certificate.into_bytes()))
}

/// Has the API server ask a process that no Service leads to, and sees that it does.
async fn is_asked(kubedr: &Installation, port: u16, authority: &ByteString) -> Result<()> {
    for mut object in kubedr.rendered(&config().join("webhook")).await? {
        for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
            let path = webhook["clientConfig"]["service"]["path"].as_str().context("no path")?;
            let url = format!("https://{}:{port}{path}", kubedr.cluster.machine_ip);
            webhook["clientConfig"] = json!({ "url": url, "caBundle": authority });
        }
        kubedr.apply(object).await?;
    }
    kubedr.wait_until_admission_answers().await?;
    let wrong = policy(&json!({ "schedule": "every night" }));
    refused(kubedr, wrong, "denied the request: InvalidSpec: spec.schedule: ").await
}

/// A policy has its CronJob, and says so.
async fn works(kubedr: &Installation) -> Result<()> {
    kubedr.apply(policy(&json!({ "suspend": true }))).await?;
    until("the policy to be in force", async || {
        let found = kubedr.api::<MetadataBackupPolicy>().get("etcd").await?.status.unwrap_or_default();
        let is_told = condition(&found.conditions, "Ready") == ("True", "Suspended");
        Ok(if is_told { Ok(()) } else { Err(found) })
    })
    .await?;
    kubedr.api::<CronJob>().get(&names::backup_cronjob("etcd")).await.map(drop).context("no CronJob")
}
