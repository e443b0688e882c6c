//! Everything that writes to the API server, and what keeps it running.
//!
//! ```text
//! watches ─▶ drive ─▶ reconcile: observe ─▶ decide ─▶ Plan ─▶ act ─▶ API server
//!              ▲                                                │
//!            lease                              status, events ◀┘
//! ```
mod act;
mod call;
pub mod conditions;
mod context;
mod drive;
mod echoes;
mod error;
pub mod lease;
pub mod metrics;
mod pinned;
mod plan;
mod retries;

#[cfg(test)]
mod apiserver;

pub use act::{Done, act};
pub use call::{CallError, TIMEOUT, call};
pub use context::Context;
pub use drive::{CONCURRENCY, Complaint, Wiring, drive};
pub use echoes::Echoes;
pub use error::Error;
pub use pinned::{Outcome, amend, put_back};
pub use plan::{Event, Importance, MetadataPatch, Plan, Target, apply_of, dynamic, fingerprint, status_of};
