//! The webhooks' own certificates beside a real API server: what two replicas store, and what they leave alone.
//!
//! The configurations ask about a kind that nobody has, so that nothing waits for an answer.
use anyhow::{Context, Result};
use api::names;
use controllers::certificates::{Certificates, MANAGER, keep};
use futures::future::join;
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::Secret,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use kubedr_tests::{Installation, now, rules_about_nobody, until, with_kinds};
use runtime::{Outcome, Target, amend, put_back};
use serde_json::{Value, json};

fn context(kubedr: &Installation) -> runtime::Context {
    runtime::Context::new(kubedr.client.clone(), kubedr.namespace.clone(), MANAGER, now)
}

/// The Secret without data, and both configurations without authorities.
fn manifests(namespace: &str) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": names::WEBHOOK_AUTHORITY, "namespace": namespace },
    });
    let configuration = |kind: &str| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": { "name": names::webhooks(namespace) },
            "webhooks": [webhook("one.kubedr.test", namespace), webhook("other.kubedr.test", namespace)],
        })
    };
    let kinds = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    let objects: Vec<String> =
        [secret].into_iter().chain(kinds.map(configuration)).map(|one| one.to_string()).collect();
    objects.join("\n---\n")
}

fn webhook(name: &str, namespace: &str) -> Value {
    json!({
        "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
        "clientConfig": { "service": { "name": names::WEBHOOK_SERVICE, "namespace": namespace, "path": "/a" } },
        "rules": rules_about_nobody(),
    })
}

async fn install(kubedr: &Installation) -> Result<()> {
    let apply = kubedr.cluster.program("kubectl").args(["apply", "-f", "-"]);
    apply.input(manifests(&kubedr.namespace)).succeed().await.map(drop)
}

struct Objects {
    secrets: Api<Secret>,
    mutating: Api<MutatingWebhookConfiguration>,
    validating: Api<ValidatingWebhookConfiguration>,
    name: String,
}

impl Objects {
    fn of(kubedr: &Installation) -> Self {
        Self {
            secrets: Api::namespaced(kubedr.client.clone(), &kubedr.namespace),
            mutating: Api::all(kubedr.client.clone()),
            validating: Api::all(kubedr.client.clone()),
            name: names::webhooks(&kubedr.namespace),
        }
    }

    /// Both configurations, but for what the API server counts.
    async fn configurations(&self) -> Result<[Value; 2]> {
        let mutating = serde_json::to_value(self.mutating.get(&self.name).await?)?;
        let validating = serde_json::to_value(self.validating.get(&self.name).await?)?;
        Ok([mutating, validating].map(|mut one| {
            let metadata = one["metadata"].as_object_mut().into_iter();
            let counted = ["managedFields", "resourceVersion", "generation"];
            metadata.for_each(|metadata| metadata.retain(|field, _| !counted.contains(&field.as_str())));
            one
        }))
    }

    /// What `ca.crt` holds, once both carry it and both replicas show one pair.
    async fn settled(&self, replicas: &[Certificates; 2]) -> Result<Value> {
        until("both replicas to agree", async || {
            let secret = serde_json::to_value(self.secrets.get(names::WEBHOOK_AUTHORITY).await?)?;
            let bundle = secret["data"]["ca.crt"].clone();
            let configurations = self.configurations().await?;
            let is_carried = carried(&configurations) == vec![&bundle; 4];
            let states = [replicas[0].state(), replicas[1].state()];
            let is_shown =
                states[0].not_after.is_some() && states[0] == states[1] && states[0].flaw.is_none();
            Ok(if bundle.is_string() && is_carried && is_shown {
                Ok(bundle)
            } else {
                Err((configurations, states))
            })
        })
        .await
    }

    /// Takes away what of both is still there.
    async fn removed(&self) -> Result<()> {
        let params = DeleteParams::default();
        let mutating = self.mutating.delete(&self.name, &params).await.map(drop);
        let validating = self.validating.delete(&self.name, &params).await.map(drop);
        for removed in [mutating, validating] {
            match removed {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                removed => removed.context("failed to delete a configuration")?,
            }
        }
        Ok(())
    }
}

