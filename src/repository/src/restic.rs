//! restic's verbs, as far as an agent needs them.
//!
//! ```text
//! request ─▶ arguments (no secret) ─▶ process: environment (secrets) ─▶ JSON lines or verdict
//! ```
mod arguments;
mod output;

pub use arguments::{FilesBackup, StreamBackup};
pub use output::Summary;

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
};

use model::{Reason, SnapshotId, environment::RESTIC_MEMORY, result::Failure};
use serde::Deserialize;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::{
    Access, Bucket, Stop, listing,
    process::{self, Ended, Keep},
    verdict::{self, Exit},
};

/// Variables that restic shares with us; everything else it gets from here alone.
const INHERITED: [&str; 2] = ["PATH", RESTIC_MEMORY.0];

/// How often a backup says how far it is.
const PROGRESS_PER_SECOND: &str = "0.1";

/// A summary or an id among progress messages.
const MESSAGE: Keep =
    Keep { wanted: output::is_message, hear: output::tell_progress, line: 1 << 20, total: 1 << 20 };
/// One document.
const DOCUMENT: Keep = Keep { wanted: |_| true, hear: |_| (), line: 64 << 20, total: 64 << 20 };

/// Runs restic for one repository.
///
/// # Guarantees
///
/// No secret is in its arguments. Whatever it says passes a filter that takes
/// the secrets out before it becomes a message or a line of the log. It never
/// reads from a terminal.
#[derive(Clone, Debug)]
pub struct Restic {
    access: Access,
    program: PathBuf,
    work: PathBuf,
    handed_on: Vec<(&'static str, String)>,
    stop: Option<Stop>,
}

impl Restic {
    /// Runs the `restic` of `PATH`, with its cache, home and temporary files in the folder `work`.
    pub fn new(access: &Access, work: &Path) -> Self {
        Self {
            access: access.clone(),
            program: PathBuf::from("restic"),
            work: work.to_owned(),
            handed_on: Vec::new(),
            stop: None,
        }
    }

