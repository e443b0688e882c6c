//! `cargo xtask test`: what CI runs, and what a developer types before a commit.
//!
//! format → lints → no second TLS provider → unit tests → hostile input → images → cluster → tests on it → did its
//! programs stay up? → cluster removed → demo.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cluster::{Kubernetes, Server};
use crate::programs::{CERT_MANAGER, KINE, PROMETHEUS, ProgramSet};
use crate::toolchain::Toolchain;
use crate::{cluster, command, demo, fuzz, image};

/// The cluster of the tests; one that a developer plays with has another name.
const CLUSTER: &str = "test";

/// Arguments of `cargo xtask test`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask test              everything, as CI does
  cargo xtask test wrong_key    only tests whose name contains it; no format check, no lints
  cargo xtask test --all        everything, against every S3 server: before an issue is called resolved
  cargo xtask test --repeat 10 wrong_key    ten times on one cluster: is it flaky?")]
pub struct Arguments {
    /// Part of the name of the tests to run.
    filter: Option<String>,
    /// How often to run the tests on the node; all rounds are run, and those that fail are counted.
    #[arg(long, default_value_t = 1, requires = "filter", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Also the long rounds: every test against every S3 server.
    #[arg(long, conflicts_with = "filter")]
    all: bool,
}

/// The S3 servers of the test cluster; the first one is that of the tests which look into its folder.
const SERVERS: [Server; 4] = [Server::Versitygw, Server::VersitygwTls, Server::Minio, Server::MinioTls];

/// The oldest and the newest Kubernetes beside that of the cluster.
const OTHER_VERSIONS: [(&str, Kubernetes); 2] =
    [("API of 1.33", Kubernetes::V1_33), ("API of 1.36", Kubernetes::V1_36)];

/// Programs of single tests, which find them by `cargo xtask programs`.
const TEST_PROGRAMS: [&ProgramSet; 3] = [&CERT_MANAGER, &KINE, &PROMETHEUS];

/// How many tests run at once: they wait more than they compute.
const THREADS: &str = "9";

/// The server that differs most from the first one.
const OTHER_SERVER: Server = Server::MinioTls;

/// What runs against it too, each time: the tests whose answers depend on the server most.
const ON_THE_OTHER_SERVER: [&str; 3] = ["metadata_location", "restore::", "full_bucket"];

/// What only the first server can be asked: these tests change files in its folder, speak http, or have a cluster of
/// their own.
const ON_THE_FIRST_SERVER: [&str; 15] = [
    "admission::",
    "lost_pack",
    "lock_that",
    "seed::",
    "what_a_server_answers",
    "connections_are_cut",
    "wrong_clock",
    "wrong_with_a_location",
    "snapshot_vanishes",
    "between_its_snapshots",
    "the_server_locks",
    "blackout::",
    "clusters::",
    "control_plane::",
    "standalone::",
];

/// How long hostile input is tried on each target: enough for what a change breaks at once.
const FUZZING: Duration = Duration::from_secs(5);

/// The same with `--all`.
const LONG_FUZZING: Duration = Duration::from_mins(1);

/// How many targets are tried at once: machines for this have two processors.
const FUZZERS: usize = 2;

/// How many rounds of power cuts `--all` makes.
const POWER_CUT_ROUNDS: &str = "5";

/// Runs all steps up to the first that fails; the cluster is removed in any case.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut steps = Steps {
        toolchain: Toolchain::find()?,
        interrupted: watch_signals()?,
        times: Vec::new(),
        slowest: Vec::new(),
        notes: String::new(),
    };
    let result = steps.all(arguments);
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
    times: Vec<(String, Duration)>,
    /// The tests on a node that took the longest, and how many seconds.
    slowest: Vec<(f32, String)>,
    /// What tests on a node want to be read although they succeed.
    notes: String,
}

/// The ten slowest tests, out of lines of seconds and a name.
fn slowest(lines: &str) -> Vec<(f32, String)> {
    let parsed = lines.lines().filter_map(|line| {
        let (seconds, name) = line.split_once(' ')?;
        Some((seconds.parse().ok()?, name.to_owned()))
    });
    let mut tests: Vec<(f32, String)> = parsed.collect();
    tests.sort_by(|one, other| other.0.total_cmp(&one.0));
    tests.truncate(10);
    tests
}

