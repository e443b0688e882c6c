//! `stopwatch -- COMMAND [ARGUMENT…] [-- COMMAND…]`: runs commands one after the other, and prints what they took.
//!
//! It is the first process of the pods in which backups are measured.
use std::{io::Write, process::ExitCode};

use anyhow::Result;
use kubedr_tests::stopwatch::measure;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let commands = words.split(|word| word == "--").filter(|command| !command.is_empty());
    let lap = measure(&commands.map(<[String]>::to_vec).collect::<Vec<_>>())?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&lap)?)?;
    Ok(())
}
