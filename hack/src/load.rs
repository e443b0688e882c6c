//! `cargo xtask load`: many objects of many kinds in an etcd, as an API server stores them.
//!
//! The work is done by the program `load` of the crate `tests`, which has clients; this is its command line.

use std::process::Stdio;

use anyhow::Result;
use clap::Args;

use crate::cluster::{self, Cluster};
use crate::command;
use crate::toolchain::Toolchain;

/// Arguments of `cargo xtask load`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask cluster up --name big --control-plane
  cargo xtask load --name big --objects 500000             1.6 GB of values; prints one JSON object at the end
  cargo xtask load --name big --target http://127.0.0.1:2399   the same objects into another etcd")]
pub struct Arguments {
    /// The cluster whose API server says how each kind is stored.
    #[arg(long, default_value = "default")]
    name: String,
    /// How many objects: of ten kinds, 3.2 KB each on average.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    objects: u64,
    /// URL of the etcd that they go to; without it the cluster's own, where some are then read back by its API server.
    #[arg(long)]
    target: Option<String>,
}

/// Fills an etcd.
pub fn run(arguments: &Arguments) -> Result<()> {
    let cluster = Cluster::find(&arguments.name)?;
    let mut cargo = Toolchain::find()?.cargo();
    cargo.args(["run", "--package", "kubedr-tests", "--bin", "load"]).stdin(Stdio::null());
    cargo.envs(cluster::variables(&cluster)?).env("KUBEDR_LOAD_OBJECTS", arguments.objects.to_string());
    match &arguments.target {
        Some(target) => cargo.env("KUBEDR_LOAD_TARGET", target),
        None => cargo.env_remove("KUBEDR_LOAD_TARGET"),
    };
    command::run_visibly(&mut cargo)
}