impl Steps {
    fn all(&mut self, arguments: &Arguments) -> Result<()> {
        let filter = arguments.filter.as_deref();
        if filter.is_none() {
            self.cargo("format", &["fmt", "--all", "--check"])?;
            self.cargo("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
            self.step("one TLS provider", Self::refuse_ring)?;
        }
        let unit = ["test", "--workspace", "--exclude", "kubedr-tests", "--"];
        self.cargo("unit tests", &[&unit[..], filter.as_slice()].concat())?;
        if filter.is_none() {
            self.fuzz(if arguments.all { LONG_FUZZING } else { FUZZING })?;
        }
        // Before the cluster starts: one that only waits for a compiler is in the way.
        self.cargo("compile node tests", &["test", "--package", "kubedr-tests", "--no-run"])?;
        let images = self.step("images", |_| image::build(false))?;
        // What only single tests start, built before one waits for it.
        self.step("programs", |_| TEST_PROGRAMS.iter().try_for_each(|set| set.ensure().map(drop)))?;
        // Whatever an interrupted run has left is not what these tests start from.
        self.step("old cluster down", |_| cluster::down(CLUSTER))?;
        let result = self.on_cluster(&images, arguments);
        let stayed = self.step_always("programs stayed up", |_| cluster::stayed_up(CLUSTER));
        let down = self.step_always("cluster down", |_| cluster::down(CLUSTER));
        result.and(stayed).and(down)?;
        if filter.is_none() {
            for (name, version) in OTHER_VERSIONS {
                self.step(name, |steps| steps.on_control_plane(version))?;
            }
            self.step("demo", |_| demo::run(&demo::Arguments::default()))?;
        }
        Ok(())
    }

    /// Tries hostile input in steps that do not take long to interrupt.
    fn fuzz(&mut self, duration: Duration) -> Result<()> {
        let fuzzer = self.step("build for fuzzing", |steps| fuzz::Fuzzer::build(&steps.toolchain))?;
        fuzzer.targets()?.chunks(FUZZERS).try_for_each(|some| {
            self.step(&format!("fuzz {}", some.join(" ")), |_| fuzzed(&fuzzer, some, duration))
        })
    }

    fn on_cluster(&mut self, images: &[PathBuf], arguments: &Arguments) -> Result<()> {
        let s3 = if arguments.filter.is_some() { &SERVERS[..2] } else { &SERVERS };
        let s3 = [s3, &[Server::VersitygwBehind]].concat();
        let options = cluster::Options { s3, encrypt: true, ..cluster::Options::default() };
        let cluster = self.step("cluster up", |_| cluster::up(CLUSTER, &options))?;
        self.step("load images", |_| cluster::load(CLUSTER, images))?;
        let [times, notes] = ["test-times", "test-notes"].map(|name| cluster.folder.join(name));
        let mut cargo = self.node_tests(&cluster, &[])?;
        cargo.env("KUBEDR_TEST_TIMES", &times).env("KUBEDR_TEST_NOTES", &notes).args(&arguments.filter);
        if arguments.all {
            cargo.env("KUBEDR_POWER_CUT_ROUNDS", POWER_CUT_ROUNDS).env("KUBEDR_PATIENT", "1");
        }
        let result = self.rounds(&mut cargo, arguments.repeat);
        self.slowest = slowest(&fs::read_to_string(times).unwrap_or_default());
        self.notes = fs::read_to_string(notes).unwrap_or_default();
        result?;
        match arguments.filter {
            None => {
                self.on_other_servers(&cluster, arguments.all)?;
                self.step("rights", |steps| steps.judge_rights(&cluster))
            }
            Some(_) => Ok(()),
        }
    }

    /// Compares what the operator may do with what it did in all the tests.
    fn judge_rights(&self, cluster: &cluster::Cluster) -> Result<()> {
        let mut cargo = self.node_tests(cluster, &["--test", "rights"])?;
        self.run_interruptibly(cargo.arg("--ignored"))
    }

    /// Runs the tests against the other S3 servers: some of them against one, or all against each.
    fn on_other_servers(&mut self, cluster: &cluster::Cluster, all: bool) -> Result<()> {
        let others = SERVERS.into_iter().skip(1).filter(|server| all || *server == OTHER_SERVER);
        others.into_iter().try_for_each(|server| {
            let mut cargo = self.node_tests(cluster, &["--test", "e2e"])?;
            cargo.env("KUBEDR_TEST_S3", server.name());
            if all {
                cargo.args(ON_THE_FIRST_SERVER.iter().flat_map(|name| ["--skip", name]));
            } else {
                cargo.args(ON_THE_OTHER_SERVER);
            }
            self.step(&format!("tests, {}", server.name()), |steps| steps.run_interruptibly(&mut cargo))
        })
    }

    /// Runs the tests of the API against an API server of another version.
    fn on_control_plane(&self, kubernetes: Kubernetes) -> Result<()> {
        let options = cluster::Options { control_plane: true, kubernetes, ..cluster::Options::default() };
        let cluster = cluster::up(CLUSTER, &options)?;
        let mut cargo = self.node_tests(&cluster, &["--test", "apiserver"])?;
        let result = self.run_interruptibly(&mut cargo).and(cluster::stayed_up(CLUSTER));
        result.and(cluster::down(CLUSTER))
    }

    /// The command that runs the tests on a cluster; what follows chooses among them by name.
    fn node_tests(&self, cluster: &cluster::Cluster, targets: &[&str]) -> Result<Command> {
        let mut cargo = self.toolchain.cargo();
        cargo.env("RUST_TEST_THREADS", THREADS).envs(cluster::variables(cluster)?);
        // That of the image.
        cargo.env("KUBEDR_OPERATOR", self.toolchain.program("operator", false));
        cargo.args(["test", "--package", "kubedr-tests", "--no-fail-fast"]).args(targets).arg("--");
        Ok(cargo)
    }

    /// Runs the tests as often as asked: a flaky test is one that fails in some rounds.
    fn rounds(&mut self, cargo: &mut Command, repeat: u32) -> Result<()> {
        let mut failures = Vec::new();
        for round in 1..=repeat {
            if repeat > 1 {
                eprintln!("round {round} of {repeat}");
            }
            failures.extend(self.step("tests on a node", |steps| steps.run_interruptibly(cargo)).err());
        }
        let failed = failures.len();
        match failures.into_iter().next() {
            Some(first) => Err(first.context(format!("{failed} of {repeat} rounds failed"))),
            None => Ok(()),
        }
    }

    fn cargo(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let mut cargo = self.toolchain.cargo();
        cargo.args(arguments);
        self.step(name, |steps| steps.run_interruptibly(&mut cargo))
    }

    fn step<T>(&mut self, name: &str, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted before step {name:?}");
        }
        self.step_always(name, work)
    }

