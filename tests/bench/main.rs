//! `cargo xtask bench`: what kubedr does beside what people do today, in one run on one machine.
mod backup;
mod report;
mod snapshot;

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};
use kubedr_tests::with_kubedr;
use serde::Deserialize;

/// What `cargo xtask bench` was asked for.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// What is measured.
    bench: Kind,
    /// Pairs of runs of each size, ours and theirs in turn.
    pairs: usize,
    /// In how many of them, at most, a second backup is measured after a change.
    #[serde(default)]
    second_pairs: usize,
    /// How many objects etcd holds, for each size.
    objects: Vec<u64>,
    /// One JSON object a row instead of a table.
    json: bool,
}

/// The benches.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Backup,
    Snapshot,
}

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// This program is also some of what it measures.
#[tokio::main]
async fn bench() -> Result<()> {
    if let Ok(endpoint) = std::env::var(backup::putter::ENDPOINT) {
        return backup::putter::run(&endpoint).await;
    }
    let request = request()?;
    match request.bench {
        Kind::Snapshot => report::print(&snapshot::run(&request).await?, request.json),
        Kind::Backup => {
            with_kubedr("bench", async |installation| {
                let rows = backup::run(installation, &request).await?;
                report::print(&rows, request.json)
            })
            .await;
            Ok(())
        }
    }
}

fn work() -> Result<()> {
    match std::env::var(snapshot::FILE) {
        Ok(file) => snapshot::walk(file.as_ref()).map(drop),
        Err(_) => bench(),
    }
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

/// For people.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
