//! Programs that a user would type, run with a deadline.
use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;
use tokio::{io::AsyncWriteExt, process::Child};

/// Longest run of one program.
const DEADLINE: Duration = Duration::from_mins(2);

/// One program that is about to be run.
pub struct Program {
    command: tokio::process::Command,
    input: Vec<u8>,
}

/// What a program did.
#[derive(Debug)]
pub struct Output {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A program that goes on; it ends with this value.
pub struct Running {
    what: String,
    child: Child,
    log: NamedTempFile,
}

impl Running {
    /// Fails, with its last words, where it has ended by itself.
    pub fn goes_on(&mut self) -> Result<()> {
        let ended = self.child.try_wait().context("failed to look for it")?;
        ensure!(ended.is_none(), "{} ended: {ended:?}\n{}", self.what, self.said());
        Ok(())
    }

    /// Its number, as long as it goes on.
    pub fn id(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.what))
    }

    /// Ends it at once.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("failed to kill {}", self.what))
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_else(|error| error.to_string())
    }
}

impl Program {
    /// The program at `path`, without terminal and input.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let mut command = tokio::process::Command::new(path.as_ref());
        command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::piped());
        Self { command, input: Vec::new() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Hands `input` to its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// What is run, without its environment: there are keys in it.
    fn what(&self) -> String {
        let command = self.command.as_std();
        format!("{} {:?}", command.get_program().display(), command.get_args().collect::<Vec<_>>())
    }

    /// Runs it, whatever its exit code.
    pub async fn output(mut self) -> Result<Output> {
        let what = self.what();
        let mut child = self.command.spawn().with_context(|| format!("failed to start {what}"))?;
        let mut stdin = child.stdin.take().context("standard input is piped")?;
        let feed = async {
            // A program that does not read its input closes it: no failure of the test.
            let _ = stdin.write_all(&self.input).await;
            drop(stdin);
        };
        let run = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(DEADLINE, run).await;
        let output = output.with_context(|| format!("{what} took longer than {DEADLINE:?}"))??;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts it, for as long as what is returned is kept.
    pub fn start(mut self) -> Result<Running> {
        let (what, log) = (self.what(), NamedTempFile::new().context("no file for a log")?);
        let stream = log.reopen().context("no log")?;
        self.command.stdout(stream.try_clone().context("no log")?).stderr(stream).stdin(Stdio::null());
        let child = self.command.spawn().with_context(|| format!("failed to start {what}"))?;
        Ok(Running { what, child, log })
    }

    /// Runs it and returns its standard output; any exit code but 0 is an error that shows both streams.
    pub async fn succeed(self) -> Result<String> {
        let what = self.what();
        let output = self.output().await?;
        ensure!(output.code == Some(0), "{what} failed: {output:#?}");
        Ok(output.stdout)
    }
}
