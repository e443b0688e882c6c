//! `cargo xtask bench`: what kubedr does beside what people do today, in one run on one machine.
mod admission;
mod backup;
mod operator;
mod report;
mod snapshot;

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use kubedr_tests::{Installation, with_kinds, with_kubedr};
use serde::{Deserialize, Serialize};

/// What the benches' namespace is called.
const NAME: &str = "bench";

/// What `cargo xtask bench` was asked for.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// What is measured.
    bench: Kind,
    /// Pairs of runs of each size, ours and theirs in turn.
    #[serde(default)]
    pairs: usize,
    /// In how many of them, at most, a second backup is measured after a change.
    #[serde(default)]
    second_pairs: usize,
    /// How many objects etcd holds, for each size.
    #[serde(default)]
    objects: Vec<u64>,
    /// How many connections ask at once, for each level.
    #[serde(default)]
    connections: Vec<usize>,
    /// How long each turn of asking is.
    #[serde(default)]
    seconds: u64,
    /// How many policies the operator has, for each size.
    #[serde(default)]
    policies: Vec<u64>,
    /// How long it is watched at rest.
    #[serde(default)]
    quiet_seconds: u64,
    /// The operator's program.
    #[serde(default)]
    program: PathBuf,
    /// One JSON object a row instead of a table.
    json: bool,
}

/// The benches.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Admission,
    Backup,
    Snapshot,
    Operator,
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
        Kind::Snapshot => return report::print(&snapshot::run(&request).await?, request.json, report::table),
        Kind::Backup => request.measure(backup::run, report::table).await,
        Kind::Operator => request.measure(operator::run, operator::table).await,
        Kind::Admission => request.measure(admission::run, report::table).await,
    }
    Ok(())
}

impl Request {
    /// Measures in a namespace of the bench's own, and prints what was found.
    async fn measure<R: Serialize>(
        &self,
        run: impl AsyncFnOnce(&Installation, &Self) -> Result<Vec<R>>,
        table: impl FnOnce(&[R]) -> String,
    ) {
        let measured = async |kubedr: &Installation| {
            report::print(&Box::pin(run(kubedr, self)).await?, self.json, table)
        };
        if matches!(self.bench, Kind::Backup) {
            with_kubedr(NAME, measured).await;
        } else {
            // Whoever needs an operator starts it.
            with_kinds(NAME, measured).await;
        }
    }
}

/// Both sides, one after the other.
pub async fn both<T>(
    is_ours_first: bool,
    ours: impl Future<Output = Result<T>>,
    theirs: impl Future<Output = Result<T>>,
) -> Result<(T, T)> {
    if is_ours_first {
        let ours = ours.await?;
        return Ok((ours, theirs.await?));
    }
    let theirs = theirs.await?;
    Ok((ours.await?, theirs))
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
