//! The locations that policies name: each read once for all who ask within a moment.
//!
//! ```text
//! watch of locations ─▶ changed ─┐
//! observe ─▶ named ──────────────┴▶ what was read a moment ago, or a new reading
//! ```
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use api::BackupLocation;
use runtime::Error;
use tokio::{sync::Mutex, time::Instant};

use crate::{Nodes, read};

/// Locations as they were read last.
#[derive(Debug, Default)]
pub struct Locations {
    read: Mutex<HashMap<String, Reading>>,
    changes: AtomicU64,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    /// How many changes were told before.
    changes: u64,
    location: Option<BackupLocation>,
}

impl Locations {
    /// The location of that name as it is, or was a moment ago; none where there is none, or it is malformed.
    ///
    /// Whoever is woken by a change of a location finds that change: it was told before.
    pub(super) async fn named(
        &self,
        ctx: &runtime::Context,
        name: &str,
    ) -> Result<Option<BackupLocation>, Error> {
        // Who comes meanwhile waits for the same answer.
        let mut read = self.read.lock().await;
        let (at, changes) = (Instant::now(), self.changes.load(Ordering::Relaxed));
        read.retain(|_, reading| reading.changes == changes && at - reading.at < Nodes::RECENT);
        if let Some(reading) = read.get(name) {
            return Ok(reading.location.clone());
        }
        let location = read::one(ctx, "locations", name).await?;
        read.insert(name.to_owned(), Reading { at, changes, location: location.clone() });
        Ok(location)
    }

    /// Tells that a location has changed, come or gone: what was read before is forgotten.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::ResourceExt;
    use serde_json::{Value, json};
    use tokio::time::advance;

    use super::*;
    use crate::{
        Context,
        fixtures::{answering, context, location, refusal},
    };

    /// What an API server says of a location: which version there is, where it says anything.
    type Says = Option<Option<&'static str>>;

    const ABSENT: Says = Some(None);
    const NO: Says = None;

    fn answer(says: Says) -> (u16, Value) {
        let Some(version) = says else { return refusal(403, "Forbidden") };
        let Some(version) = version else { return refusal(404, "NotFound") };
        let mut location = location();
        location.metadata.resource_version = Some(version.to_owned());
        (200, json!(location))
    }

    /// A context whose API server says one after the other, and how often it was asked.
    fn asking(says: &'static [Says]) -> (Context, Arc<AtomicU64>) {
        let asked = Arc::new(AtomicU64::new(0));
        let (count, mut says) = (asked.clone(), says.iter());
        let client = answering(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            answer(*says.next().expect("it is asked no more"))
        });
        (context(client), asked)
    }

    async fn version(ctx: &Context, name: &str) -> String {
        match ctx.locations.named(&ctx.runtime, name).await {
            Ok(found) => found.and_then(|location| location.resource_version()).unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_read_once_for_all_who_ask_within_a_moment() {
        let (ctx, asked) = asking(&[Some(Some("1")), Some(Some("2"))]);
        let both = tokio::join!(version(&ctx, "a"), version(&ctx, "a"));
        assert_eq!(both, ("1".to_owned(), "1".to_owned()));
        advance(Nodes::RECENT).await;
        assert_eq!(version(&ctx, "a").await, "2");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_read_for_itself() {
        let (ctx, _) = asking(&[Some(Some("1")), ABSENT]);
        assert_eq!(version(&ctx, "a").await, "1");
        assert_eq!(version(&ctx, "b").await, "");
        assert_eq!(version(&ctx, "a").await, "1");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_is_found_by_whom_it_wakes() {
        let (ctx, _) = asking(&[ABSENT, Some(Some("1"))]);
        assert_eq!(version(&ctx, "a").await, "");
        ctx.locations.changed();
        assert_eq!(version(&ctx, "a").await, "1");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_while_one_changed_is_not_remembered() {
        let locations = Arc::new(Locations::default());
        let told = locations.clone();
        let ctx = context(answering(move |_| {
            told.changed();
            answer(ABSENT)
        }));
        for asked in 1..=2 {
            locations.named(&ctx.runtime, "a").await.expect("an answer");
            assert_eq!(locations.changes.load(Ordering::Relaxed), asked, "each time anew");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_fails_is_not_remembered() {
        let (ctx, _) = asking(&[NO, Some(Some("1"))]);
        assert_eq!(version(&ctx, "a").await, "failed to read locations");
        assert_eq!(version(&ctx, "a").await, "1");
    }
}
