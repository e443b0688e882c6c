//! `cargo xtask bench`: what kubedr does beside what people do today, in one run on one machine.
mod backup;
mod report;

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};
use kubedr_tests::with_kubedr;
use serde::Deserialize;

/// What `cargo xtask bench` was asked for.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// Pairs of runs of each size, ours and theirs in turn.
    pairs: usize,
    /// How many objects etcd holds, for each size.
    objects: Vec<u64>,
    /// One JSON object a row instead of a table.
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match std::env::var(backup::putter::ENDPOINT) {
        Ok(endpoint) => backup::putter::run(&endpoint).await,
        Err(_) => bench().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<()> {
    let request = request()?;
    with_kubedr("bench", async |installation| {
        let rows = backup::run(installation, &request).await?;
        report::print(&rows, request.json)
    })
    .await;
    Ok(())
}

/// A fact that `cargo xtask bench` hands over.
fn fact(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run `cargo xtask bench`"))
}

fn request() -> Result<Request> {
    serde_json::from_str(&fact("KUBEDR_BENCH")?)
        .context("KUBEDR_BENCH is not what `cargo xtask bench` writes")
}

/// Tells a person how far it is; figures go to standard output.
pub fn say(what: &str) {
    // A closed terminal is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{what}");
}
