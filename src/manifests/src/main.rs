//! `cargo xtask generate`: writes everything that follows from Rust, or says what differs.
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;

/// Writes config/, docs/metrics.md and docs/reasons.md.
#[derive(Debug, Parser)]
struct Arguments {
    /// Write nothing; list what differs and fail if anything does.
    #[arg(long)]
    check: bool,

    /// Root of the checkout.
    #[arg(long, default_value_os_t = checkout())]
    root: PathBuf,
}

/// The checkout that this program was built from.
fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let files = manifests::files();
    let (found, verb) = if arguments.check {
        (manifests::drift(&arguments.root, &files), "read")
    } else {
        (manifests::write(&arguments.root, &files), "write")
    };
    let found = found.with_context(|| format!("failed to {verb} {}", arguments.root.display()))?;
    let mut out = io::stdout();
    for drift in &found {
        writeln!(out, "{drift}").context("failed to write to standard output")?;
    }
    let fails = arguments.check && !found.is_empty();
    if fails {
        writeln!(io::stderr(), "run `cargo xtask generate` and commit what it writes")
            .context("failed to say so")?;
    }
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
