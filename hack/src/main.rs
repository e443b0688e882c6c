//! `cargo xtask`: everything that developers and CI do with this repository besides compiling it.
//!
//! Small on purpose, so that it builds in seconds. Progress goes to standard error, data to standard output.

mod bench;
mod cache;
mod cluster;
mod command;
mod demo;
mod fuzz;
mod generate;
mod image;
mod load;
mod mutate;
mod packages;
mod programs;
mod sources;
mod test;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Runs kubedr's test clusters, images and tests",
    version
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts, stops and enters real single-node clusters on this machine.
    Cluster(cluster::Arguments),
    /// Builds the product's images from static binaries, without a container engine.
    Image(image::Arguments),
    /// Checks everything: format, lints, unit tests, and tests on a real node.
    Test(test::Arguments),
    /// Shows a backup and its way back on a cluster of its own, from nothing.
    Demo(demo::Arguments),
    /// Fills an etcd with many objects of many kinds, as an API server stores them.
    Load(load::Arguments),
    /// Measures what kubedr does beside what people do today.
    Bench(bench::Arguments),
    /// Removes one guard after the other, and sees the test fail that is named for it.
    Mutate(mutate::Arguments),
    /// Tries hostile input on what reads the data of others.
    Fuzz(fuzz::Arguments),
    /// Builds sets of test programs, and prints where they are.
    Programs(programs::Arguments),
    /// Writes `config/` and `docs/reasons.md` from Rust.
    Generate(generate::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    toolchain::check_checkout()?;
    match command {
        Command::Cluster(arguments) => cluster::run(arguments),
        Command::Image(arguments) => image::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Mutate(arguments) => mutate::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Programs(arguments) => programs::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
    }
}
