//! `agent stream`: one member's snapshot on standard output.
use std::{
    ffi::OsString,
    os::{fd::AsFd, unix::process::CommandExt},
    path::Path,
    process::{Command, ExitCode},
};

use capture::etcd::{Interrupted, StreamFacts, Wanted, stream as pass_on};
use etcd::Client;
use model::{Reason, result::Failure};
use nix::fcntl::{FcntlArg, fcntl};
use tokio::net::unix::pipe::Sender;

use crate::{arguments::StreamRequest, config::BUCKET_KEYS, handover::Handover, secrets::Secrets};

/// What the kernel keeps between us and restic, bytes: the most that a process without privileges may ask for.
const PIPE: i32 = 1 << 20;

/// Streams, and leaves what `backup` must know of it.
///
/// Anything but exit code 0 makes restic throw away what it got.
pub async fn stream(request: &StreamRequest, secrets: &Secrets) -> ExitCode {
    let handover = match passed_on(request, secrets).await {
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

/// Begins anew in this very process, without the keys that restic was given.
///
/// A stream needs none of them. Where it cannot begin anew it ends: restic then
/// stores nothing.
pub fn without_bucket_keys() -> ExitCode {
    let error = match std::env::current_exe() {
        Ok(program) => keyless(&program, std::env::args_os().skip(1)).exec(),
        Err(error) => error,
    };
    tracing::error!(%error, "failed to begin anew without the keys of the bucket");
    ExitCode::from(Reason::Bug.exit_code())
}

fn keyless(program: &Path, arguments: impl IntoIterator<Item = OsString>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    for key in BUCKET_KEYS {
        command.env_remove(key);
    }
    command
}

async fn passed_on(request: &StreamRequest, secrets: &Secrets) -> Result<StreamFacts, Interrupted> {
    let client = connected(request, secrets).await.map_err(Interrupted::Source)?;
    let wanted = Wanted { bytes_per_second: request.max_rate, revision: request.revision };
    pass_on(client, &mut standard_output().map_err(Interrupted::Reader)?, wanted).await
}

/// The pipe to restic, as large as it may be: each side then works for longer before the other must.
fn standard_output() -> std::io::Result<Sender> {
    let pipe = std::io::stdout().as_fd().try_clone_to_owned()?;
    // One that stays small is only slower.
    if let Err(error) = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE)) {
        tracing::debug!(%error, "the pipe stays as large as it is");
    }
    Sender::from_owned_fd(pipe)
}

async fn connected(request: &StreamRequest, secrets: &Secrets) -> Result<Client, Failure> {
    let endpoints = std::slice::from_ref(&request.endpoint);
    let credentials = secrets.etcd_credentials(endpoints)?;
    Client::connect(&request.endpoint, credentials.as_ref()).await.map_err(|error| error.failure())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_anew_without_the_keys_of_the_bucket() {
        let mut command =
            keyless(Path::new("/bin/sh"), ["-c", "env; echo $0 $1", "stream", "--flag"].map(Into::into));
        let output = command.output().expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.ends_with("stream --flag\n"), "{text}");
        let removed: Vec<_> =
            command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert_eq!(removed, BUCKET_KEYS);
    }
}
