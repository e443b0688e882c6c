//! Which policies back up to which location, by name alone: what admission warns by, in every replica.
//!
//! ```text
//! watch of locations ─▶ names ────────────────────┐
//! watch of policies ──▶ names, each with its aim ─┴▶ Destinations ─▶ has_location, users_of
//! ```
//!
//! A leader's caches know it too, but only a leader's, and they hold whole objects. Nothing is decided by this.
use std::{
    collections::HashMap,
    future::ready,
    mem,
    pin::pin,
    sync::{PoisonError, RwLock},
};

use api::{BackupLocation, GROUP, MetadataBackupPolicy, rbac::Rule};
use futures::{StreamExt, future::join, stream::BoxStream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::Deserialize;
use serde_json::Value;

use crate::watch;

/// What the two watches may do.
pub const RBAC: &[Rule] =
    &[Rule::in_namespace(&[GROUP], &["backuplocations", "metadatabackuppolicies"], &["list", "watch"])];

/// What is known of locations, and of the policies that name them.
#[derive(Debug, Default)]
pub struct Destinations {
    locations: RwLock<Names<()>>,
    policies: RwLock<Names<Box<str>>>,
}

impl Destinations {
    /// Watches both kinds in a namespace. Does not return.
    pub async fn follow(&self, client: &Client, namespace: &str) {
        let locations = Api::<PartialObjectMeta<BackupLocation>>::namespaced(client.clone(), namespace);
        let policies = Api::<Policy>::namespaced(client.clone(), namespace);
        // On the heap: what a watch remembers is large, and the future of the whole process would have it.
        let locations = watch::objects(locations, watcher::Config::default()).boxed();
        let policies = watch::objects(policies, watcher::Config::default()).boxed();
        let locations = hear("locations", locations, |event| self.hear_of_location(event));
        join(locations, hear("policies", policies, |event| self.hear_of_policy(event))).await;
    }

    /// Whether there is a location of that name; none before all were listed.
    pub fn has_location(&self, name: &str) -> Option<bool> {
        let locations = self.locations.read().unwrap_or_else(PoisonError::into_inner);
        locations.known.as_ref().map(|known| known.contains_key(name))
    }

    /// Names of the policies whose backups go to that location; no name before all were listed.
    pub fn users_of(&self, location: &str) -> Vec<String> {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        let known = policies.known.iter().flatten().filter(|(_, destination)| &***destination == location);
        known.map(|(name, _)| name.to_string()).collect()
    }

    fn hear_of_location<K: Resource>(&self, event: Event<K>) {
        self.locations.write().unwrap_or_else(PoisonError::into_inner).hear(event, |_| Some(()));
    }

    fn hear_of_policy(&self, event: Event<Policy>) {
        self.policies.write().unwrap_or_else(PoisonError::into_inner).hear(event, Policy::destination);
    }
}

/// As much of a policy as is read of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "MetadataBackupPolicy")]
struct Policy {
    metadata: ObjectMeta,
    /// Of any shape: an object that is wrong must not keep the others from being known.
    #[serde(default)]
    spec: Value,
}

impl Policy {
    fn destination(&self) -> Option<Box<str>> {
        self.spec["destination"].as_str().map(Box::from)
    }
}

/// The objects of one kind, each as much as is kept of it, by its name.
#[derive(Debug)]
struct Names<T> {
    /// None before the first listing has come to its end. While another one comes, what was known before.
    known: Option<HashMap<Box<str>, T>>,
    /// What a listing has told up to now.
    listed: HashMap<Box<str>, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { known: None, listed: HashMap::new() }
    }
}

impl<T> Names<T> {
    fn hear<K: Resource>(&mut self, event: Event<K>, kept: impl FnOnce(&K) -> Option<T>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => put(&mut self.listed, &object, kept(&object)),
            Event::InitDone => self.known = Some(mem::take(&mut self.listed)),
            Event::Apply(object) => self.change(&object, kept(&object)),
            Event::Delete(object) => self.change(&object, None),
        }
    }

    fn change(&mut self, object: &impl Resource, kept: Option<T>) {
        if let Some(known) = &mut self.known {
            put(known, object, kept);
        }
    }
}

fn put<T>(names: &mut HashMap<Box<str>, T>, object: &impl Resource, kept: Option<T>) {
    let name = object.meta().name.as_deref().unwrap_or_default();
    match kept {
        Some(kept) => drop(names.insert(name.into(), kept)),
        None => drop(names.remove(name)),
    }
}

/// What a watch tells.
type Events<'a, K> = BoxStream<'a, watcher::Result<Event<K>>>;

