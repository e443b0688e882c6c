//! The repository: restic as a process, an S3 client, and a reader of restic's format.
//!
//! ```text
//! agent ─▶ Restic ──process──▶ restic ─┬─▶ S3
//!       ─▶ Bucket ─────────────────────┤
//!       ─▶ Opened (key from restic) ───┘ which packs must be there, and are they
//! ```
//!
//! restic alone writes. What is here beside it looks: whether the bucket can be
//! used, which locks are alive, and whether every pack of a snapshot was stored.
//! The one thing that is deleted here is a lock whose owner died.
mod access;
mod bucket;
mod locks;
mod presence;
mod restic;

pub use access::{Access, Credentials};
pub use bucket::{Bucket, Contents, Object, Page};
pub use locks::{Lock, remove_stale_locks};
pub use presence::{Opened, Presence, attach};
pub use restic::{FilesBackup, Restic, Snapshot, SnapshotSummary, Stop, StreamBackup, Summary};
