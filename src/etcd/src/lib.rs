//! A thin etcd client: the few calls that a backup needs, one member per client.
//!
//! ```text
//! endpoints ─▶ Client::status of each ─▶ choose ─▶ Client::snapshot of the chosen one
//! ```
//!
//! One endpoint by construction: a snapshot is the file of one member, and a
//! client that balances or resumes elsewhere would mix the files of two.
mod choice;
mod client;
mod error;
mod message;
mod probe;
mod survey;

pub use choice::{Answer, Choice, Member, agree, choose};
pub use client::{Chunk, Client, Credentials, Hash, Snapshot};
pub use error::Error;
pub use survey::{hashes, survey};
