//! What the Secret holds, made by the steps that made it.
use std::{collections::BTreeMap, time::Duration};

use controllers::certificates::authority::{
    Bundle, Decision, Issued, Step, Stored, World, after, decide, issue,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;

pub const NAMESPACE: &str = "kubedr-system";

/// When the first pair is made.
pub fn start() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().expect("a timestamp")
}

/// Days after the start.
pub fn day(days: i64) -> Timestamp {
    start() + SignedDuration::from_hours(24 * days)
}

/// A moment in which everything is read.
#[derive(Clone)]
pub struct Scene {
    pub stored: Stored,
    pub carried: Vec<Vec<u8>>,
    pub unchanged: Duration,
    pub awaited: Duration,
    pub namespace: &'static str,
    pub now: Timestamp,
}

impl Scene {
    /// Nothing is stored yet, and nothing is installed.
    pub fn empty() -> Self {
        let stored = Stored::new(&Bundle::default(), None, None);
        let (unchanged, awaited) = (Duration::ZERO, Duration::ZERO);
        Self { stored, carried: Vec::new(), unchanged, awaited, namespace: NAMESPACE, now: start() }
    }

    /// A pair was made at the start, and is trusted.
    pub fn first() -> Self {
        Self::empty().done(Step::Anew).told()
    }

    /// Another one follows it, of which API servers have not heard yet.
    pub fn begun() -> Self {
        Self::first().at(day(250)).done(Step::Begin)
    }

    /// The other one is shown.
    pub fn promoted() -> Self {
        Self::begun().told().done(Step::Promote)
    }

    pub fn at(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    pub fn unchanged_for(self, seconds: u64) -> Self {
        Self { unchanged: Duration::from_secs(seconds), ..self }
    }

    /// The pair that follows has been there for so long.
    pub fn awaited_for(self, seconds: u64) -> Self {
        Self { awaited: Duration::from_secs(seconds), ..self }
    }

    /// Both configurations carry what is stored.
    pub fn told(self) -> Self {
        let bundle = self.stored.bundle().to_pem().into_bytes();
        Self { carried: vec![bundle.clone(), bundle], ..self }
    }

    /// A step is done.
    pub fn done(self, step: Step) -> Self {
        let stored = self.after(step, issue);
        Self { stored, ..self }
    }

    /// Somebody changes the Secret.
    pub fn with(self, change: impl FnOnce(&mut BTreeMap<String, ByteString>)) -> Self {
        let mut data = self.data();
        change(&mut data);
        Self { stored: Stored::read(Some(&data)), ..self }
    }

    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        self.stored.write(&mut data);
        data
    }

    pub fn decision(&self) -> Decision {
        decide(&self.world())
    }

    pub fn after(
        &self,
        step: Step,
        issue: impl FnOnce(&str, Timestamp) -> Result<Issued, controllers::certificates::authority::NotMade>,
    ) -> Stored {
        after(&self.world(), step, issue).expect("a pair")
    }

    pub fn world(&self) -> World<'_> {
        World {
            stored: &self.stored,
            carried: &self.carried,
            unchanged: self.unchanged,
            awaited: self.awaited,
            namespace: self.namespace,
            now: self.now,
        }
    }
}
