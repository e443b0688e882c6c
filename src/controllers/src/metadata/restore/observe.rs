//! Reads of the restore controller: none but the clock.
use api::MetadataRestore;
use jiff::Timestamp;

use crate::Context;

/// Everything the decision may depend on.
#[derive(Clone, Debug)]
pub struct World {
    /// The restore under reconcile.
    pub restore: MetadataRestore,
    /// The moment the reconcile began.
    pub now: Timestamp,
}

/// Reads the [`World`] of one restore.
pub fn observe(ctx: &Context, restore: &MetadataRestore) -> World {
    World { restore: restore.clone(), now: ctx.runtime.now() }
}
