//! What is backed up, one folder per source.
//!
//! ```text
//! etcd::stream ─▶ standard output ─▶ restic: first snapshot
//! files::walk  ─▶ Evidence (kubedr.json) ─▶ restic: second snapshot ─▶ files::walk again
//! ```
//!
//! A source says what it read, with hashes, so that a restore can be compared
//! with what was there. Nothing is copied: restic reads the stream and the
//! files itself.
pub mod etcd;
mod evidence;
pub mod files;

pub use evidence::{Database, Evidence, Tools};