    /// Runs this program instead.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// Variables for the program that restic reads a stream from: it has restic's own
    /// environment, and nothing of ours but this.
    #[must_use]
    pub fn handing_on(mut self, variables: Vec<(&'static str, String)>) -> Self {
        self.handed_on = variables;
        self
    }

    /// Stops restic, so that it removes its lock, as soon as `stop` holds a reason.
    ///
    /// The failure has that reason. Where restic hangs it is killed after 30 s.
    #[must_use]
    pub fn stopped_by(mut self, stop: Stop) -> Self {
        self.stop = Some(stop);
        self
    }

    /// restic's version; `ImageBroken` if it is missing or too old.
    pub async fn version(&self) -> Result<String, Failure> {
        let output = self.run("version", vec!["version".into(), "--json".into()], DOCUMENT).await?;
        let text = String::from_utf8_lossy(&output).into_owned();
        let version = output::version(&text).ok_or_else(|| {
            let text: String = text.chars().take(100).collect();
            Failure::new(
                Reason::ImageBroken,
                format!("{} is no restic: it calls itself {text:?}", self.program.display()),
            )
        })?;
        if !output::is_new_enough(&version) {
            let message = format!(
                "restic {version} is too old, at least {}.{} is needed",
                output::OLDEST.0,
                output::OLDEST.1
            );
            return Err(Failure::new(Reason::ImageBroken, message));
        }
        Ok(version)
    }

    /// Makes the repository and returns the id of its config.
    ///
    /// Only where [`Bucket::contents`](crate::Bucket::contents) found nothing: restic
    /// refuses where it sees keys or snapshots, but not packs or indexes.
    pub async fn init(&self) -> Result<SnapshotId, Failure> {
        #[derive(Deserialize)]
        struct Initialized {
            id: SnapshotId,
        }
        let arguments = ["init", "--json", "--repository-version=2"].map(OsString::from).to_vec();
        let output = self.run("init", arguments, MESSAGE).await?;
        output::parse::<Initialized>("init", output::last_line(&output)).map(|initialized| initialized.id)
    }

    /// The repository's master key, as restic prints it.
    pub(crate) async fn master_key(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        // Without a lock: nothing is written, and a lock that others hold must not stop a look.
        let arguments = ["cat", "masterkey", "--no-lock", "--json"].map(OsString::from).to_vec();
        self.run("cat", arguments, DOCUMENT).await
    }

    /// Backs up the standard output of a program; nothing is stored unless it exits with 0.
    ///
    /// # Errors
    ///
    /// `SnapshotTruncated` where the program failed. What it wrote to its
    /// standard error is in the message.
    pub async fn backup_stream(&self, request: StreamBackup<'_>) -> Result<Summary, Failure> {
        self.backup(arguments::stream(&request)).await
    }

    /// Backs up files and folders.
    pub async fn backup_files(&self, request: FilesBackup<'_>) -> Result<Summary, Failure> {
        self.backup(arguments::files(&request)).await
    }

    async fn backup(&self, arguments: Vec<OsString>) -> Result<Summary, Failure> {
        let ended = self.end("backup", arguments, MESSAGE).await?;
        let summary = output::parse::<Summary>("backup", output::last_line(&ended.output));
        match self.judge("backup", &ended) {
            Ok(()) => summary,
            Err(failure) => {
                // Exit code 3: a snapshot was made, but not of everything. It
                // must not be taken for a backup. (One that was stopped has no
                // time for that, and without a pair it is none either.)
                if (ended.stopped, ended.given_up) == (None, None)
                    && let Ok(Summary { snapshot_id, .. }) = summary
                {
                    tracing::warn!(snapshot = snapshot_id.as_str(), "forgetting an incomplete snapshot");
                    self.forget(&[snapshot_id]).await.map_err(|error| also(&failure, &error))?;
                }
                Err(failure)
            }
        }
    }

    /// Forgets snapshots by their full ids; it is no error if one is gone already.
    ///
    /// # Guarantees
    ///
    /// After `Ok` none of them is in the repository: restic calls it a success
    /// when it could not read a snapshot, so the bucket is asked afterwards.
    pub async fn forget(&self, ids: &[SnapshotId]) -> Result<(), Failure> {
        if ids.is_empty() {
            // Without ids restic would apply a policy to all of them.
            return Ok(());
        }
        self.run("forget", arguments::forget(ids), MESSAGE).await?;
        let stored = self.stored().await?;
        let left: Vec<_> = stored.iter().filter(|id| ids.contains(id)).map(SnapshotId::as_str).collect();
        if left.is_empty() {
            return Ok(());
        }
        let message = format!("restic forget succeeded, but these are still there: {}", left.join(", "));
        Err(Failure::new(Reason::Unavailable, message))
    }

    /// Ids of the snapshots in the bucket.
    async fn stored(&self) -> Result<Vec<SnapshotId>, Failure> {
        let bucket = Bucket::new(&self.access)?;
        tokio::select! {
            ids = Box::pin(listing::ids(&bucket)) => ids,
            reason = process::told_to_stop(self.stop.clone()) => {
                Err(Failure::new(reason, "listing the snapshots was stopped"))
            }
        }
    }

    async fn run(
        &self,
        verb: &str,
        arguments: Vec<OsString>,
        keep: Keep,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let ended = self.end(verb, arguments, keep).await?;
        self.judge(verb, &ended).map(|()| ended.output)
    }

    async fn end(&self, verb: &str, arguments: Vec<OsString>, keep: Keep) -> Result<Ended, Failure> {
        let hear = |line: &str| {
            tracing::warn!(verb, "restic: {}", self.access.credentials.scrub(line));
            verdict::in_vain(line)
        };
        process::run(self.command(arguments), keep, self.stop.clone(), hear).await.map_err(|error| {
            Failure::new(Reason::ImageBroken, format!("failed to start {}: {error}", self.program.display()))
        })
    }

    fn judge(&self, verb: &str, ended: &Ended) -> Result<(), Failure> {
        if let Some(reason) = ended.stopped {
            return Err(self.failure(reason, &format!("restic {verb} was stopped"), ended, ""));
        }
        if let Some(reason) = ended.given_up {
            return Err(self.failure(
                reason,
                &format!("restic {verb} tried in vain"),
                ended,
                reason.advice(),
            ));
        }
        if !ended.status.success() {
            let exit = ended
                .status
                .code()
                .map_or_else(|| Exit::Signal(ended.status.signal().unwrap_or_default()), Exit::Code);
            let reason = verdict::reason(exit, &ended.last_words);
            let what = format!("restic {verb} failed ({})", ended.status);
            return Err(self.failure(reason, &what, ended, reason.advice()));
        }
        if ended.overflowed {
            return Err(Failure::new(
                Reason::Bug,
                format!("restic {verb} printed more than can be believed"),
            ));
        }
        Ok(())
    }

    fn failure(&self, reason: Reason, what: &str, ended: &Ended, advice: &str) -> Failure {
        let said = self.access.credentials.scrub(&verdict::said(&ended.last_words));
        let said: String = said.chars().take(800).collect();
        let repository = self.access.store.repository();
        Failure::new(reason, format!("{what} at {repository}: {said}. {advice}").trim_end())
    }

    fn command(&self, arguments: Vec<OsString>) -> Command {
        let Access { store, credentials, ca_file } = &self.access;
        let mut command = Command::new(&self.program);
        command.args(["-o", arguments::lookup(&self.access)]).args(arguments).env_clear();
        let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(inherited).envs(self.handed_on.iter().map(|(name, value)| (name, value)));
        command
            .env("RESTIC_REPOSITORY", store.repository())
            .env("RESTIC_PASSWORD_FILE", &credentials.password_file)
            .env("AWS_ACCESS_KEY_ID", credentials.access_key.expose())
            .env("AWS_SECRET_ACCESS_KEY", credentials.secret_key.expose())
            .env("AWS_DEFAULT_REGION", &store.region)
            .env("RESTIC_CACHE_DIR", self.work.join("cache"))
            .env("RESTIC_PROGRESS_FPS", PROGRESS_PER_SECOND)
            .env("GOMAXPROCS", processors().to_string())
            .env("HOME", &self.work)
            .env("TMPDIR", &self.work);
        // Not --cacert: that replaces the public authorities, this adds to them
        // (Go reads the folder /etc/ssl/certs beside it).
        if let Some(file) = ca_file {
            command.env("SSL_CERT_FILE", file);
        }
        command
    }
}

/// How many processors restic may use at once: half of them. The others are etcd's, which has to answer while it is read.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1))
}

fn also(failure: &Failure, error: &Failure) -> Failure {
    let message =
        format!("{}; and the incomplete snapshot could not be forgotten: {}", failure.message, error.message);
    Failure { message, ..failure.clone() }
}

#[cfg(test)]
mod tests;