/// What each webhook of both carries.
fn carried(configurations: &[Value; 2]) -> Vec<&Value> {
    let webhooks = configurations.iter().filter_map(|one| one["webhooks"].as_array()).flatten();
    webhooks.map(|webhook| &webhook["clientConfig"]["caBundle"]).collect()
}

/// A test on what is installed, which is taken away in the end.
async fn with_installed(name: &str, test: impl AsyncFnOnce(&Installation, &Objects) -> Result<()>) {
    with_kinds(name, async |kubedr| {
        install(kubedr).await?;
        let objects = Objects::of(kubedr);
        test(kubedr, &objects).await?;
        objects.removed().await
    })
    .await;
}

/// A test while two replicas keep certificates.
async fn beside(
    kubedr: &Installation,
    test: impl AsyncFnOnce(&[Certificates; 2]) -> Result<()>,
) -> Result<()> {
    let (replicas, contexts) = (<[Certificates; 2]>::default(), [context(kubedr), context(kubedr)]);
    let kept = join(keep(&contexts[0], &replicas[0]), keep(&contexts[1], &replicas[1]));
    tokio::select! {
        _ = kept => anyhow::bail!("a replica ended"),
        done = test(&replicas) => done,
    }
}

#[tokio::test]
async fn two_replicas_keep_one_pair_and_what_is_applied_again_takes_nothing_away() {
    with_installed("authority", async |kubedr, objects| {
        let installed = objects.configurations().await?;
        beside(kubedr, async |replicas| {
            let bundle = objects.settled(replicas).await?;
            let mut expected = installed;
            for webhook in expected.iter_mut().filter_map(|one| one["webhooks"].as_array_mut()).flatten() {
                webhook["clientConfig"]["caBundle"] = bundle.clone();
            }
            assert_eq!(objects.configurations().await?, expected, "nothing else is touched");
            install(kubedr).await?;
            assert_eq!(objects.configurations().await?, expected, "applied again");
            assert_eq!(objects.settled(replicas).await?, bundle);
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn authorities_that_somebody_took_away_come_back() {
    with_installed("taken-away", async |kubedr, objects| {
        beside(kubedr, async |replicas| {
            let bundle = objects.settled(replicas).await?;
            let patch = json!([{ "op": "remove", "path": "/webhooks/1/clientConfig/caBundle" }]);
            let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
            objects.validating.patch(&objects.name, &PatchParams::default(), &patch).await?;
            assert_eq!(objects.settled(replicas).await?, bundle);
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn nothing_is_written_over_what_changed_since_it_was_read() {
    with_installed("overtaken", async |kubedr, objects| {
        let ctx = context(kubedr);
        let mut secret = objects.secrets.get(names::WEBHOOK_AUTHORITY).await?;
        let seen = Target::as_seen(&objects.validating.get(&objects.name).await?);
        let labelled = Patch::Merge(json!({ "metadata": { "labels": { "somebody": "else" } } }));
        objects.secrets.patch(names::WEBHOOK_AUTHORITY, &PatchParams::default(), &labelled).await?;
        objects.validating.patch(&objects.name, &PatchParams::default(), &labelled).await?;
        secret.metadata.labels = None;
        assert_eq!(put_back(&ctx, &secret).await?, Outcome::Overtaken);
        let change =
            json!({ "webhooks": [{ "name": "one.kubedr.test", "clientConfig": { "caBundle": "YQ==" } }] });
        assert_eq!(amend(&ctx, &seen, change.clone()).await?, Outcome::Overtaken);
        let found = objects.secrets.get(names::WEBHOOK_AUTHORITY).await?;
        found.labels().get("somebody").context("the label is still there")?;
        objects.removed().await?;
        assert_eq!(amend(&ctx, &seen, change).await?, Outcome::Overtaken, "it is gone, and is not made");
        Ok(())
    })
    .await;
}
