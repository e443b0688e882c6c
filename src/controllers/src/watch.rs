//! Watches that keep and carry no more of objects than is looked at: there may be ten thousand of them.
use std::{fmt::Debug, time::Duration};

use futures::{Stream, StreamExt};
use kube::{
    Api, Resource,
    runtime::{
        Controller, WatchStreamExt, reflector,
        reflector::{Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

/// Objects in one answer of a listing: they are in memory together, beside those that are kept. A CronJob's metadata, of
/// which the API server tells who wrote each field, takes 80 KB there.
const PAGE: u32 = 25;
/// How long a change is held: it may come before the answer to the write that made it.
const HOLD: Duration = Duration::from_millis(100);
/// How many changes are held at once.
const HELD: usize = 256;

/// A controller of one kind, which looks at each object that its watch brings.
pub fn controller<K>(
    api: Api<K>,
    config: watcher::Config,
    keep: impl Fn(&mut K) + Send + 'static,
) -> Controller<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (known, changed) = kept(objects(api, config), keep);
    Controller::for_stream(changed, known)
}

/// A cache that has of each object what `keep` leaves of it, and what comes or changes.
pub fn kept<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    keep: impl Fn(&mut K) + Send + 'static,
) -> (Store<K>, impl Stream<Item = watcher::Result<K>> + Send + 'static)
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let writer = Writer::<K>::default();
    let known = writer.as_reader();
    (known, reflector(writer, events.modify(keep)).applied_objects())
}

/// The same a moment later, but for listings. Of many that come at once few are held, and the others wait.
pub fn held<K: Send>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
) -> impl Stream<Item = watcher::Result<Event<K>>> {
    // Whoever polls the watch for what may be held next would not wait after an error otherwise.
    let held = events.default_backoff().map(|event| async {
        if matches!(event, Ok(Event::Apply(_))) {
            sleep(HOLD).await;
        }
        event
    });
    held.buffered(HELD)
}

/// What to leave of an object of which all is looked at.
pub fn all<K>(_object: &mut K) {}

/// What comes, changes or goes. Of a `PartialObjectMeta` the API server sends no more than that.
///
/// Never who wrote which field, nor annotations: they are larger than all else, and nobody asks a watch for them.
pub fn objects<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config.page_size(PAGE)).modify(leave_out)
}

fn leave_out(object: &mut impl Resource) {
    let metadata = object.meta_mut();
    (metadata.managed_fields, metadata.annotations) = (None, None);
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::ready, pin::pin, sync::Arc};

    use api::MetadataBackupPolicy;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use kube::{ResourceExt, runtime::controller::Action};
    use serde_json::{Value, json};
    use tokio::time::timeout;

    use super::*;
    use crate::fixtures::{answering, policy, refusal};

    /// A policy as an API server has it.
    fn stored(name: &str) -> MetadataBackupPolicy {
        let mut stored = policy();
        stored.metadata.name = Some(name.to_owned());
        stored.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        stored.annotations_mut().insert("a".to_owned(), "b".to_owned());
        stored
    }

    /// A listing of two policies, a page each; whoever asks for more at once than a page is refused.
    fn page(asked: &str) -> (u16, Value) {
        let is_second = asked.contains("continue=more");
        if !asked.contains("limit=25") {
            return refusal(403, "Forbidden");
        }
        let metadata = json!({ "resourceVersion": "7", "continue": if is_second { "" } else { "more" } });
        let (kind, items) =
            ("MetadataBackupPolicyList", [stored(if is_second { "second" } else { "first" })]);
        (200, json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata, "items": items }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_is_filled_page_by_page_with_neither_annotations_nor_who_wrote_what() {
        let api = Api::<MetadataBackupPolicy>::namespaced(answering(page), "kubedr-system");
        let controller = controller(api, watcher::Config::default(), |policy| policy.spec.suspend = true);
        let known = controller.store();
        let looks = controller.run(
            |_, _| ready(Ok::<_, Infallible>(Action::await_change())),
            |_, _, _| Action::await_change(),
            Arc::new(()),
        );
        // The watch that follows the listing is refused: what it says is no look.
        let mut looks = pin!(looks.filter_map(|look| ready(look.ok())));
        timeout(Duration::from_mins(1), looks.next()).await.expect("in time").expect("a look");
        let mut names = Vec::new();
        for kept in known.state() {
            names.push(kept.name_any());
            assert_eq!((&kept.metadata.managed_fields, &kept.metadata.annotations), (&None, &None));
            assert_eq!(kept.metadata.uid, policy().metadata.uid);
            assert!(kept.spec.suspend, "it is what is kept of it");
        }
        names.sort();
        assert_eq!(names, ["first", "second"]);
    }
}
