//! `/healthz` and `/readyz`: whether the API server was reached and, where webhooks are served, whether there is a
//! certificate for them.
//!
//! Ready is whoever can answer the API server's questions, whether it leads or not: what keeps a leader's controllers
//! from their objects must not keep anybody from changing these. `kubedr_controller_synced` tells of that.
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};

/// Opens once, and stays open.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Opens it.
    pub fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was opened.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What readiness depends on: gates by name, all of which must be open.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Vec<(&'static str, Gate)>>>);

impl Health {
    /// One more gate.
    pub fn gate(&self, name: &'static str) -> Gate {
        let gate = Gate::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name, gate.clone()));
        gate
    }

    /// What keeps the process from being ready, by name.
    fn waits_for(&self) -> Vec<&'static str> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().filter(|(_, gate)| !gate.is_open()).map(|(name, _)| *name).collect()
    }
}

/// Answers probes, and nothing else.
pub fn router(health: Health) -> Router {
    Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(ready)).with_state(health)
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let waits_for = health.waits_for();
    if waits_for.is_empty() {
        return (StatusCode::OK, "ok".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}", waits_for.join(", ")))
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    use super::*;

    async fn probed(health: &Health) -> (u16, String) {
        let request = Request::get("/readyz").body(Body::empty()).expect("a request");
        let answer = router(health.clone()).oneshot(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1024).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn ready_is_who_waits_for_nothing_and_who_is_not_says_for_what() {
        let health = Health::default();
        let (reached, webhooks) = (health.gate("API server"), health.gate("webhooks"));
        assert_eq!(probed(&health).await, (503, "waiting for API server, webhooks".to_owned()));
        reached.open();
        assert_eq!(probed(&health).await, (503, "waiting for webhooks".to_owned()));
        webhooks.open();
        assert_eq!(probed(&health).await, (200, "ok".to_owned()));
    }
}
