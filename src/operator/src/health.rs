//! `/healthz` and `/readyz`: one gate per controller, one for the API server, and one for webhooks where they are served.
use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use runtime::Gate;

/// Gates by name, all of which must be open.
type Gates = Arc<Mutex<Vec<(&'static str, Gate)>>>;

/// What readiness depends on.
#[derive(Clone, Debug, Default)]
pub struct Health {
    api_server: Gate,
    /// Of each process, whether it leads or not.
    replicas: Gates,
    leads: Gate,
    /// Of the one that leads.
    controllers: Gates,
}

impl Health {
    /// The API server answered.
    pub fn reached(&self) {
        self.api_server.open();
    }

    /// This process leads: from now on it is ready only with all its caches filled.
    pub fn leading(&self) {
        self.leads.open();
    }

    /// A gate for something that each process does, whether it leads or not.
    pub fn gate_of_replica(&self, name: &'static str) -> Gate {
        one_more(&self.replicas, name)
    }

    /// A gate for one more controller.
    pub fn gate(&self, name: &'static str) -> Gate {
        one_more(&self.controllers, name)
    }

    /// What keeps the process from being ready, by name.
    fn waits_for(&self) -> Vec<&'static str> {
        let mut waits = closed(&self.replicas);
        if !self.api_server.is_open() {
            waits.push("API server");
        }
        // A follower is ready to follow.
        if self.leads.is_open() {
            waits.extend(closed(&self.controllers));
        }
        waits
    }
}

fn one_more(gates: &Gates, name: &'static str) -> Gate {
    let gate = Gate::default();
    gates.lock().unwrap_or_else(PoisonError::into_inner).push((name, gate.clone()));
    gate
}

fn closed(gates: &Gates) -> Vec<&'static str> {
    let gates = gates.lock().unwrap_or_else(PoisonError::into_inner);
    gates.iter().filter(|(_, gate)| !gate.is_open()).map(|(name, _)| *name).collect()
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
    use axum::{body::Body, http::Request};
    use tower::ServiceExt;

    use super::*;

    async fn status(health: &Health) -> StatusCode {
        let request = Request::get("/readyz").body(Body::empty()).expect("a request");
        router(health.clone()).oneshot(request).await.expect("an answer").status()
    }

    #[tokio::test]
    async fn ready_is_a_follower_that_reached_the_api_server_or_a_leader_that_knows_all() {
        let health = Health::default();
        let gate = health.gate("policy");
        assert_eq!(status(&health).await, StatusCode::SERVICE_UNAVAILABLE);
        health.reached();
        assert_eq!(status(&health).await, StatusCode::OK);
        health.leading();
        assert_eq!(status(&health).await, StatusCode::SERVICE_UNAVAILABLE);
        gate.open();
        assert_eq!(status(&health).await, StatusCode::OK);
    }
    #[tokio::test]
    async fn what_each_process_does_keeps_a_follower_from_being_ready_too() {
        let health = Health::default();
        let gate = health.gate_of_replica("webhooks");
        health.reached();
        assert_eq!(health.waits_for(), ["webhooks"]);
        assert_eq!(status(&health).await, StatusCode::SERVICE_UNAVAILABLE);
        gate.open();
        assert_eq!(status(&health).await, StatusCode::OK);
    }
}
