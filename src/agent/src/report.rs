//! How a run ended: for the operator, for whoever looks at the log, and for the shell.
use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    pin::Pin,
    process::ExitCode,
    time::Duration,
};

use model::{
    Reason,
    environment::RESULT_FILE,
    result::{Failure, Outcome, render},
};
use serde::Serialize;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    run::{Run, stopped_because},
    secrets::Secrets,
};

/// How long a stopped verb may take to end by itself, in which restic gives its
/// lock back, and how long anything is tidied up. Below the pod's grace period.
const GRACE: Duration = Duration::from_secs(50);

/// Where results go.
pub struct Report {
    file: PathBuf,
    secrets: Secrets,
}

impl Report {
    /// Results go to `file`, and to standard output; failures name that of `secrets` which mends them.
    pub fn new(file: PathBuf, secrets: Secrets) -> Self {
        Self { file, secrets }
    }

    /// Runs a verb to its end, whatever end that is, reports it, and has it tidied up.
    ///
    /// # Guarantees
    ///
    /// There is a result: also after a panic, a signal or the deadline. It is
    /// left before anything is tidied, and no tidying changes it.
    pub async fn conclude<Success, Work>(
        &self,
        verb: &str,
        run: &Run,
        work: Result<Work, Failure>,
    ) -> ExitCode
    where
        Success: Serialize + Send + 'static,
        Work: Future<Output: Into<Ended<Success>>> + Send + 'static,
    {
        let Ended { outcome, tidying } = match work {
            Ok(work) => ended(tokio::spawn(async { work.await.into() }), run).await,
            Err(failure) => Err(failure).into(),
        };
        let code = self.tell(verb, &outcome.map_err(|failure| self.secrets.blamed(failure)), run.signal());
        tidied(tidying).await;
        code
    }

    /// Reports a run that ended before it began.
    pub fn refuse(&self, verb: &str, failure: Failure) -> ExitCode {
        self.tell::<()>(verb, &Err(failure), None)
    }

    fn tell<Success: Serialize>(
        &self,
        verb: &str,
        outcome: &Outcome<Success>,
        signal: Option<u8>,
    ) -> ExitCode {
        self.leave(&render(verb, outcome));
        outcome.as_ref().err().map_or(ExitCode::SUCCESS, |failure| {
            tracing::error!(reason = %failure.reason, "{}", failure.message);
            ExitCode::from(exit_code(failure, signal))
        })
    }

    fn leave(&self, text: &str) {
        if let Err(error) = write(&self.file, text) {
            tracing::warn!(file = ?self.file, %error, "failed to leave the result");
        }
        _ = writeln!(io::stdout(), "{text}");
    }
}

/// How a verb ended, and what it tidies up once that is reported.
pub struct Ended<Success> {
    /// What is reported.
    pub outcome: Outcome<Success>,
    /// What follows.
    pub tidying: Tidying,
}

/// Work that no result depends on.
pub type Tidying = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<Success> From<Outcome<Success>> for Ended<Success> {
    fn from(outcome: Outcome<Success>) -> Self {
        Self { outcome, tidying: Box::pin(std::future::ready(())) }
    }
}

/// Tidies up; in a task of its own, because a panic must not change the exit code.
async fn tidied(tidying: Tidying) {
    match timeout(GRACE, tokio::spawn(tidying)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("tidying up failed unexpectedly: {error}"),
        Err(_) => tracing::warn!("tidying up took longer than {} s", GRACE.as_secs()),
    }
}

async fn ended<Success>(mut verb: JoinHandle<Ended<Success>>, run: &Run) -> Ended<Success> {
    let too_late = async {
        let reason = run.stopped().await;
        sleep(GRACE).await;
        reason
    };
    tokio::select! {
        ended = &mut verb => ended.unwrap_or_else(|error| Err(bug(&error)).into()),
        reason = too_late => Err(stopped_because(reason)).into(),
    }
}

fn bug(error: &tokio::task::JoinError) -> Failure {
    Failure::new(Reason::Bug, format!("the agent failed unexpectedly: {error}; its log says where"))
}

fn exit_code(failure: &Failure, signal: Option<u8>) -> u8 {
    match failure.reason {
        Reason::Killed => signal.unwrap_or_else(|| failure.reason.exit_code()),
        reason => reason.exit_code(),
    }
}

