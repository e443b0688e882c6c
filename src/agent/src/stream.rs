//! `agent stream`: one member's snapshot on standard output.
use std::process::ExitCode;

use capture::etcd::{Interrupted, StreamFacts, stream as pass_on};
use etcd::Client;
use model::{Reason, result::Failure};

use crate::{arguments::StreamRequest, config::Mounts, handover::Handover, secrets::etcd_credentials};

/// Streams, and leaves what `backup` must know of it.
///
/// Anything but exit code 0 makes restic throw away what it got.
pub async fn stream(request: &StreamRequest, mounts: &Mounts) -> ExitCode {
    let handover = match passed_on(request, mounts).await {
        Ok(facts) => Handover::Whole(facts),
        Err(Interrupted::Source(failure)) => Handover::failed(failure),
        Err(Interrupted::Reader(error)) => {
            // Whoever read it knows better why it stopped.
            tracing::error!(%error, "restic takes no more of the snapshot");
            return ExitCode::from(Reason::Killed.exit_code());
        }
    };
    if let Err(error) = handover.leave(&request.handover) {
        tracing::error!(%error, file = ?request.handover, "failed to tell the parent");
        return ExitCode::from(Reason::NoSpace.exit_code());
    }
    match handover.into_outcome() {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.reason.exit_code()),
    }
}

async fn passed_on(request: &StreamRequest, mounts: &Mounts) -> Result<StreamFacts, Interrupted> {
    let client = connected(request, mounts).await.map_err(Interrupted::Source)?;
    pass_on(client, &mut tokio::io::stdout(), request.max_rate).await
}

async fn connected(request: &StreamRequest, mounts: &Mounts) -> Result<Client, Failure> {
    let endpoints = std::slice::from_ref(&request.endpoint);
    let credentials = etcd_credentials(&mounts.etcd_credentials(), endpoints)?;
    Client::connect(&request.endpoint, credentials.as_ref()).await.map_err(|error| error.failure())
}
