//! etcd's snapshot, passed on while it is checked.
//!
//! ```text
//! etcd ──chunk──▶ Verifier ──▶ Pace ──▶ standard output ──▶ restic
//! ```
//!
//! Never staged on the node: a file beside etcd's own raises its latency a
//! hundredfold.
mod pace;
mod verifier;

use ::etcd::{Client, Error};
use model::{Reason, chain, result::Failure};
use pace::Pace;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::Instant,
};
pub use verifier::Verifier;

/// What was streamed, known only of a whole and undamaged snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFacts {
    /// Bytes of the file, its trailer included.
    pub bytes: u64,
    /// SHA-256 of the file without its trailer, which is what the trailer says.
    pub sha256: String,
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
/// `Ok` means that all of it was written, that its length is that of a whole
/// file, and that its SHA-256 is the one that etcd sent behind it. Memory is
/// bounded by one chunk, whatever the size. The member rests half as long as
/// it works, so that it goes on answering others.
pub async fn stream(
    client: Client,
    out: &mut (impl AsyncWrite + Unpin),
    bytes_per_second: Option<u64>,
) -> Result<StreamFacts, Interrupted> {
    let mut snapshot = client.snapshot().await.map_err(|error| Interrupted::Source(error.failure()))?;
    let mut verifier = Verifier::new();
    let mut pace = Pace::new(bytes_per_second);
    loop {
        let asked = Instant::now();
        let next = snapshot.next().await.map_err(|error| broken(&error, &verifier))?;
        let Some(chunk) = next else { break };
        let worked = asked.elapsed();
        verifier.push(&chunk.bytes, chunk.remaining);
        out.write_all(&chunk.bytes).await.map_err(Interrupted::Reader)?;
        pace.keep(chunk.bytes.len(), worked, asked.elapsed().saturating_sub(worked)).await;
    }
    let facts = verifier.finish().map_err(Interrupted::Source)?;
    out.flush().await.map_err(Interrupted::Reader)?;
    Ok(facts)
}

/// A member that goes away in the middle leaves a truncated snapshot.
fn broken(error: &Error, verifier: &Verifier) -> Interrupted {
    let failure = error.failure();
    Interrupted::Source(if failure.reason == Reason::EtcdUnreachable && !verifier.is_empty() {
        let message = format!("the stream broke off after {} bytes: {}", verifier.bytes(), chain(error));
        Failure::new(Reason::SnapshotTruncated, message)
    } else {
        failure
    })
}
