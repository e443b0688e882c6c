//! Admission by the operator, as users of a real API server meet it.
mod cert_manager;
mod replicas;
mod rollout;
mod rotation;
mod uninstall;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{BackupLocation, MetadataBackupPolicy, MetadataBackupRecord};
use controllers::certificates::Pair;
use k8s_openapi::{
    ByteString,
    api::{
        batch::v1::{CronJob, Job},
        core::v1::Secret,
    },
};
use kube::{ResourceExt, api::ListParams, core::NamespaceResourceScope};
use kubedr_tests::{Installation, Output, config, figure, until, until_within, with_kubedr};
use serde_json::{Value, json};

/// How many webhooks are installed.
const WEBHOOKS: usize = 7;

#[tokio::test]
async fn what_is_wrong_is_refused_and_what_may_be_is_warned_of_before_anything_is_stored() {
    with_kubedr("admission", async |kubedr| {
        what_is_wrong_is_refused(kubedr).await?;
        a_dry_run_is_judged_and_changes_nothing(kubedr).await?;
        a_location_in_use_is_missed(kubedr).await?;
        nothing_came_of_dry_runs(kubedr).await
    })
    .await;
}

async fn what_is_wrong_is_refused(kubedr: &Installation) -> Result<()> {
    let policy = |spec: Value| kubedr.policy("wrong", "s3", &spec);
    let mut location = kubedr.location("wrong");
    location["spec"]["maintenance"] = json!({ "timeZone": "Mars" });
    for (object, field) in [
        (policy(json!({ "schedule": "0 0 3 * * *" })), "spec.schedule"),
        (policy(json!({ "timeZone": "Europe/Atlantis" })), "spec.timeZone"),
        (location, "spec.maintenance.timeZone"),
    ] {
        is_refused(kubedr, object, field).await?;
    }
    kubedr.apply(policy(json!({ "suspend": true }))).await?;
    is_refused(kubedr, policy(json!({ "schedule": "every night" })), "spec.schedule").await
}

/// The webhook's name, the reason and the field's path are told to a person, and to a program.
async fn is_refused(kubedr: &Installation, object: Value, field: &str) -> Result<()> {
    let error = kubedr.apply(object).await.err().with_context(|| format!("a wrong {field} is stored"))?;
    let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() else { return Err(error) };
    let kinds = ["backuplocations", "metadatabackuppolicies"];
    let said = |kind| {
        format!(
            "admission webhook \"{kind}.kubedr.catalogicsoftware.com\" denied the request: InvalidSpec: {field}: "
        )
    };
    ensure!(kinds.iter().any(|kind| status.message.starts_with(&said(kind))), "{status:#?}");
    let causes = status.details.as_ref().map(|details| &*details.causes).unwrap_or_default();
    let causes: Vec<_> = causes.iter().map(|cause| (&*cause.field, &*cause.reason)).collect();
    ensure!(causes == [(field, "InvalidSpec")], "{status:#?}");
    Ok(())
}

/// What `kubectl` says to an object on standard input.
async fn kubectl(kubedr: &Installation, arguments: &[&str], object: &Value) -> Result<Output> {
    let kubectl = kubedr.cluster.program("kubectl").args(arguments).args(["-f", "-"]);
    kubectl.input(object.to_string()).output().await
}

/// Those of the objects that an overlay installs, in one list.
async fn installed_by(kubedr: &Installation, overlay: &str, which: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut objects = kubedr.rendered(&config().join(overlay)).await?;
    objects.retain(which);
    ensure!(!objects.is_empty(), "{overlay} installs nothing of it");
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": objects }))
}

/// Deletes objects as a person does, and waits until they are gone.
async fn goes(kubedr: &Installation, objects: &Value) -> Result<()> {
    // A namespace takes objects with it that kubectl has not come to yet.
    let said = kubectl(kubedr, &["delete", "--ignore-not-found", "--timeout=60s"], objects).await?;
    ensure!(said.code == Some(0), "{said:#?}");
    Ok(())
}

/// Sees that a person is told so, and gets what they asked for.
fn is_warned(said: &Output, warning: &str) -> Result<()> {
    let is_told = said.stderr.lines().any(|line| line.starts_with(&format!("Warning: {warning}")));
    ensure!(is_told && said.code == Some(0), "no {warning:?} in {said:#?}");
    Ok(())
}

const APPLY: [&str; 2] = ["apply", "--server-side"];
const TRY: [&str; 3] = ["apply", "--server-side", "--dry-run=server"];

