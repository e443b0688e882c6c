//! `cargo xtask generate`: the part of `config/` that follows from the Rust types.

use anyhow::Result;
use clap::Args;

use crate::command;
use crate::toolchain::Toolchain;

/// Arguments of `cargo xtask generate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask generate          write CustomResourceDefinitions, RBAC and samples
  cargo xtask generate --check  only say whether they are up to date")]
pub struct Arguments {
    /// Write nothing; fail if something would change.
    #[arg(long)]
    check: bool,
}

/// Leaves the work to the crate that knows the types, so that the harness stays small.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut cargo = Toolchain::find()?.cargo();
    cargo.args(["run", "--quiet", "--package", "manifests", "--"]).args(arguments.check.then_some("--check"));
    command::run_visibly(&mut cargo)
}