/// Takes one event after the other; a watch that fails begins anew, less and less often.
async fn hear<K>(what: &str, events: Events<'_, K>, take: impl Fn(Event<K>)) {
    // In front of the pauses: a listing that only begins would be a success to them, and none be longer than the first.
    let taken = events.filter_map(|event| {
        let is_news = !matches!(event, Ok(Event::Init));
        let taken = event.map(&take);
        ready(is_news.then_some(taken))
    });
    let mut taken = pin!(taken.default_backoff());
    while let Some(taken) = taken.next().await {
        if let Err(error) = taken {
            tracing::warn!(what, error = model::chain(&error), "admission failed to watch");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::stream;
    use kube::ResourceExt;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::fixtures::{location, object};

    fn named(name: &str) -> BackupLocation {
        let mut location = location();
        location.metadata.name = Some(name.to_owned());
        location
    }

    fn policy(name: &str, spec: &Value) -> Policy {
        object(json!({ "metadata": { "name": name, "labels": { "a": "b" } }, "spec": spec, "status": {} }))
    }

    fn to(name: &str, destination: &str) -> Policy {
        policy(name, &json!({ "destination": destination, "schedule": "@daily" }))
    }

    /// All events of a listing of these.
    fn listing<K>(objects: impl IntoIterator<Item = K>) -> Vec<Event<K>> {
        let objects = objects.into_iter().map(Event::InitApply);
        [Event::Init].into_iter().chain(objects).chain([Event::InitDone]).collect()
    }

    fn with_locations(events: impl IntoIterator<Item = Event<BackupLocation>>) -> Destinations {
        let destinations = Destinations::default();
        events.into_iter().for_each(|event| destinations.hear_of_location(event));
        destinations
    }

    fn with_policies(events: impl IntoIterator<Item = Event<Policy>>) -> Destinations {
        let destinations = Destinations::default();
        events.into_iter().for_each(|event| destinations.hear_of_policy(event));
        destinations
    }

    fn users(destinations: &Destinations, location: &str) -> Vec<String> {
        let mut users = destinations.users_of(location);
        users.sort();
        users
    }

    #[test]
    fn nothing_is_known_before_a_listing_is_whole() {
        let begun = [Event::Init, Event::InitApply(named("s3"))];
        let destinations = with_locations(begun);
        assert_eq!([destinations.has_location("s3"), destinations.has_location("s4")], [None, None]);
        destinations.hear_of_location(Event::<BackupLocation>::InitDone);
        assert_eq!(
            [destinations.has_location("s3"), destinations.has_location("s4")],
            [Some(true), Some(false)]
        );
        let begun = with_policies([Event::Init, Event::InitApply(to("etcd", "s3"))]);
        assert_eq!(users(&begun, "s3"), [""; 0]);
    }

    #[test]
    fn a_listing_that_begins_anew_forgets_what_the_broken_one_told_and_keeps_what_was_known() {
        let destinations = with_locations(listing([named("old"), named("gone")]));
        for event in
            [Event::Init, Event::InitApply(named("half")), Event::Init, Event::InitApply(named("old"))]
        {
            destinations.hear_of_location(event);
            assert_eq!(destinations.has_location("gone"), Some(true), "until the new one is whole");
        }
        destinations.hear_of_location(Event::<BackupLocation>::InitDone);
        let known = ["old", "half", "gone"].map(|name| destinations.has_location(name));
        assert_eq!(known, [Some(true), Some(false), Some(false)]);
    }

    #[test]
    fn locations_come_and_go() {
        let destinations = with_locations(listing([named("s3")]));
        destinations.hear_of_location(Event::Apply(named("s4")));
        destinations.hear_of_location(Event::Delete(named("s3")));
        assert_eq!(["s3", "s4"].map(|name| destinations.has_location(name)), [Some(false), Some(true)]);
    }

    #[rstest]
    #[case::come(Event::Apply(to("c", "s3")), &["a", "b", "c"])]
    #[case::go(Event::Delete(to("a", "s3")), &["b"])]
    #[case::go_elsewhere(Event::Apply(to("a", "s4")), &["b"])]
    #[case::are_moved_here(Event::Apply(to("d", "s3")), &["a", "b", "d"])]
    #[case::lose_their_shape(Event::Apply(policy("a", &json!("none"))), &["b"])]
    fn policies(#[case] event: Event<Policy>, #[case] expected: &[&str]) {
        let destinations = with_policies(listing([to("a", "s3"), to("b", "s3"), to("d", "s4")]));
        assert_eq!(users(&destinations, "s3"), ["a", "b"]);
        destinations.hear_of_policy(event);
        assert_eq!(users(&destinations, "s3"), expected);
    }

    #[rstest]
    #[case::without_a_spec(json!({ "metadata": { "name": "a" } }))]
    #[case::with_a_number_for_a_destination(json!({ "metadata": { "name": "a" }, "spec": { "destination": 5 } }))]
    fn a_policy_is_read_though_it_is_wrong(#[case] manifest: Value) {
        let policy: Policy = object(manifest);
        assert_eq!((policy.name_any().as_str(), policy.destination()), ("a", None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_again_and_again_is_begun_less_and_less_often() {
        let (begun, heard) = (tokio::time::Instant::now(), Cell::new(0));
        let failure = || [Ok(Event::Init), Err(watcher::Error::NoResourceVersion)];
        let failures = stream::iter((0..8).flat_map(|_| failure()));
        hear("locations", failures.boxed(), |_: Event<BackupLocation>| heard.set(heard.get() + 1)).await;
        assert_eq!(heard.get(), 8, "each listing is known to begin");
        assert!(begun.elapsed().as_secs() > 60, "{:?}", begun.elapsed());
    }

    #[test]
    fn what_is_watched_are_the_kinds_themselves() {
        assert_eq!(Policy::url_path(&(), Some("n")), MetadataBackupPolicy::url_path(&(), Some("n")));
    }
}
