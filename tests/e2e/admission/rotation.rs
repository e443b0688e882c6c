//! The operator's own certificates are changed while two replicas answer, and no request fails.
use std::time::Duration;

use anyhow::{Context, Result};
use api::names;
use controllers::certificates::authority::{LIFETIME, SETTLED, Step, Stored, World, after, issue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kubedr_tests::{Crowd, Installation, PATIENCE, now, until, with_kubedr};
use serde_json::json;

use super::{WEBHOOKS, entry, is_in_use, secret};

/// How long a pair is stored before a third of its life is left.
const SOON: Duration = Duration::from_secs(40);
/// Requests that pass with each step: none of a few could have failed by chance.
const MANY: usize = 200;

/// Whether the time is there that each step takes by itself.
fn is_patient() -> bool {
    std::env::var("KUBEDR_PATIENT").is_ok()
}

#[tokio::test]
async fn a_certificate_that_grows_old_is_followed_with_its_authority_and_no_request_fails() {
    with_kubedr("rotation", async |kubedr| {
        kubedr.scale(2).await?;
        let old = grows_old(kubedr).await?;
        is_in_use(kubedr, &old, PATIENCE).await?;
        let new = Crowd::served(kubedr, async |crowd| {
            crowd.is_answered(MANY).await?;
            let next = is_followed(kubedr, &old).await?;
            crowd.is_answered(MANY).await?;
            if !is_patient() {
                is_lost(kubedr).await?;
            }
            is_in_use(kubedr, &next, SETTLED + PATIENCE).await?;
            crowd.is_answered(MANY).await?;
            Ok(next)
        })
        .await?;
        // Nothing is left to do.
        let stored = Stored::read(secret(kubedr, names::WEBHOOK_AUTHORITY).await?.data.as_ref());
        assert!(stored.next.is_none(), "another one follows already");
        assert_ne!(entry(&new, "tls.crt")?, entry(&old, "tls.crt")?);
        Ok(())
    })
    .await;
}

/// Stores a pair of another authority, made so long ago that it has to be renewed soon.
async fn grows_old(kubedr: &Installation) -> Result<Secret> {
    let mut secret = secret(kubedr, names::WEBHOOK_AUTHORITY).await?;
    let stored = Stored::read(secret.data.as_ref());
    let (namespace, now) = (&*kubedr.namespace, now());
    let (unchanged, awaited) = (Duration::ZERO, Duration::ZERO);
    let world = World { stored: &stored, carried: &[], unchanged, awaited, namespace, now };
    let old = |namespace: &str, now: Timestamp| issue(namespace, now + SOON - LIFETIME * 2 / 3);
    after(&world, Step::Anew, old)?.write(secret.data.get_or_insert_default());
    let secrets = kubedr.api::<Secret>();
    secrets.replace(names::WEBHOOK_AUTHORITY, &PostParams::default(), &secret).await.context("not stored")
}

/// Waits until a pair is made that follows, while the old one is shown, and all webhooks carry the authorities of both;
/// returns what the Secret will hold.
async fn is_followed(kubedr: &Installation, old: &Secret) -> Result<Secret> {
    until("a pair to follow, and its authority to be told", async || {
        let secret = secret(kubedr, names::WEBHOOK_AUTHORITY).await?;
        let stored = Stored::read(secret.data.as_ref());
        let is_shown_still = entry(&secret, "tls.crt")? == entry(old, "tls.crt")?;
        let carried = kubedr.carried().await?;
        let bundle = entry(&secret, "ca.crt")?;
        let is_carried = carried.len() == WEBHOOKS && carried.iter().all(|carried| carried == bundle);
        let is_followed = stored.next.is_some() && is_shown_still && is_carried;
        Ok(if is_followed { Ok(promoted(secret)?) } else { Err((is_shown_still, is_carried)) })
    })
    .await
}

/// The same once the pair that follows is the one that is shown.
fn promoted(mut secret: Secret) -> Result<Secret> {
    for (key, next) in [("tls.crt", "next.crt"), ("tls.key", "next.key")] {
        let value = entry(&secret, next)?.clone();
        secret.data.get_or_insert_default().insert(key.to_owned(), value);
    }
    Ok(secret)
}

/// Takes the pair away that is shown: the next one is shown at once, and not after [`SETTLED`].
async fn is_lost(kubedr: &Installation) -> Result<()> {
    let lost = json!({ "data": { "tls.crt": null, "tls.key": null } });
    kubedr.patch::<Secret>(names::WEBHOOK_AUTHORITY, lost).await.map(drop)
}
