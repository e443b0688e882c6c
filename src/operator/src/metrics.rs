//! `/metrics`: what a scrape is told.
//!
//! ```text
//! GET /metrics ─▶ Page: process ─▶ webhooks? answers ─▶ leader? objects, reconciles
//! ```
use std::sync::{Arc, OnceLock};

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use controllers::{Known, Settings};
use jiff::Timestamp;
use runtime::metrics::{self, Meters, Page};

use crate::admission::Desk;

/// What a leader has to tell.
#[derive(Clone)]
pub struct Told {
    /// What its controllers know.
    pub known: Arc<Known>,
    /// What an administrator decided.
    pub settings: Arc<Settings>,
    /// How its reconciles go.
    pub meters: Meters,
}

/// What is told, and what time it is.
#[derive(Clone)]
pub struct Metrics {
    leading: Arc<OnceLock<Told>>,
    desk: Option<Desk>,
    now: fn() -> Timestamp,
}

impl Metrics {
    /// Those of a process that does not lead, and may answer reviews.
    pub fn new(desk: Option<Desk>, now: fn() -> Timestamp) -> Self {
        Self { leading: Arc::default(), desk, now }
    }

    /// This process leads, until it ends: from now on it tells of objects.
    pub fn leading(&self, told: Told) {
        self.leading.get_or_init(|| told);
    }

    fn page(&self) -> String {
        let (mut page, leading) = (Page::default(), self.leading.get());
        metrics::of_process(&mut page, leading.is_some(), env!("CARGO_PKG_VERSION"));
        if let Some(desk) = &self.desk {
            desk.write(&mut page);
        }
        if let Some(Told { known, settings, meters }) = leading {
            meters.write(&mut page);
            let world = controllers::metrics::observe(known, settings, (self.now)());
            controllers::metrics::write(&mut page, &world);
        }
        page.into_text()
    }
}

/// Answers scrapes, and nothing else.
pub fn router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(metrics)
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.page())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    use super::*;

    async fn scraped(metrics: &Metrics) -> String {
        let request = Request::get("/metrics").body(Body::empty()).expect("a request");
        let answer = router(metrics.clone()).oneshot(request).await.expect("an answer");
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        String::from_utf8(body.to_vec()).expect("text")
    }

    fn told() -> Told {
        let settings = Settings::new("kubedr/agent:1", "u");
        Told { known: Arc::default(), settings: Arc::new(settings), meters: Meters::default() }
    }

    #[tokio::test]
    async fn only_a_leader_tells_more_than_what_it_is() {
        let metrics = Metrics::new(None, || Timestamp::UNIX_EPOCH);
        let follower = scraped(&metrics).await;
        assert!(follower.contains("\nkubedr_leader 0\n") && follower.contains("kubedr_build_info{version="));
        assert_eq!(follower.lines().filter(|line| !line.starts_with('#')).count(), 2, "{follower}");
        let told = told();
        told.meters.meter("policy");
        metrics.leading(told);
        let leader = scraped(&metrics).await;
        assert!(leader.contains("\nkubedr_leader 1\n"), "{leader}");
        assert!(leader.contains(r#"kubedr_reconcile_duration_seconds_count{controller="policy"} 0"#));
    }
    #[tokio::test]
    async fn a_follower_tells_of_its_answers_too() {
        let follower = scraped(&Metrics::new(Some(Desk::default()), || Timestamp::UNIX_EPOCH)).await;
        for kind in ["BackupLocation", "MetadataBackupPolicy", "MetadataBackupRecord", "MetadataRestore"] {
            let line = format!("\nkubedr_webhook_answers_total{{kind=\"{kind}\",allowed=\"true\"}} 0\n");
            assert!(follower.contains(&line), "{line} is not in\n{follower}");
        }
        assert!(follower.contains("\nkubedr_leader 0\n"), "{follower}");
    }
}
