//! The controllers: one folder per kind, each `mod`, `observe`, `decide`, `build`.
//!
//! ```text
//! location: init Job ─▶ repository pinned ─▶ policy: CronJob ─▶ Jobs ─▶ record: records
//!                                              └─ retention: forget Job ─▶ record: records go
//! ```
mod agent_pod;
pub mod certificates;
#[cfg(test)]
mod fixtures;
mod known;
mod marks;
pub mod metadata;
pub mod metrics;
mod nodes;
mod ownership;
mod placement;
mod rbac;
mod read;
mod run;
mod upstream;
mod watch;

use std::sync::Arc;

use api::AllowedHostPaths;

pub use known::Known;
pub use metadata::policy::{locations::Locations, traces::Traces};
pub use nodes::Nodes;
pub use rbac::{AUTHORITY, LEASE, RBAC};

/// What an administrator decided for all objects, and what is known of the cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the agents' pods.
    pub agent_image: String,
    /// `imagePullPolicy` of the agents' pods; the API server's default where absent.
    pub agent_image_pull_policy: Option<String>,
    /// Folders of the node that a policy may name.
    pub allowed_host_paths: AllowedHostPaths,
    /// uid of the namespace `kube-system`.
    pub cluster_uid: String,
    /// What the cluster is called in the repository; its uid where absent.
    pub cluster_name: Option<String>,
}

impl Settings {
    /// What is so where an administrator decided nothing, in the cluster whose `kube-system` has this uid.
    pub fn new(agent_image: impl Into<String>, cluster_uid: impl Into<String>) -> Self {
        Self {
            agent_image: agent_image.into(),
            agent_image_pull_policy: None,
            allowed_host_paths: AllowedHostPaths::default(),
            cluster_uid: cluster_uid.into(),
            cluster_name: None,
        }
    }
}

/// What every reconcile is given.
pub struct Context {
    /// Client, clock and name.
    pub runtime: runtime::Context,
    /// What an administrator decided.
    pub settings: Arc<Settings>,
    /// What the controllers know together.
    pub known: Arc<Known>,
    /// Which labels nodes carry.
    pub nodes: Arc<Nodes>,
    /// The locations that policies name.
    pub locations: Locations,
    /// Of which policies there is more than themselves.
    pub traces: Traces,
}

impl AsRef<runtime::Context> for Context {
    fn as_ref(&self) -> &runtime::Context {
        &self.runtime
    }
}
