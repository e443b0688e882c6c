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
mod connection;
#[cfg(test)]
mod empty_server;
mod format;
mod listing;
mod locks;
mod presence;
mod process;
mod refusal;
mod restic;
mod verdict;

pub use access::{Access, Credentials};
pub use bucket::{Bucket, Contents, Object, Page};
pub use listing::{Listing, Snapshot};
pub use locks::{Lock, remove_stale_locks};
pub use presence::{Expected, Opened, Presence, attach};
pub use process::Stop;
pub use restic::{FilesBackup, Restic, StreamBackup, Summary};
