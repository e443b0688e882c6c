//! `agent backup --standalone`: what a pod does, on a bare node, when nothing is there that could start a pod.
//!
//! ```text
//! flags ─▶ Request ─▶ layout ─▶ room of mounts ─▶ the same agent, first process in it ─▶ Config ─▶ backup
//!                                 │                              │
//!            this process waits, and passes signals on ──────────┘ ends with it, and all that it started
//! ```
//!
//! # Guarantees
//!
//! Nothing is made on the node but the files that are asked for: no folder, no mount that others see. A `kill -9` of
//! whichever process ends them all. What is stored is found, kept and removed with the backups of the policy's schedule.
mod layout;
mod request;
mod room;

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use etcd::{Client, choose, survey};
use model::{
    Reason,
    environment::{CREDENTIALS_MOUNT, ETCD_CREDENTIALS_MOUNT, RESTIC_MEMORY, RESULT_FILE},
    result::{Backup, Failure},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
pub use request::{EXAMPLES, Request, USAGE};
use tokio::{
    process::{Child, Command},
    runtime::Builder,
    signal::unix::{Signal as Listener, SignalKind, signal},
    time::sleep,
};

use crate::{
    backup,
    mounted_secret::{Mount, Name},
    report::{self, Ended, Report},
    run::Run,
    secrets::{self, Secrets},
};

/// Where the object is whose uid stands for the cluster.
const CLUSTER: &str = "namespaces/kube-system";

/// What this process shares with the one in the room; secrets it has none.
const INHERITED: [&str; 2] = ["RUST_LOG", "RUST_BACKTRACE"];

/// How long after a signal it is passed on again.
const AGAIN: Duration = Duration::from_secs(1);

/// The flag that is a field of a policy or location.
const FLAGS: [(&str, &str); 15] = [
    ("spec.bucketLookup", "--bucket-lookup"),
    ("spec.bucketName", "--bucket"),
    ("spec.caBundle", "--ca-file"),
    ("spec.certsDir", "--certs-dir"),
    ("spec.credentials", "--credentials-dir"),
    ("spec.deadlineSeconds", "--deadline-seconds"),
    ("spec.etcdCreds", "--etcd-cert"),
    // Before the field that its name begins with.
    ("spec.etcdEndpoints", "--etcd-endpoint"),
    ("spec.etcdEndpoint", "--etcd-endpoint"),
    ("spec.extraHostPaths", "--extra-host-path"),
    ("spec.maxRate", "--max-rate"),
    ("spec.prefix", "--prefix"),
    ("spec.region", "--region"),
    ("spec.shrinkGuard", "--shrink-guard"),
    ("spec.url", "--repository-url"),
];

/// What is wrong where the repository is not the one that is meant: the flag, and what to do.
const REPOSITORY: [(Reason, &str, &str); 2] = [
    (Reason::RepositoryGone, "--bucket", "correct --repository-url, --bucket or --prefix"),
    (
        Reason::RepositoryReplaced,
        "--repository-id",
        "give the id of the one that is meant, or none to take the one that is there",
    ),
];

/// Begins: outside of the room it makes it, waits for what is done in it and returns the exit code; inside there is
/// none yet, and the run goes on.
pub fn begin(request: &Request, result_file: &Path) -> Option<ExitCode> {
    let outside = Report::new(result_file.to_owned(), secrets());
    let (report, outcome) = if request.inside {
        (report(), room::settle().map(|()| None))
    } else {
        match enter(request, result_file) {
            Ok(()) => (report(), confined().map(Some)),
            Err(failure) => (outside, Err(failure)),
        }
    };
    outcome.unwrap_or_else(|failure| Some(report.refuse("backup", failure)))
}

/// Where results go, seen from the room.
pub fn report() -> Report {
    Report::new(RESULT_FILE.into(), secrets())
}

/// Makes one backup, in the room.
pub async fn backup(request: Request, run: Run) -> Ended<Backup> {
    let secrets = secrets();
    let ended = match run.unless_stopped(cluster_uid(&request, &secrets)).await {
        Ok(uid) => Box::pin(backup::backup(request.config(uid, secrets), run)).await,
        Err(failure) => Err(failure).into(),
    };
    Ended { outcome: ended.outcome.map_err(in_flags), ..ended }
}

/// Where the keys are in the room, and what names them on the node.
fn secrets() -> Secrets {
    let files = |folder: &str, name, field, keys| Mount {
        folder: folder.into(),
        name: Name::Files(name),
        field: Some(field),
        keys,
    };
    let etcd = "what --etcd-ca, --etcd-cert and --etcd-key name";
    Secrets {
        bucket: files(
            CREDENTIALS_MOUNT,
            "the folder of --credentials-dir",
            "--credentials-dir",
            &secrets::BUCKET,
        ),
        etcd: files(ETCD_CREDENTIALS_MOUNT, etcd, "--etcd-cert", &secrets::ETCD),
    }
}

/// The uid of the cluster: the one that is given, or what it calls itself in its own etcd.
async fn cluster_uid(request: &Request, secrets: &Secrets) -> Result<String, Failure> {
    agreed(request, stored_uid(request, secrets).await?)
}

/// Another uid than etcd's is believed only of a cluster that has backups already: its objects may be kept elsewhere in
/// an etcd of several clusters.
fn agreed(request: &Request, stored: Option<String>) -> Result<String, Failure> {
    let message = match (&request.cluster_uid, stored) {
        (Some(given), Some(stored)) if *given != stored && request.first => {
            format!("etcd calls the cluster {stored}, and nothing is known of a cluster {given}: leave the flag out")
        }
        (Some(given), stored) => {
            tracing::info!(uid = given, ?stored, "the cluster's uid is the given one");
            return Ok(given.clone());
        }
        (None, Some(uid)) => {
            tracing::info!(uid, "the cluster's uid is read from etcd");
            return Ok(uid);
        }
        (None, None) => {
            "the uid of the namespace kube-system cannot be read from etcd: each backup's tag `cluster:` has it".to_owned()
        }
    };
    Err(Failure::new(Reason::InvalidSpec, message).at("--cluster-uid"))
}

/// What the cluster calls itself in its own etcd, where it is known how it stores that.
async fn stored_uid(request: &Request, secrets: &Secrets) -> Result<Option<String>, Failure> {
    let credentials = secrets.etcd_credentials(&request.etcd_endpoint)?;
    let choice = choose(&survey(&request.etcd_endpoint, credentials.as_ref()).await)?;
    let connecting = Client::connect(&choice.endpoint, credentials.as_ref()).await;
    let mut client = connecting.map_err(|error| error.failure())?;
    for key in snapshot::stored_at(CLUSTER) {
        let value = client.get(key).await.map_err(|error| error.failure())?;
        if let Some(uid) = value.and_then(|value| snapshot::uid(&value)) {
            return Ok(Some(uid));
        }
    }
    Ok(None)
}

/// A failure in the words of the command line. A reason's advice is of objects that a bare node has not.
fn in_flags(failure: Failure) -> Failure {
    let renamed = |text: String| FLAGS.iter().fold(text, |text, (field, flag)| text.replace(field, flag));
    let Failure { reason, message, field } = failure;
    let said = message.replace(reason.advice(), "");
    let said = said.trim_end_matches([' ', '.']);
    let (flag, message) = match REPOSITORY.iter().find(|(of, ..)| *of == reason) {
        Some((_, flag, advice)) => (Some((*flag).to_owned()), format!("{said}: {advice}")),
        None => (None, said.to_owned()),
    };
    Failure { reason, message: renamed(message), field: field.or(flag).map(renamed) }
}

/// Takes this process into the room of its request.
fn enter(request: &Request, result_file: &Path) -> Result<(), Failure> {
    // Where this is no pod, nobody made that file.
    let result_file = Some(result_file).filter(|file| *file != Path::new(RESULT_FILE));
    if let Some(file) = result_file {
        emptied(file)?;
    }
    room::enter(&layout::of(request, result_file)?)
}

/// Makes the file of the result, empty: what an earlier run said must not be taken for what this one came to.
fn emptied(file: &Path) -> Result<(), Failure> {
    report::write(file, "").map_err(|error| {
        Failure::new(Reason::InvalidSpec, format!("{}: {error}", file.display())).at("--result-file")
    })
}

/// Runs the agent in the room, to whatever end.
fn confined() -> Result<ExitCode, Failure> {
    // No other thread: the kernel refuses one to whoever left the node's processes.
    let runtime = Builder::new_current_thread().enable_all().build();
    let status = runtime.and_then(|runtime| runtime.block_on(watched()));
    exit_code(
        status.map_err(|error| Failure::new(Reason::Bug, format!("the agent does not start: {error}")))?,
    )
}

/// Starts the agent in the room and waits for it. What tells this process to stop tells that one, as does a terminal
/// that goes away.
async fn watched() -> io::Result<ExitStatus> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = command().spawn()?;
    let mut told = None;
    loop {
        let signal = tokio::select! {
            status = child.wait() => return status,
            () = heard(&mut terminate) => Signal::SIGTERM,
            () = heard(&mut hangup) => Signal::SIGTERM,
            () = heard(&mut interrupt) => Signal::SIGINT,
            // The first process of a room hears nothing until it listens, and listens once.
            signal = again(told) => signal,
        };
        told = Some(signal);
        pass_on(&child, signal);
    }
}

