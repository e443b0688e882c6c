//! Of which policies there was ever a Job or a record: of the others there is nothing to list.
//!
//! ```text
//! watch of Jobs ────┐
//! watch of records ─┴▶ Traces ─▶ observe: three listings, or none
//! ```
//! A watch may be late, and then a look is as one that was made a moment before: what it tells next wakes the policy
//! again. It never unsays anything, so no look knows less than the one before.
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt};
use kube::runtime::{
    WatchStreamExt,
    watcher::{self, Event},
};

/// What was told of all policies.
#[derive(Debug, Default)]
pub struct Traces {
    /// By Jobs.
    pub(super) jobs: Trace,
    /// By records.
    pub(super) records: Trace,
}

impl Traces {
    /// Whether there may be Jobs, pods or records of a policy. Pods are of Jobs.
    pub(super) fn may_be_of(&self, policy: &str) -> bool {
        [&self.jobs, &self.records].iter().any(|trace| trace.seen().may_be_of(policy))
    }
}

/// What one watch told.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Whether all that there is was told.
    is_whole: bool,
    /// Whether it failed, and has told nothing since. It may go on where it was, or begin anew.
    is_broken: bool,
    /// Names of the policies; also of some that are gone.
    policies: HashSet<String>,
}

impl Trace {
    /// The objects of a watch, each once it is remembered.
    pub(super) fn follow<K>(
        self,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
        policy_of: impl Fn(&K) -> Option<&str>,
    ) -> impl Stream<Item = watcher::Result<K>> {
        events.inspect(move |event| self.seen().hear(event, &policy_of)).touched_objects()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn hear<K>(&mut self, event: &watcher::Result<Event<K>>, policy_of: impl Fn(&K) -> Option<&str>) {
        self.is_broken = event.is_err();
        match event {
            Err(_) => {}
            Ok(Event::Init) => self.is_whole = false,
            Ok(Event::InitDone) => self.is_whole = true,
            Ok(Event::InitApply(object) | Event::Apply(object) | Event::Delete(object)) => {
                self.policies.extend(policy_of(object).map(str::to_owned));
            }
        }
    }

    fn may_be_of(&self, policy: &str) -> bool {
        !self.is_whole || self.is_broken || self.policies.contains(policy)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const BROKEN: watcher::Error = watcher::Error::NoResourceVersion;

    /// What a watch tells, by the names of objects.
    type Told = watcher::Result<Event<&'static str>>;

    fn policy_of<'a>(object: &'a &'static str) -> Option<&'a str> {
        object.strip_prefix("of-")
    }

    fn after<const N: usize>(events: [Told; N]) -> Traces {
        let traces = Traces::default();
        traces.records.seen().hear(&Ok(Event::InitDone), policy_of);
        for event in events {
            traces.jobs.seen().hear(&event, policy_of);
        }
        traces
    }

    fn listed(object: &'static str) -> [Told; 3] {
        [Ok(Event::Init), Ok(Event::InitApply(object)), Ok(Event::InitDone)]
    }

    #[rstest]
    #[case::before_anything_was_told(after([]), true)]
    #[case::while_a_listing_comes(after([Ok(Event::Init), Ok(Event::InitApply("of-b"))]), true)]
    #[case::once_all_was_told(after(listed("of-b")), false)]
    #[case::that_is_told_of_with_nobodys(after(listed("a")), false)]
    #[case::that_was_listed(after(listed("of-a")), true)]
    #[case::that_came(after([Ok(Event::InitDone), Ok(Event::Apply("of-a"))]), true)]
    #[case::that_went(after([Ok(Event::InitDone), Ok(Event::Delete("of-a"))]), true)]
    #[case::while_the_watch_is_broken(after([Ok(Event::InitDone), Err(BROKEN)]), true)]
    #[case::once_it_goes_on(after([Ok(Event::InitDone), Err(BROKEN), Ok(Event::Apply("of-b"))]), false)]
    #[case::while_it_begins_anew(after([Ok(Event::InitDone), Ok(Event::Init)]), true)]
    fn there_may_be_something_of_a_policy(#[case] traces: Traces, #[case] expected: bool) {
        assert_eq!(traces.may_be_of("a"), expected);
    }

    #[test]
    fn a_record_is_a_trace_as_well_as_a_job() {
        let traces = after(listed("of-b"));
        traces.records.seen().hear(&Ok(Event::Apply("of-a")), policy_of);
        assert!(traces.may_be_of("a"));
    }

    #[tokio::test]
    async fn an_object_is_handed_on_when_it_is_remembered() {
        let traces = after([]);
        let events = futures::stream::iter(listed("of-a"));
        let handed: Vec<_> = traces.jobs.clone().follow(events, policy_of).collect().await;
        assert_eq!(handed.into_iter().filter_map(Result::ok).collect::<Vec<_>>(), ["of-a"]);
        assert!(traces.may_be_of("a") && !traces.may_be_of("b"));
    }
}
