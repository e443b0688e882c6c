//! The agent: does one thing in one pod, says how it ended, and exits.
//!
//! ```text
//! environment ─▶ Config ─▶ init | backup | forget ─▶ result ─▶ termination message, standard output
//!    flags ─┘                  │
//!                              └▶ restic ─▶ agent stream ─▶ etcd
//! ```
//!
//! In the cluster it is the only program that touches object storage or etcd.
//! It needs neither the API server nor kubedr's operator to finish.
mod arguments;
mod backup;
mod config;
mod forget;
mod handover;
mod init;
mod mounted_secret;
mod report;
mod repository_access;
mod run;
mod secrets;
mod standalone;
mod stream;

use std::process::ExitCode;

use arguments::{Arguments, LogFormat, Verb};
use clap::Parser;
use config::{Environment, Mounts};
use jiff::Timestamp;
use run::Run;
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

/// What sysexits.h calls a wrong usage; clap's own 2 would ask for another pod.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let environment = Environment::of_process();
    if let Verb::Stream(_) = arguments.verb
        && environment.holds_bucket_keys()
    {
        return stream::without_bucket_keys();
    }
    log_to_stderr(arguments.log_format, &environment.log_filter());
    if let Verb::Backup { standalone: Some(request) } = &arguments.verb
        && let Some(code) = standalone::begin(request, &arguments.result_file)
    {
        return code;
    }
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::warn!("a TLS provider was already there");
    }
    match runtime(&arguments.verb).enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(dispatch(arguments, &environment));
            // A thread that hangs in a read of a dead disk must not hold the exit.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            tracing::error!(%error, "failed to start");
            ExitCode::from(model::Reason::Bug.exit_code())
        }
    }
}

/// A stream is one thing after the other: threads that hand it on to each other cost more than they bring.
fn runtime(verb: &Verb) -> Builder {
    match verb {
        Verb::Stream(_) => Builder::new_current_thread(),
        Verb::Init | Verb::Backup { .. } | Verb::Forget => Builder::new_multi_thread(),
    }
}

async fn dispatch(arguments: Arguments, environment: &Environment) -> ExitCode {
    let Arguments { result_file, root, verb, .. } = arguments;
    let mounts = Mounts::new(root);
    let secrets = environment.secrets(&verb, &mounts);
    let report = report::Report::new(result_file, secrets.clone());
    match verb {
        Verb::Init => {
            let config = environment.init(mounts, secrets);
            let run = Run::start(environment.deadline(), now);
            report
                .conclude("init", &run, config.map(|config| Box::pin(init::init(config, run.clone()))))
                .await
        }
        Verb::Backup { standalone: Some(request) } => {
            let run = Run::start(request.working_time(), now);
            let work = Box::pin(standalone::backup(request, run.clone()));
            standalone::report().conclude("backup", &run, Ok(work)).await
        }
        Verb::Backup { standalone: None } => {
            let config = environment.backup(mounts, secrets);
            let run = Run::start(environment.deadline(), now);
            report
                .conclude("backup", &run, config.map(|config| Box::pin(backup::backup(config, run.clone()))))
                .await
        }
        Verb::Forget => {
            let config = environment.forget(mounts, secrets);
            let run = Run::start(environment.deadline(), now);
            report
                .conclude("forget", &run, config.map(|config| Box::pin(forget::forget(config, run.clone()))))
                .await
        }
        Verb::Stream(request) => stream::stream(&request, &secrets).await,
    }
}

/// The one place where the clock is read; everything below is told.
#[expect(clippy::disallowed_methods, reason = "the composition root: decisions get `now` from here")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn usage(error: &clap::Error) -> ExitCode {
    _ = error.print();
    usage_code(error)
}

/// Whoever asks for help has made no mistake.
fn usage_code(error: &clap::Error) -> ExitCode {
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// Standard output is for the result, and for the stream.
fn log_to_stderr(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter);
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::an_unknown_flag(&["agent", "backup", "--nonsense"], ExitCode::from(64))]
    #[case::no_verb(&["agent"], ExitCode::from(64))]
    #[case::a_question(&["agent", "backup", "--help"], ExitCode::SUCCESS)]
    fn a_command_line_ends_with(#[case] words: &[&str], #[case] code: ExitCode) {
        let error = Arguments::try_parse_from(words).expect_err("nothing is to be done");
        assert_eq!(usage_code(&error), code);
    }
}
