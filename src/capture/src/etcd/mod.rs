//! etcd's snapshot, passed on while it is checked.
//!
//! ```text
//! etcd ──chunk──▶ Inspection (Verifier, snapshot::Walk) ──▶ Pace ──▶ standard output ──▶ restic
//! ```
//!
//! Never staged on the node: a file beside etcd's own raises its latency a
//! hundredfold.
mod inspection;
mod pace;
mod verifier;

use ::etcd::{Client, Error};
use inspection::Inspection;
pub use inspection::StreamFacts;
use model::{Reason, chain, result::Failure};
use pace::Pace;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::Instant,
};

/// What is asked of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Largest rate.
    pub bytes_per_second: Option<u64>,
    /// The revision that the snapshot must have at least: what its member said just before.
    pub revision: u64,
}

/// Why a stream ended early.
#[derive(Debug)]
pub enum Interrupted {
    /// etcd, or what it sent.
    Source(Failure),
    /// Whoever reads it went away, and knows better why.
    Reader(std::io::Error),
}

/// Writes a member's snapshot to `out`, the very file that `etcdctl snapshot save` makes.
///
/// # Guarantees
///
/// `Ok` means that all of it was written, that its SHA-256 is the one that etcd
/// sent behind it, and that it is a database that etcd can open, as far as its
/// pages tell. Memory is what [`snapshot::Walk`] takes. The member rests
/// beside its work, so that it goes on answering others.
pub async fn stream(
    client: Client,
    out: &mut (impl AsyncWrite + Unpin),
    wanted: Wanted,
) -> Result<StreamFacts, Interrupted> {
    let mut snapshot = client.snapshot().await.map_err(|error| Interrupted::Source(error.failure()))?;
    let mut inspection = Inspection::new(wanted.revision);
    let mut pace = Pace::new(wanted.bytes_per_second);
    loop {
        let asked = Instant::now();
        let next = snapshot.next().await.map_err(|error| broken(&error, &inspection))?;
        let Some(chunk) = next else { break };
        let worked = asked.elapsed();
        inspection.push(&chunk.bytes, chunk.remaining);
        out.write_all(&chunk.bytes).await.map_err(Interrupted::Reader)?;
        pace.keep(chunk.bytes.len(), worked, asked.elapsed().saturating_sub(worked)).await;
    }
    let facts = inspection.finish().map_err(Interrupted::Source)?;
    out.flush().await.map_err(Interrupted::Reader)?;
    Ok(facts)
}

/// A member that goes away in the middle leaves a truncated snapshot.
fn broken(error: &Error, inspection: &Inspection) -> Interrupted {
    let failure = error.failure();
    Interrupted::Source(if failure.reason == Reason::EtcdUnreachable && inspection.bytes() > 0 {
        let message = format!("the stream broke off after {} bytes: {}", inspection.bytes(), chain(error));
        Failure::new(Reason::SnapshotTruncated, message)
    } else {
        failure
    })
}
