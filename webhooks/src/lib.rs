//! Admission: what the API server asks before it stores or removes an object of kubedr's kinds.
//!
//! ```text
//! connection ─▶ server: TLS, few and short ─▶ router ─▶ body ─▶ review ─▶ judge ─▶ answer
//!                                                                          │
//!                                                         api: validate(); others: warnings
//! ```
//!
//! There are no rules here: `api` has them, and each reconcile asks the same ones. No client, no side effect, so a
//! dry run is nothing else. Nothing depends on an answer: what was stored while nobody asked is refused by the
//! operator, in the object's status.
mod answer;
mod body;
mod judge;
mod metadata;
mod others;
mod review;
pub mod server;
mod services;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use api::{
    AllowedHostPaths, BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore,
    names::{Verb, webhook_path},
};
use axum::{
    Router,
    extract::{Request, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::post,
};
use jiff::Timestamp;

pub use answer::Answer;
pub use judge::Kind;
pub use others::Others;
pub use services::Services;

use crate::{
    answer::{Subject, Verdict},
    body::{Room, Unread},
    review::{Head, Review},
};

/// What requests are judged by.
#[derive(Clone)]
pub struct Admission {
    /// The operator's own namespace.
    pub namespace: String,
    /// Folders of the node that a policy may name.
    pub allowed_host_paths: AllowedHostPaths,
    /// What is known of other objects.
    pub others: Others,
    /// Addresses that this cluster's Services may have; none where nobody knows.
    pub services: Option<Services>,
    /// What time it is.
    pub now: fn() -> Timestamp,
    /// Hears of each answer.
    pub told: Arc<dyn Fn(&Told) + Send + Sync>,
}

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The kind that it is about.
    pub kind: Cow<'static, str>,
    /// Whether the request is allowed.
    pub allowed: bool,
    /// How long it took, without what the network takes.
    pub took: Duration,
}

/// Answers reviews of every kind, and nothing else.
pub fn router(admission: Admission) -> Router {
    let desk = Desk { admission, room: Room::default() };
    Router::new()
        .route(&webhook_path::<BackupLocation>(Verb::Mutate), post(mutate::<BackupLocation>))
        .route(&webhook_path::<MetadataBackupPolicy>(Verb::Mutate), post(mutate::<MetadataBackupPolicy>))
        .route(&webhook_path::<BackupLocation>(Verb::Validate), post(validate::<BackupLocation>))
        .route(&webhook_path::<MetadataBackupPolicy>(Verb::Validate), post(validate::<MetadataBackupPolicy>))
        .route(&webhook_path::<MetadataBackupRecord>(Verb::Validate), post(validate::<MetadataBackupRecord>))
        .route(&webhook_path::<MetadataRestore>(Verb::Validate), post(validate::<MetadataRestore>))
        .with_state(Arc::new(desk))
}

/// Answers one review: whatever the body is, with a review.
///
/// A defaulting request is allowed as it is. Every default is in the schema, where it also holds while nobody
/// answers, and no webhook rewrites what a manifest gave: upstream's empty words stay, and mean the default. The
/// route is there because upstream's definitions of webhooks name it.
pub fn answer<K: Kind>(verb: Verb, body: &[u8], by: &Admission) -> Answer {
    let review = match Review::read(body) {
        Ok(review) => review,
        Err(why) => return Unread { why, head: Head::of(body) }.answer::<K>(verb),
    };
    let judged = review.about::<K>().and_then(|request| {
        let verdict = match verb {
            Verb::Mutate => Verdict::default(),
            Verb::Validate => judge::judge::<K>(request, by)?,
        };
        Ok(verdict.answer(review.uid(), Subject { kind: &K::kind(&()), name: request.name() }))
    });
    judged.unwrap_or_else(|malformed| malformed.answer(review.uid()))
}

async fn mutate<K: Kind>(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    desk.answer::<K>(Verb::Mutate, request).await
}

async fn validate<K: Kind>(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    desk.answer::<K>(Verb::Validate, request).await
}

impl Unread {
    /// The answer that says why. Who asks goes on without one of a kind that nobody waits for: then it hears none.
    fn answer<K: Kind>(&self, verb: Verb) -> Answer {
        let is_heard = verb == Verb::Validate && K::IS_AWAITED;
        self.why.answer(if is_heard { self.head.uid() } else { "" })
    }
}

/// Where requests are answered.
struct Desk {
    admission: Admission,
    room: Room,
}

impl Desk {
    /// HTTP's own status says only that there is an answer: the API server takes any other for a broken webhook.
    async fn answer<K: Kind>(&self, verb: Verb, request: Request) -> Response {
        let read = self.room.read(request.into_body()).await;
        let begun = Instant::now();
        let answer = match &read {
            Ok(read) => answer::<K>(verb, &read.bytes, &self.admission),
            Err(unread) => unread.answer::<K>(verb),
        };
        let told = Told { kind: K::kind(&()), allowed: answer.allowed, took: begun.elapsed() };
        if !told.allowed {
            tracing::debug!(kind = &*told.kind, answer.message, "refused a request");
        }
        (self.admission.told)(&told);
        ([(CONTENT_TYPE, "application/json")], answer.json).into_response()
    }
}