/// The kubelet makes the termination message's file before the pod starts.
/// Where it is not there this is no pod, and nothing is made in `/dev`.
pub fn write(file: &Path, text: &str) -> io::Result<()> {
    let is_ours = file != Path::new(RESULT_FILE);
    if !is_ours && !file.exists() {
        return Ok(());
    }
    let mut file = OpenOptions::new().write(true).create(is_ours).truncate(true).open(file)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use model::result::Forgotten;
    use rstest::rstest;

    use super::*;
    use crate::secrets::tests::secrets;

    #[rstest]
    #[case::by_its_reason(Reason::WrongPassword, None, 67)]
    #[case::a_bug(Reason::Bug, None, 70)]
    #[case::terminated(Reason::Killed, Some(143), 143)]
    #[case::interrupted(Reason::Killed, Some(130), 130)]
    #[case::restic_was_killed_by_someone_else(Reason::Killed, None, 75)]
    #[case::another_failure_while_stopping(Reason::AccessDenied, Some(143), 69)]
    fn exits_with(#[case] reason: Reason, #[case] signal: Option<u8>, #[case] code: u8) {
        assert_eq!(exit_code(&Failure::new(reason, ""), signal), code);
    }

    fn run() -> Run {
        Run::start(Duration::from_hours(1), || jiff::Timestamp::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn a_panic_is_a_bug_that_is_reported() {
        let panicking = tokio::spawn(async { panic!("on purpose") });
        let ended: Ended<()> = ended(panicking, &run()).await;
        assert_eq!(ended.outcome.expect_err("panicked").reason, Reason::Bug);
    }

    #[tokio::test]
    async fn the_deadline_ends_what_can_be_dropped() {
        let run = Run::start(Duration::ZERO, || jiff::Timestamp::UNIX_EPOCH);
        let outcome: Result<(), Failure> = run.unless_stopped(std::future::pending()).await;
        assert_eq!(outcome.expect_err("stopped").reason, Reason::DeadlineExceeded);
        assert_eq!((run.stop_reason(), run.signal()), (Some(Reason::DeadlineExceeded), None));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_reported_too() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let report = Report::new(folder.path().join("result"), secrets());
        let failure = Failure::new(Reason::InvalidSpec, "the variable KUBEDR_STORE is not set");
        let work: Result<std::future::Ready<Ended<()>>, Failure> = Err(failure.clone());
        report.conclude("init", &run(), work).await;
        let text = std::fs::read_to_string(folder.path().join("result")).expect("a result");
        assert_eq!(model::result::parse::<bool>("init", &text), Err(failure));
    }

    #[tokio::test]
    async fn a_secret_that_is_refused_is_reported_by_its_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let report = Report::new(folder.path().join("result"), secrets());
        let refused = Err(Failure::new(Reason::WrongPassword, "no key found"));
        let ended: Ended<()> = Ended::from(refused);
        report.conclude("init", &run(), Ok(std::future::ready(ended))).await;
        let text = std::fs::read_to_string(folder.path().join("result")).expect("a result");
        let expected = Failure::new(Reason::WrongPassword, "Secret \"s3-creds\": no key found");
        assert_eq!(model::result::parse::<bool>("init", &text), Err(expected.at("spec.credentials")));
    }

    #[rstest]
    #[case::that_goes_well(false)]
    #[case::that_panics(true)]
    #[tokio::test]
    async fn the_result_is_left_before_the_tidying(#[case] panics: bool) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("result");
        let (result, seen) = (file.clone(), folder.path().join("seen"));
        let tidying = Box::pin(async move {
            std::fs::copy(result, seen).expect("a result was left");
            assert!(!panics, "on purpose");
        });
        let ended = Ended { outcome: Ok(Forgotten { forgotten: 1 }), tidying };
        let code = Report::new(file, secrets()).conclude("init", &run(), Ok(std::future::ready(ended))).await;
        assert_eq!(code, ExitCode::SUCCESS);
        let seen = std::fs::read_to_string(folder.path().join("seen")).expect("tidied up");
        assert!(seen.contains(r#""ok":true"#), "{seen}");
    }

    #[test]
    fn a_result_replaces_the_one_before() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("result");
        write(&file, "a longer text").expect("written");
        write(&file, "short").expect("written");
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), "short");
    }
}
