//! What is read before each step.
use api::names;
use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
    },
    core::v1::Secret,
};
use kube::{Api, Resource, api::GetParams, core::Request};
use runtime::{Context, Error, Target, call};
use serde::de::DeserializeOwned;

/// A configuration that sends requests to the webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The object, as it was seen.
    pub target: Target,
    /// Counts the changes of its webhooks.
    pub generation: Option<i64>,
    /// Each webhook's name, and the authorities that it carries, in PEM.
    pub webhooks: Vec<(String, Vec<u8>)>,
}

impl Configuration {
    /// Whether another one is the same but for what others may keep beside its webhooks.
    pub fn is_still(&self, seen: &Self) -> bool {
        let what = |this: &Self| (this.target.types.kind.clone(), this.target.uid.clone(), this.generation);
        what(self) == what(seen) && self.webhooks == seen.webhooks
    }
}

/// A kind of such objects.
trait Kind: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned {
    fn webhooks(&self) -> Vec<(String, Vec<u8>)>;
}

macro_rules! kinds {
    ($($kind:ident)*) => {
        $(impl Kind for $kind {
            fn webhooks(&self) -> Vec<(String, Vec<u8>)> {
                let webhooks = self.webhooks.iter().flatten();
                webhooks.map(|webhook| (webhook.name.clone(), carried(&webhook.client_config))).collect()
            }
        })*
    };
}

kinds! { MutatingWebhookConfiguration ValidatingWebhookConfiguration }

fn carried(config: &WebhookClientConfig) -> Vec<u8> {
    config.ca_bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default()
}

/// Those that are installed.
pub async fn configurations(ctx: &Context) -> Result<Vec<Configuration>, Error> {
    let mutating = configuration::<MutatingWebhookConfiguration>(ctx).await?;
    let validating = configuration::<ValidatingWebhookConfiguration>(ctx).await?;
    Ok(mutating.into_iter().chain(validating).collect())
}

async fn configuration<K: Kind>(ctx: &Context) -> Result<Option<Configuration>, Error> {
    let objects = Api::<K>::all(ctx.client.clone());
    let found = call(objects.get_opt(&names::webhooks(&ctx.namespace))).await;
    let found = found.map_err(|source| Error::Read { what: "configurations of webhooks", source })?;
    Ok(found.map(|found| of(&found)))
}

fn of<K: Kind>(found: &K) -> Configuration {
    let generation = found.meta().generation;
    Configuration { target: Target::as_seen(found), generation, webhooks: found.webhooks() }
}

/// The Secret with the certificates.
///
/// Read as text: kube logs what it cannot read, and so does the parser in its error.
pub async fn secret(ctx: &Context) -> Result<Secret, Error> {
    let secrets = Request::new(Secret::url_path(&(), Some(&ctx.namespace)));
    let get = secrets.get(names::WEBHOOK_AUTHORITY, &GetParams::default());
    let text = call(async { ctx.client.request_text(get.map_err(kube::Error::BuildRequest)?).await }).await;
    let text = text.map_err(|source| Error::Read { what: "the Secret with the certificates", source })?;
    serde_json::from_str(&text).map_err(|_| Error::Malformed("it is no Secret".to_owned()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn configuration() -> ValidatingWebhookConfiguration {
        let webhook = |name: &str, bundle: serde_json::Value| {
            json!({
                "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": { "caBundle": bundle, "service": { "name": "s", "namespace": "n" } },
            })
        };
        let object = json!({
            "metadata": { "name": "kubedr", "uid": "u", "resourceVersion": "7", "generation": 3 },
            "webhooks": [webhook("a", json!("YQ==")), webhook("b", json!(null))],
        });
        serde_json::from_value(object).expect("a configuration")
    }

    #[test]
    fn a_webhook_without_authorities_carries_none() {
        let seen = of(&configuration());
        assert_eq!(seen.webhooks, [("a".to_owned(), b"a".to_vec()), ("b".to_owned(), Vec::new())]);
        assert_eq!(seen.target.version.as_deref(), Some("7"));
        assert_eq!(seen.target.types.kind, "ValidatingWebhookConfiguration");
    }

    #[test]
    fn what_is_kept_beside_the_webhooks_is_no_change_of_them() {
        let seen = of(&configuration());
        let mut labelled = configuration();
        labelled.metadata.resource_version = Some("8".to_owned());
        assert!(of(&labelled).is_still(&seen));
        let mut changed_and_back = labelled;
        changed_and_back.metadata.generation = Some(5);
        assert!(!of(&changed_and_back).is_still(&seen));
        let mut changed = configuration();
        let webhook = changed.webhooks.as_mut().and_then(|webhooks| webhooks.first_mut()).expect("a webhook");
        webhook.client_config.ca_bundle = Some(ByteString(b"b".to_vec()));
        assert!(!of(&changed).is_still(&seen));
    }
}
