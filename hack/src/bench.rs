//! `cargo xtask bench`: figures, never a test. What kubedr does beside what people do today, in turn, in one run.
//!
//! The work is done by the program `bench` of the crate `tests`, which has clients; this is its command line.

use std::process::Stdio;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cluster::{self, Cluster, Server};
use crate::command;
use crate::image;
use crate::programs::CERT_MANAGER;
use crate::toolchain::Toolchain;

/// The benches' own cluster.
const CLUSTER: &str = "bench";

/// Arguments of `cargo xtask bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask bench backup                               both sizes, nine pairs each: more than an hour
  cargo xtask bench backup --pairs 3 --objects 300000    the smaller size only: about 10 minutes
  cargo xtask bench backup --objects 930000 --second-pairs 3    the larger one: more than an hour
  cargo xtask bench snapshot                             both sizes, three pairs each: about 10 minutes
  cargo xtask bench admission                            1, 16 and 128 connections, five pairs each: about 3 minutes
  cargo xtask bench admission --connections 16 --pairs 1 --seconds 2    one pair: seconds, once all is built
  cargo xtask bench operator                             idle, 1,000 and 10,000 policies, ten minutes' rest each: half an hour
  cargo xtask bench operator --policies 1000 --quiet-seconds 60    about 3 minutes
  cargo xtask bench backup --json > figures.jsonl        one JSON object a row")]
pub struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// `agent backup` beside `etcdctl snapshot save` and `restic backup`, in pods of one image and one template.
    Backup(Backup),
    /// What is in a snapshot, read as it passes, beside `etcdutl snapshot status`, which reads it from a file.
    Snapshot(Snapshot),
    /// Reviews that the operator answers, beside those that cert-manager's webhook answers.
    Admission(Admission),
    /// The operator's process: its memory with many policies, how soon it has seen to them all, beside its writes alone,
    /// and what it does then.
    Operator(Operator),
}

