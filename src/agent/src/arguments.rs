//! The command line. What a verb works on comes from the environment.
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use model::environment::RESULT_FILE;

use crate::standalone;

/// Does one piece of kubedr's work, leaves its result, and exits.
#[derive(Debug, Parser)]
#[command(name = "agent", version, arg_required_else_help = true)]
pub struct Arguments {
    /// File that the result is written to, besides standard output; in a pod /dev/termination-log, by hand none where it is not given
    #[arg(long, global = true, value_name = "FILE", default_value = RESULT_FILE, hide_default_value = true)]
    pub result_file: PathBuf,
    /// How the log on standard error is written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Folder that stands for the pod's root, for runs by hand
    #[arg(long, global = true, hide = true, value_name = "FOLDER", default_value = "/")]
    pub root: PathBuf,
    /// What is to be done.
    #[command(subcommand)]
    pub verb: Verb,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For machines
    Json,
}

/// One kind of work.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Verb {
    /// Makes the bucket and the restic repository, or attaches the one that is there
    Init,
    /// Backs up etcd and the host's files, and proves that every byte was stored
    #[command(override_usage = standalone::USAGE, after_help = standalone::EXAMPLES)]
    Backup {
        /// What is asked for by hand; in a pod the environment says all.
        #[command(flatten)]
        standalone: Option<standalone::Request>,
    },
    /// Removes backups, once it has seen that those that must stay are there
    Forget,
    /// Writes one member's snapshot to standard output; `backup` has restic run it
    #[command(hide = true)]
    Stream(StreamRequest),
}

/// What is streamed. Seen by everyone on the node, so no secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct StreamRequest {
    /// Client URL of the member
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// File that tells `backup` what was streamed, or why not
    #[arg(long, value_name = "FILE")]
    pub handover: PathBuf,
    /// Revision that the snapshot must have at least
    #[arg(long, value_name = "REVISION")]
    pub revision: u64,
    /// Largest rate in bytes per second
    #[arg(long, value_name = "BYTES")]
    pub max_rate: Option<u64>,
}

impl StreamRequest {
    /// The arguments that are parsed into this request.
    pub fn render(&self) -> Vec<String> {
        let mut arguments = vec![
            "stream".to_owned(),
            "--endpoint".to_owned(),
            self.endpoint.clone(),
            "--handover".to_owned(),
            self.handover.display().to_string(),
            "--revision".to_owned(),
            self.revision.to_string(),
        ];
        if let Some(rate) = self.max_rate {
            arguments.extend(["--max-rate".to_owned(), rate.to_string()]);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_stream_is_asked_for_in_words_that_are_understood() {
        for max_rate in [None, Some(1 << 20)] {
            let request = StreamRequest {
                endpoint: "https://127.0.0.1:2379".to_owned(),
                handover: "/work/0123456789abcdef.stream.json".into(),
                revision: 591,
                max_rate,
            };
            let words = std::iter::once("agent".to_owned()).chain(request.render());
            let Verb::Stream(understood) = Arguments::try_parse_from(words).expect("understood").verb else {
                panic!("another verb")
            };
            assert_eq!(understood, request);
        }
    }
}
