//! An operator is replaced by another, and no request fails meanwhile.
use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use kubedr_tests::{Crowd, Installation, with_kubedr};
use serde_json::json;

/// Requests that pass with each step.
const MANY: usize = 200;

#[tokio::test]
async fn another_operator_takes_the_place_of_the_one_before_and_no_request_fails() {
    with_kubedr("rollout", async |kubedr| {
        Crowd::served(kubedr, async |crowd| {
            crowd.is_answered(MANY).await?;
            begins_anew(kubedr).await?;
            crowd.is_answered(MANY).await
        })
        .await
    })
    .await;
}

/// Does what `kubectl rollout restart` does, and waits until the one before has gone.
async fn begins_anew(kubedr: &Installation) -> Result<()> {
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" });
    let template = json!({ "metadata": { "annotations": annotations } });
    kubedr.patch::<Deployment>("kubedr-operator", json!({ "spec": { "template": template } })).await?;
    kubedr.wait_until_operator_is_ready().await?;
    kubedr.scale(1).await
}