#[derive(Debug, Args)]
struct Admission {
    /// Pairs of turns of each level.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    pairs: u16,
    /// How many connections ask at once, for each level; the operator takes 256.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128], value_parser = clap::value_parser!(u16).range(1..=255))]
    connections: Vec<u16>,
    /// How long each turn is, after a second that does not count.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Operator {
    /// How many suspended policies there are, one size after the other; without any is measured first.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000], value_parser = clap::value_parser!(u64).range(1..=100_000))]
    policies: Vec<u64>,
    /// How long it is watched at each size once it has nothing to do.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=3600))]
    quiet_seconds: u64,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Snapshot {
    /// Pairs of runs of each size.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pairs: u16,
    /// How many objects are in it, for each size: 300,000 are 1.3 GB, 1,900,000 are 8.1 GB.
    #[arg(long, value_delimiter = ',', default_values_t = [300_000, 1_900_000], value_parser = clap::value_parser!(u64).range(1000..=2_000_000))]
    objects: Vec<u64>,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Backup {
    /// Pairs of runs of each size; one more before them is not counted.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=99))]
    pairs: u16,
    /// In how many of the pairs a second backup is measured too, after a change: it takes as long again.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(0..=99))]
    second_pairs: u16,
    /// How many objects etcd holds, for each size: 300,000 are 1.3 GB, 930,000 are 4 GB.
    #[arg(long, value_delimiter = ',', default_values_t = [300_000, 930_000], value_parser = clap::value_parser!(u64).range(1000..=2_000_000))]
    objects: Vec<u64>,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
    /// Leave the cluster running afterwards.
    #[arg(long)]
    keep: bool,
}

/// Measures, on a cluster of its own that is removed afterwards.
pub fn run(arguments: &Arguments) -> Result<()> {
    eprintln!("{}", machine()?);
    match &arguments.bench {
        Bench::Backup(bench) => backup(bench),
        Bench::Snapshot(bench) => snapshot(bench),
        Bench::Admission(bench) => admission(bench),
        Bench::Operator(bench) => operator(bench),
    }
}

/// Nothing of it runs in a pod: the processes are asked where they are, with an API server behind them.
fn admission(Admission { pairs, connections, seconds, json }: &Admission) -> Result<()> {
    // Minutes, the first time.
    CERT_MANAGER.ensure()?;
    let program = image::operator_program()?;
    on_control_plane(&json!({
        "bench": "admission", "pairs": pairs, "connections": connections, "seconds": seconds, "json": json,
        "program": program,
    }))
}

/// Needs an API server only to know how objects are stored.
fn snapshot(Snapshot { pairs, objects, json }: &Snapshot) -> Result<()> {
    on_control_plane(&json!({ "bench": "snapshot", "pairs": pairs, "objects": objects, "json": json }))
}

/// Its policies are suspended: nobody is needed who would start their Jobs.
fn operator(Operator { policies, quiet_seconds, json }: &Operator) -> Result<()> {
    let program = image::operator_program()?;
    on_control_plane(&json!({
        "bench": "operator", "policies": policies, "quiet_seconds": quiet_seconds, "json": json, "program": program,
    }))
}

fn on_control_plane(request: &Value) -> Result<()> {
    let options = cluster::Options { control_plane: true, ..cluster::Options::default() };
    let cluster = cluster::up(CLUSTER, &options)?;
    let result = measure(&cluster, request);
    cluster::down(CLUSTER)?;
    result
}

fn backup(backup: &Backup) -> Result<()> {
    // As they are shipped.
    let mut images = image::build(true)?;
    images.push(image::bench()?);
    // In memory: what the S3 server writes must not be in the way of etcd's own disk.
    let options = cluster::Options {
        s3: vec![Server::Versitygw],
        s3_in_memory: Some("8g".to_owned()),
        ..cluster::Options::default()
    };
    let cluster = cluster::up(CLUSTER, &options)?;
    let Backup { pairs, second_pairs, objects, json, .. } = backup;
    let request = json!({
        "bench": "backup", "pairs": pairs, "second_pairs": second_pairs, "objects": objects, "json": json,
    });
    let result = cluster::load(CLUSTER, &images).and_then(|()| measure(&cluster, &request));
    if !backup.keep {
        cluster::down(CLUSTER)?;
    }
    result
}

fn measure(cluster: &Cluster, request: &Value) -> Result<()> {
    // `bench` runs `stopwatch`, which is beside it.
    let mut both = Toolchain::find()?.cargo();
    both.args(["build", "--release", "--package", "kubedr-tests", "--bin", "bench", "--bin", "stopwatch"]);
    command::run_visibly(&mut both)?;
    let mut cargo = Toolchain::find()?.cargo();
    cargo.args(["run", "--release", "--package", "kubedr-tests", "--bin", "bench"]).stdin(Stdio::null());
    cargo.envs(cluster::variables(cluster)?).env("KUBEDR_BENCH_IMAGE", image::bench_name());
    cargo.env("KUBEDR_BENCH", request.to_string());
    command::run_visibly(&mut cargo)
}

/// What the figures are of.
fn machine() -> Result<String> {
    let cpu = command::output(std::process::Command::new("lscpu").arg("--json"))?;
    let cpu: serde_json::Value = serde_json::from_str(&cpu).context("lscpu prints no JSON")?;
    let mut fields = cpu["lscpu"].as_array().into_iter().flatten();
    let model = fields.find(|field| field["field"] == "Model name:").and_then(|field| field["data"].as_str());
    let cores = std::thread::available_parallelism()?;
    let memory = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let total = memory.split_whitespace().nth(1).and_then(|kibibytes| kibibytes.parse::<u64>().ok());
    Ok(format!("{}, {cores} cores, {} GiB", model.unwrap_or("unknown processor"), total.unwrap_or(0) >> 20))
}
