//! `cargo xtask test`: what CI runs, and what a developer types before a commit.
//!
//! format → lints → no second TLS provider → unit tests → images → cluster → tests on it → cluster removed → demo.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::toolchain::Toolchain;
use crate::{cluster, command, demo, image};

/// The cluster of the tests; one that a developer plays with has another name.
const CLUSTER: &str = "test";

/// Arguments of `cargo xtask test`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask test              everything, as CI does
  cargo xtask test wrong_key    only tests whose name contains it; no format check, no lints")]
pub struct Arguments {
    /// Part of the name of the tests to run.
    filter: Option<String>,
}

/// Runs all steps up to the first that fails; the cluster is removed in any case.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut steps = Steps { toolchain: Toolchain::find()?, interrupted: watch_signals()?, times: Vec::new() };
    let result = steps.all(arguments.filter.as_deref());
    steps.print_times();
    result
}

/// From now on these signals end a step, not this process, which has a cluster to remove.
fn watch_signals() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot watch signals")?;
    }
    Ok(interrupted)
}

/// Runs steps, and remembers how long each took.
struct Steps {
    toolchain: Toolchain,
    interrupted: Arc<AtomicBool>,
    times: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn all(&mut self, filter: Option<&str>) -> Result<()> {
        if filter.is_none() {
            self.cargo("format", &["fmt", "--all", "--check"])?;
            self.cargo("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
            self.step("one TLS provider", Self::refuse_ring)?;
        }
        let unit = ["test", "--workspace", "--exclude", "kubedr-tests", "--"];
        self.cargo("unit tests", &[&unit[..], filter.as_slice()].concat())?;
        // Before the cluster starts: one that only waits for a compiler is in the way.
        self.cargo("compile node tests", &["test", "--package", "kubedr-tests", "--no-run"])?;
        let images = self.step("images", |_| image::build(false))?;
        // Whatever an interrupted run has left is not what these tests start from.
        self.step("old cluster down", |_| cluster::down(CLUSTER))?;
        let result = self.on_cluster(&images, filter);
        let down = self.step_always("cluster down", |_| cluster::down(CLUSTER));
        result.and(down)?;
        if filter.is_none() {
            self.step("demo", |_| demo::run(&demo::Arguments::default()))?;
        }
        Ok(())
    }

    fn on_cluster(&mut self, images: &[std::path::PathBuf], filter: Option<&str>) -> Result<()> {
        let cluster = self.step("cluster up", |_| cluster::up(CLUSTER, &cluster::Options::default()))?;
        self.step("load images", |_| cluster::load(CLUSTER, images))?;
        let mut cargo = self.toolchain.cargo();
        // These tests wait more than they compute.
        cargo.env("RUST_TEST_THREADS", "4");
        cargo.args(["test", "--package", "kubedr-tests", "--no-fail-fast", "--"]).args(filter);
        cargo.envs(cluster::variables(&cluster)?);
        self.step("tests on a node", |steps| steps.run_interruptibly(&mut cargo))
    }

    fn cargo(&mut self, name: &'static str, arguments: &[&str]) -> Result<()> {
        let mut cargo = self.toolchain.cargo();
        cargo.args(arguments);
        self.step(name, |steps| steps.run_interruptibly(&mut cargo))
    }

    fn step<T>(&mut self, name: &'static str, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted before step {name:?}");
        }
        self.step_always(name, work)
    }

    /// A step that an interruption must not skip.
    fn step_always<T>(&mut self, name: &'static str, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        eprintln!("==> {name}");
        let begin = Instant::now();
        let result = work(self);
        self.times.push((name, begin.elapsed()));
        result.with_context(|| format!("step {name:?} failed"))
    }

    /// Runs a command in a process group of its own, so that all of it can be ended.
    fn run_interruptibly(&self, command: &mut Command) -> Result<()> {
        let mut child =
            command.process_group(0).stdin(Stdio::null()).spawn().context("cannot start cargo")?;
        let group = Pid::from_raw(i32::try_from(child.id())?);
        let mut is_told = false;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if self.interrupted.load(Ordering::Relaxed) && !is_told {
                is_told = true;
                killpg(group, Signal::SIGTERM).context("cannot end the step")?;
            }
            thread::sleep(Duration::from_millis(50));
        };
        if !status.success() {
            bail!("{} ended with {status}", command::name(command));
        }
        Ok(())
    }

    /// Two TLS providers in one process panic when the first connection is made.
    fn refuse_ring(&self) -> Result<()> {
        let mut cargo = self.toolchain.cargo();
        let output =
            cargo.args(["tree", "--workspace", "--invert", "ring"]).output().context("cannot start cargo")?;
        let tree = String::from_utf8_lossy(&output.stdout);
        let is_unknown = String::from_utf8_lossy(&output.stderr).contains("did not match any packages");
        if !tree.trim().is_empty() {
            bail!("ring is a second TLS provider beside aws-lc-rs:\n{tree}");
        }
        if !output.status.success() && !is_unknown {
            bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn print_times(&self) {
        eprintln!("\n{:<20} {:>7}", "step", "seconds");
        for (name, time) in &self.times {
            eprintln!("{name:<20} {:>7.1}", time.as_secs_f32());
        }
        let total: Duration = self.times.iter().map(|(_, time)| *time).sum();
        eprintln!("{:<20} {:>7.1}", "total", total.as_secs_f32());
    }
}
