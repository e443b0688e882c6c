//! Which labels nodes carry: listed once for all who ask within a moment.
//!
//! ```text
//! reconcile ─▶ labels ─┐
//! now and then ────────┴▶ one listing ─▶ changed? ─▶ all are looked at again
//! ```
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{Stream, stream};
use runtime::Error;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{Context, read};

/// Keys of labels, each of which some node carries.
pub type NodeLabels = BTreeSet<String>;

/// How often to look whether they have changed: nodes are not watched, there are too many changes.
const NOW_AND_THEN: Duration = Duration::from_mins(5);

/// The labels of all nodes, as they were listed last.
#[derive(Debug, Default)]
pub struct Nodes {
    listed: Mutex<Option<(Instant, NodeLabels)>>,
    changes: AtomicU64,
}

impl Nodes {
    /// How old a listing may be, and what was read of a location. Ten thousand policies that are looked at together need
    /// not ask ten thousand times.
    pub const RECENT: Duration = Duration::from_secs(1);

    /// The labels as they are, or were a moment ago. Where they had nothing for whoever asks, they are listed anew: a node
    /// may have been labelled just before an object was changed to ask for it, and nobody would look again for minutes.
    pub(crate) async fn labels(
        &self,
        ctx: &runtime::Context,
        has_what_is_asked: impl Fn(&NodeLabels) -> bool,
    ) -> Result<NodeLabels, Error> {
        // Who comes meanwhile waits for the same answer.
        let mut listed = self.listed.lock().await;
        if let Some((at, labels)) = &*listed
            && at.elapsed() < Self::RECENT
            && has_what_is_asked(labels)
        {
            return Ok(labels.clone());
        }
        let now = Instant::now();
        let labels = read::node_labels(ctx).await?;
        let had_others = listed.as_ref().is_some_and(|(_, before)| *before != labels);
        self.changes.fetch_add(u64::from(had_others), Ordering::Relaxed);
        *listed = Some((now, labels.clone()));
        Ok(labels)
    }
}

/// Tells, some minutes later at the latest, that they have changed: whoever asked before may have to do another thing.
pub fn changes(ctx: Arc<Context>) -> impl Stream<Item = ()> {
    stream::unfold((ctx, 0), async |(ctx, seen)| {
        loop {
            sleep(NOW_AND_THEN).await;
            if let Err(error) = ctx.nodes.labels(&ctx.runtime, |_| true).await {
                tracing::warn!(error = model::chain(&error), "failed to look at nodes");
            }
            let changes = ctx.nodes.changes.load(Ordering::Relaxed);
            if changes != seen {
                return Some(((), (ctx, changes)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::atomic::AtomicUsize};

    use futures::StreamExt;
    use serde_json::{Value, json};
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::fixtures::{self, answering, refusal};

    /// The label of each node.
    type Listing = &'static [&'static str];

    /// A context whose API server has these nodes, one listing after the other; nobody may see none.
    fn context(listings: &'static [Listing]) -> (Arc<Context>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let client = answering(move |_| {
            let listing = listings[count.fetch_add(1, Ordering::Relaxed)];
            if listing.is_empty() { refusal(403, "Forbidden") } else { (200, nodes(listing)) }
        });
        (Arc::new(fixtures::context(client)), asked)
    }

    fn nodes(listing: Listing) -> Value {
        let node = |(number, label): (usize, &&str)| {
            json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": { "name": format!("n{number}"), "labels": { *label: number.to_string() } },
            })
        };
        let items: Vec<_> = listing.iter().enumerate().map(node).collect();
        let kind = "PartialObjectMetadataList";
        json!({ "apiVersion": "meta.k8s.io/v1", "kind": kind, "metadata": {}, "items": items })
    }

    async fn labels(ctx: &Context) -> String {
        let labels = ctx.nodes.labels(&ctx.runtime, |labels| !labels.contains("few")).await;
        labels.map_or_else(|error| error.to_string(), |labels| Vec::from_iter(labels).join(" "))
    }

    #[tokio::test(start_paused = true)]
    async fn are_listed_once_for_all_who_ask_within_a_moment() {
        let (ctx, asked) = context(&[&["a"], &["a", "b"]]);
        let both = tokio::join!(labels(&ctx), labels(&ctx));
        assert_eq!(both, ("a".to_owned(), "a".to_owned()));
        advance(Nodes::RECENT).await;
        assert_eq!(labels(&ctx).await, "a b");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn are_listed_anew_where_they_have_nothing_for_who_asks() {
        let (ctx, _) = context(&[&["few"], &["few", "b"], &["a"]]);
        assert_eq!(labels(&ctx).await, "few");
        assert_eq!(labels(&ctx).await, "b few");
        assert_eq!((labels(&ctx).await, labels(&ctx).await), ("a".to_owned(), "a".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_fails_is_not_remembered() {
        let (ctx, _) = context(&[&[], &["a"]]);
        assert_eq!(labels(&ctx).await, "failed to read nodes");
        assert_eq!(labels(&ctx).await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn tell_of_labels_that_come_or_go_and_of_no_other_node() {
        let (ctx, asked) = context(&[&["a"], &["a", "a"], &[], &["a", "b"], &["a", "b"]]);
        labels(&ctx).await;
        let mut changes = pin!(changes(ctx.clone()));
        changes.next().await.expect("a change");
        assert_eq!(asked.load(Ordering::Relaxed), 4, "neither with a node alike nor with a failure");
        let next = timeout(NOW_AND_THEN + Nodes::RECENT, changes.next()).await;
        assert!(next.is_err(), "it is told once");
        assert_eq!(asked.load(Ordering::Relaxed), 5);
    }
}
