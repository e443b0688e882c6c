//! Reads etcd's snapshot: a file of bbolt's, in it etcd's revisions, in them Kubernetes' objects.
//!
//! ```text
//! bytes ──▶ Walk: pages in the file's order ──▶ Pages, Entries ──▶ finish: what the tree reaches ──▶ Contents
//!              page (bbolt)   revision (etcd)      resource (Kubernetes)
//! ```
//!
//! No network and no Kubernetes client. Whatever the bytes are, reading them ends, in bounded memory and in a time that
//! grows with their number, with what they hold, with where they are damaged, or with why that cannot be told.
mod bytes;
mod entries;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod keys;
mod object;
mod page;
mod pages;
mod resource;
mod revision;
mod tree;
mod walk;

pub use entries::{Encrypted, Tally};
pub use object::uid;
pub use resource::stored_at;
pub use walk::{Contents, Walk};

/// Why nothing is told of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is damaged.
    #[error(transparent)]
    Damaged(Damage),
    /// It is a database of bbolt's, but not etcd's.
    #[error("it is no database of etcd's: it has no bucket \"key\" or no bucket \"meta\"")]
    Foreign,
    /// It may be whole: it has more of something than is kept in memory.
    #[error("the file has more {0} than can be read")]
    TooMuch(&'static str),
}

/// Where a file is damaged, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("page {page} (offset {offset}): {what}")]
pub struct Damage {
    /// The page's number.
    pub page: u64,
    /// Where in the file it begins, bytes.
    pub offset: u64,
    /// What was found, and what was expected.
    pub what: String,
}