async fn a_dry_run_is_judged_and_changes_nothing(kubedr: &Installation) -> Result<()> {
    let in_clear = "spec.url: is plain http: ";
    is_warned(&kubectl(kubedr, &TRY, &kubedr.location("never")).await?, in_clear)?;
    let nowhere = "spec.destination: no BackupLocation is called \"never\" yet: ";
    is_warned(&kubectl(kubedr, &TRY, &kubedr.policy("never", "never", &json!({}))).await?, nowhere)?;
    let wrong = kubedr.policy("never", "never", &json!({ "timeZone": "Mars" }));
    let refused = kubectl(kubedr, &TRY, &wrong).await?;
    // A person is shown the field, what was found and what is allowed.
    let words = "invalid: spec.timeZone: \"Mars\" is not a time zone: allowed are ";
    ensure!(refused.code == Some(1) && refused.stderr.contains(words), "{refused:#?}");
    // What is warned of is stored all the same.
    is_warned(&kubectl(kubedr, &APPLY, &kubedr.location("s3")).await?, in_clear)?;
    let policy = kubedr.policy("etcd", "never", &json!({}));
    is_warned(&kubectl(kubedr, &APPLY, &policy).await?, nowhere)
}

async fn a_location_in_use_is_missed(kubedr: &Installation) -> Result<()> {
    kubedr.location_is("s3", ("True", "Ready")).await?;
    kubedr.make_policy("etcd", &json!({})).await?;
    let missed = "metadata.name: \"s3\" is in use by etcd, wrong: ";
    let location = kubedr.location("s3");
    until("a watch to know who uses the location", async || {
        let said = kubectl(kubedr, &["delete", "--dry-run=server"], &location).await?;
        Ok(is_warned(&said, missed).map_err(|error| format!("{error:#}")))
    })
    .await?;
    kubedr.api::<BackupLocation>().get("s3").await.context("a dry run deleted it")?;
    is_warned(&kubectl(kubedr, &["delete", "--timeout=60s"], &location).await?, missed)?;
    kubedr.policy_is("etcd", ("False", "DestinationMissing")).await.map(drop)
}

async fn nothing_came_of_dry_runs(kubedr: &Installation) -> Result<()> {
    let stored = [
        names_of::<BackupLocation>(kubedr).await?,
        names_of::<MetadataBackupPolicy>(kubedr).await?,
        names_of::<MetadataBackupRecord>(kubedr).await?,
        names_of::<CronJob>(kubedr).await?,
        names_of::<Job>(kubedr).await?,
    ]
    .concat();
    ensure!(!stored.iter().any(|name| name.starts_with("never")), "{stored:?}");
    Ok(())
}

/// The names of all objects of a kind, in order.
async fn names_of<K>(kubedr: &Installation) -> Result<Vec<String>>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let objects = kubedr.api::<K>().list_metadata(&ListParams::default()).await?.items;
    let mut names: Vec<String> = objects.iter().map(ResourceExt::name_any).collect();
    names.sort_unstable();
    Ok(names)
}

/// The Secret with what is shown, and whom API servers trust for it.
async fn secret(kubedr: &Installation, name: &str) -> Result<Secret> {
    kubedr.api::<Secret>().get(name).await.with_context(|| format!("no Secret {name}"))
}

/// One entry of a Secret.
fn entry<'a>(secret: &'a Secret, key: &str) -> Result<&'a ByteString> {
    secret.data.as_ref().and_then(|data| data.get(key)).with_context(|| format!("the Secret has no {key}"))
}

/// The pair that a Secret has under the names that Kubernetes has for it.
fn pair(secret: &Secret) -> Result<Pair> {
    Pair::of(&entry(secret, "tls.crt")?.0, &entry(secret, "tls.key")?.0).context("it is no pair")
}

/// Waits until each replica shows that pair and has nothing against it, and each webhook carries what vouches for it.
async fn is_in_use(kubedr: &Installation, secret: &Secret, patience: Duration) -> Result<()> {
    let (pair, bundle) = (pair(secret)?, entry(secret, "ca.crt")?);
    let ends = f64::from(i32::try_from(pair.not_after().as_second())?);
    until_within(patience, "the certificate to be shown and trusted", async || {
        let carried = kubedr.carried().await?;
        let is_carried = carried.len() == WEBHOOKS && carried.iter().all(|carried| carried == bundle);
        let mut shown = Vec::new();
        for pod in kubedr.operators().await? {
            // One that is on its way out may be gone meanwhile.
            let Ok(page) = kubedr.metrics_of(&pod.name_any()).await else { continue };
            // There is none before the first certificate.
            let expiry =
                figure(&page, "kubedr_webhook_certificate_expiry_timestamp_seconds ").unwrap_or_default();
            shown.push((expiry, figure(&page, "kubedr_webhook_certificate_refused ")?));
        }
        let is_shown = !shown.is_empty() && shown.iter().all(|shown| *shown == (ends, 0.0));
        Ok(if is_carried && is_shown { Ok(()) } else { Err((is_carried, ends, shown)) })
    })
    .await
}
