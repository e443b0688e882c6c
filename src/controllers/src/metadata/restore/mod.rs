//! Controller of [`MetadataRestore`]: says that this version cannot do it.
//!
//! ```text
//! API server ─▶ observe ─▶ World ─▶ decide ─▶ Plan ─▶ act ─▶ API server
//! ```
//!
//! Silence would be taken for work under way.
pub mod decide;
pub mod observe;

use std::sync::Arc;

use api::{GROUP, MetadataRestore, conditions, rbac::Rule};
use kube::{Api, Resource, core::DeserializeGuard, runtime::watcher};
use runtime::{Complaint, Done, Error, Wiring, act};

use crate::{Context, metadata::complaint, watch};

/// Name of the controller, to the API server and in the log.
pub const MANAGER: &str = "kubedr-operator/restore";

/// What the controller says on a restore when a look at it fails.
pub const COMPLAINT: Complaint = complaint::<MetadataRestore>(conditions::OF_RESTORE);

/// What the controller may do.
pub const RBAC: &[Rule] = &[
    Rule::in_namespace(&[GROUP], &["metadatarestores"], &["get", "list", "watch"]),
    Rule::in_namespace(&[GROUP], &["metadatarestores/status"], &["patch"]),
];

/// Runs the controller until it is stopped.
pub async fn run(context: Arc<Context>, wiring: Wiring) {
    let (client, namespace) = (&context.runtime.client, &context.runtime.namespace);
    let restores = Api::<DeserializeGuard<MetadataRestore>>::namespaced(client.clone(), namespace);
    let controller = watch::controller(restores, watcher::Config::default(), watch::all);
    context.known.restores.lend(controller.store());
    runtime::drive(controller, wiring, context, reconcile).await;
}

/// Answers one restore.
pub async fn reconcile(restore: Arc<MetadataRestore>, ctx: Arc<Context>) -> Result<Done, Error> {
    if restore.meta().deletion_timestamp.is_some() {
        return Ok(Done::default());
    }
    let world = observe::observe(&ctx, &restore);
    let plan = decide::decide(&world);
    act(&ctx.runtime, &*restore, plan).await
}