    /// A step that an interruption must not skip.
    fn step_always<T>(&mut self, name: &str, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        eprintln!("==> {name}");
        let begin = Instant::now();
        let result = work(self);
        self.times.push((name.to_owned(), begin.elapsed()));
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
        for (seconds, name) in &self.slowest {
            eprintln!("  {seconds:>6.1} s  {name}");
        }
        eprint!("{}", self.notes);
    }
}

/// Tries targets at the same time.
fn fuzzed(fuzzer: &fuzz::Fuzzer, targets: &[String], duration: Duration) -> Result<()> {
    thread::scope(|scope| {
        let runs: Vec<_> =
            targets.iter().map(|target| scope.spawn(|| fuzzer.run(target, duration))).collect();
        let ends = runs.into_iter().map(|run| run.join().map_err(|_panic| anyhow!("a fuzzer panicked"))?);
        // Each to its end, whatever becomes of the others.
        ends.collect::<Vec<_>>().into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowest_tests_come_first_and_what_is_no_time_is_passed_over() {
        let lines: Vec<_> = (0..12).map(|number| format!("{number}.5 test-{number}")).collect();
        let found = slowest(&format!("{}\nhalf a li", lines.join("\n")));
        assert_eq!((found.len(), found[0].clone()), (10, (11.5, "test-11".to_owned())));
    }
}