/// A signal that was passed on, a while later; never where there was none.
async fn again(told: Option<Signal>) -> Signal {
    let Some(signal) = told else { return std::future::pending().await };
    sleep(AGAIN).await;
    signal
}

async fn heard(listener: &mut Listener) {
    if listener.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

fn pass_on(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    // It may have ended just now, which is what was wanted.
    let _ = id.map(|id| kill(Pid::from_raw(id), signal));
}

fn command() -> Command {
    let mut command = Command::new(layout::AGENT);
    command.args(std::env::args_os().skip(1)).arg("--inside").env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("PATH", "/").env(RESTIC_MEMORY.0, RESTIC_MEMORY.1);
    command
}

/// The code of the process in the room, which has reported itself unless it was killed.
fn exit_code(status: ExitStatus) -> Result<ExitCode, Failure> {
    if let Some(code) = status.code().and_then(|code| u8::try_from(code).ok()) {
        return Ok(ExitCode::from(code));
    }
    let signal = status.signal().unwrap_or_default();
    let message = format!("signal {signal} ended the agent; the kernel sends 9 where memory runs out");
    Err(Failure::new(Reason::Killed, message))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::field(Some("spec.certsDir"), Some("--certs-dir"))]
    #[case::one_of_several(Some("spec.extraHostPaths"), Some("--extra-host-path"))]
    #[case::flag(Some("--cluster-uid"), Some("--cluster-uid"))]
    #[case::path(Some("/data/certificates/ca.key"), Some("/data/certificates/ca.key"))]
    #[case::nothing(None, None)]
    fn a_failure_is_about_what_was_typed(#[case] field: Option<&str>, #[case] flag: Option<&str>) {
        let message = "nothing answers: check `spec.url`";
        let failure = in_flags(Failure {
            field: field.map(str::to_owned),
            ..Failure::new(Reason::ConnectionRefused, message)
        });
        assert_eq!(failure.message, "nothing answers: check `--repository-url`");
        assert_eq!(failure.field.as_deref(), flag);
    }

    #[test]
    fn a_failure_advises_nothing_that_a_bare_node_has_not() {
        let message = format!("nobody may. {}", Reason::AccessDenied.advice());
        let failure = in_flags(Failure::new(Reason::AccessDenied, message));
        assert_eq!((failure.message.as_str(), failure.field), ("nobody may", None));
        let message = format!("it holds no repository. {}", Reason::RepositoryGone.advice());
        let failure = in_flags(Failure::new(Reason::RepositoryGone, message));
        assert_eq!(failure.message, "it holds no repository: correct --repository-url, --bucket or --prefix");
        assert_eq!(failure.field.as_deref(), Some("--bucket"));
    }

    #[test]
    fn each_flag_that_stands_for_a_field_is_one() {
        let arguments = <crate::arguments::Arguments as clap::CommandFactory>::command();
        let backup = arguments.find_subcommand("backup").expect("a verb");
        let flags: Vec<_> = backup.get_arguments().filter_map(|flag| flag.get_long()).collect();
        let missing = FLAGS.iter().filter(|(_, flag)| !flags.contains(&flag.trim_start_matches('-')));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
        let failure = in_flags(Failure::new(Reason::InvalidSpec, "").at("spec.etcdEndpoints"));
        assert_eq!(failure.field.as_deref(), Some("--etcd-endpoint"));
    }

    #[test]
    fn what_an_earlier_run_said_is_gone_before_this_one_begins() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("result");
        emptied(&file).expect("made");
        std::fs::write(&file, "{\"ok\":true}").expect("written");
        emptied(&file).expect("emptied");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "");
        assert_eq!(emptied(folder.path()).expect_err("a folder").field.as_deref(), Some("--result-file"));
    }

    #[test]
    fn what_refuses_the_keys_is_told_by_the_flags_that_name_them() {
        let refused = in_flags(Failure::new(Reason::EtcdCertificateInvalid, "expired").at("spec.etcdCreds"));
        let failure = secrets().blamed(refused);
        assert_eq!(failure.message, "what --etcd-ca, --etcd-cert and --etcd-key name: expired");
        let failure = secrets().blamed(Failure::new(Reason::AccessDenied, "no"));
        assert_eq!(failure.field.as_deref(), Some("--credentials-dir"));
    }

    #[test]
    fn keys_are_in_no_variable_of_the_process_in_the_room() {
        assert_eq!(secrets().names(), []);
        let command = command();
        let names: Vec<_> = command.as_std().get_envs().filter_map(|(name, _)| name.to_str()).collect();
        assert!(
            names.iter().all(|name| ["GOMEMLIMIT", "PATH"].contains(name) || INHERITED.contains(name)),
            "{names:?}"
        );
    }

    #[rstest]
    #[case::done(0, Ok(ExitCode::SUCCESS))]
    #[case::wrong_password(67 << 8, Ok(ExitCode::from(67)))]
    #[case::killed(9, Err(Reason::Killed))]
    fn an_end_in_the_room_is_the_end_of_the_run(
        #[case] status: i32,
        #[case] expected: Result<ExitCode, Reason>,
    ) {
        let found = exit_code(ExitStatus::from_raw(status));
        assert_eq!(found.map_err(|failure| failure.reason), expected);
    }

    #[rstest]
    #[case::read("", Some("a"), Some("a"))]
    #[case::given_and_read("--cluster-uid a", Some("a"), Some("a"))]
    #[case::given_where_it_cannot_be_read("--cluster-uid b", None, Some("b"))]
    #[case::another_that_must_have_backups("--cluster-uid b", Some("a"), Some("b"))]
    #[case::another_that_has_none("--cluster-uid b --first", Some("a"), None)]
    #[case::unknown("", None, None)]
    fn a_cluster_is_called(
        #[case] flags: &str,
        #[case] stored: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let found = agreed(&request::tests::request(flags), stored.map(str::to_owned));
        assert_eq!(found.as_deref().ok(), expected);
        if let Err(failure) = found {
            assert_eq!(
                (failure.reason, failure.field.as_deref()),
                (Reason::InvalidSpec, Some("--cluster-uid"))
            );
        }
    }

    #[tokio::test]
    async fn a_cluster_whose_etcd_is_silent_has_no_name() {
        let request = request::tests::request("--cluster-uid u --etcd-endpoint http://127.0.0.1:9");
        let failure = cluster_uid(&request, &secrets()).await.expect_err("nobody answers");
        assert_eq!(failure.reason, Reason::EtcdUnreachable);
    }
}
