//! Admission as it is installed: whom the API server asks, whom it trusts, and each replica by itself.
use anyhow::{Context, Result, ensure};
use api::names;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        apps::v1::Deployment,
        core::v1::Pod,
    },
};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use crate::{Installation, until};

/// Rules by which the API server asks about a kind that nobody has: where nobody could answer, nothing waits for an answer.
pub fn rules_about_nobody() -> Value {
    json!([{
        "apiGroups": ["nobody.kubedr.test"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"],
    }])
}

/// The operator's pods, and nobody else's.
const OPERATORS: &str = "app.kubernetes.io/name=kubedr,app.kubernetes.io/component=operator";

impl Installation {
    /// Waits until a policy that is wrong is refused: until then the API server may ask nobody, and take everything.
    pub async fn wait_until_admission_answers(&self) -> Result<()> {
        // No schema knows what a schedule is.
        let wrong = self.policy("wrong", "s3", &json!({ "schedule": "every night" }));
        until("the API server to ask about a policy", async || {
            let said = self.try_out(wrong.clone()).await.err().map(|error| format!("{error:#}"));
            let is_asked = said.as_ref().is_some_and(|said| said.contains("denied the request: InvalidSpec"));
            Ok(if is_asked { Ok(()) } else { Err(said) })
        })
        .await
    }

    /// The authorities that each installed webhook carries, in PEM.
    pub async fn carried(&self) -> Result<Vec<ByteString>> {
        let name = names::webhooks(&self.namespace);
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client.clone()).get(&name).await?;
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client.clone()).get(&name).await?;
        let mutating = mutating.webhooks.into_iter().flatten().map(|webhook| webhook.client_config);
        let validating = validating.webhooks.into_iter().flatten().map(|webhook| webhook.client_config);
        Ok(mutating.chain(validating).filter_map(|config| config.ca_bundle).collect())
    }

    /// Has so many replicas of the operator, and waits until all of them serve, and no others are left.
    pub async fn scale(&self, replicas: usize) -> Result<()> {
        self.patch::<Deployment>("kubedr-operator", json!({ "spec": { "replicas": replicas } })).await?;
        until(&format!("{replicas} replicas"), async || {
            let pods = self.operators().await?;
            let is_done = pods.len() == replicas && pods.iter().all(is_ready);
            Ok(if is_done { Ok(()) } else { Err(pods.into_iter().map(|pod| pod.status).collect::<Vec<_>>()) })
        })
        .await
    }

    /// The operator's pods, also those that are on their way out.
    pub async fn operators(&self) -> Result<Vec<Pod>> {
        let pods = self.api::<Pod>().list(&ListParams::default().labels(OPERATORS)).await;
        Ok(pods.context("failed to list the operator's pods")?.items)
    }

    /// What one replica tells in its metrics.
    pub async fn metrics_of(&self, pod: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}:8080/proxy/metrics", self.namespace);
        let request = http::Request::get(path).body(Vec::new()).context("no request")?;
        self.client.request_text(request).await.with_context(|| format!("failed to scrape {pod}"))
    }

    /// What one replica answers to a review, whoever it would be sent to otherwise.
    pub async fn answer_of(&self, pod: &str, path: &str, review: &serde_json::Value) -> Result<String> {
        let port = format!("https:{pod}:9443");
        let path = format!("/api/v1/namespaces/{}/pods/{port}/proxy{path}", self.namespace);
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(review.to_string().into_bytes()).context("no request")?;
        self.client.request_text(request).await.with_context(|| format!("{pod} does not answer"))
    }
}

/// Whether it serves, and goes on to.
fn is_ready(pod: &Pod) -> bool {
    let stays = pod.metadata.deletion_timestamp.is_none();
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut conditions = conditions.into_iter();
    stays && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The sum of a metric's series whose names and labels begin so; none where there is no such series.
pub fn figure(page: &str, series: &str) -> Result<f64> {
    let lines = page.lines().filter(|line| line.starts_with(series));
    let values: Vec<f64> = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
    ensure!(!values.is_empty(), "no {series} in\n{page}");
    Ok(values.iter().sum())
}
