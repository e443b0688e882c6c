//! What every reconcile is given.
use jiff::Timestamp;
use kube::Client;

use crate::{echoes::Echoes, retries::Retries};

/// What a controller needs from its process.
pub struct Context {
    /// Client of the cluster the controller serves.
    pub client: Client,
    /// The operator's namespace: the only one that is watched.
    pub namespace: String,
    /// Field manager: one per controller, never shared.
    pub manager: &'static str,
    /// Who writes events: the operator's pod.
    pub instance: String,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// What watches bring of what was applied, and of statuses that were written. Changes the timing and nothing else.
    pub echoes: Echoes,
    /// How often each object failed in a row. Changes the timing and nothing else.
    pub(crate) retries: Retries,
}

impl Context {
    /// The context of the controller that is called `manager` to the API server.
    pub fn new(
        client: Client,
        namespace: impl Into<String>,
        manager: &'static str,
        now: fn() -> Timestamp,
    ) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            manager,
            instance: manager.to_owned(),
            now,
            echoes: Echoes::default(),
            retries: Retries::default(),
        }
    }

    /// The same, for a process that has a name of its own.
    #[must_use]
    pub fn on(mut self, instance: impl Into<String>) -> Self {
        self.instance = instance.into();
        self
    }

    /// The moment the clock shows.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }
}
