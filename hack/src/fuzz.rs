//! `cargo xtask fuzz`: tries hostile input, made by libFuzzer, on what reads the data of others.
//!
//! ```text
//! tests/fuzz ─┬▶ a program with libFuzzer ─┬▶ no promise was broken
//!             └▶ seeds ─▶ corpus ──────────┴▶ the input that broke one, in hex
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::toolchain::Toolchain;
use crate::{cache, command, packages};

const PACKAGE: &str = "kubedr-fuzz";
/// Name of the program and of its profile.
const PROGRAM: &str = "fuzz";
/// The variable that tells the program its target.
const VARIABLE: &str = "KUBEDR_FUZZ";
/// How libFuzzer says where it left the input that failed.
const LEFT: &str = "Test unit written to ";
/// How it says what it did.
const DONE: &str = "Done ";

/// Seconds that one input may take, on a machine that does other things too.
const LONGEST: &str = "-timeout=30";
/// Mebibytes that the program may take: a walk through a small file takes less than one.
const LARGEST: &str = "-rss_limit_mb=512";

/// Arguments of `cargo xtask fuzz`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask fuzz                        every target for a minute
  cargo xtask fuzz result --seconds 3600  one of them, for longer
  cargo xtask fuzz result --input 7b7d    one input alone, as it is printed when a promise is broken")]
pub struct Arguments {
    /// What to try; each target without it.
    target: Option<String>,
    /// How long to try each.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Try this input and no other, hexadecimal.
    #[arg(long, value_name = "HEX", requires = "target", conflicts_with = "seconds")]
    input: Option<String>,
}

/// Tries what is asked for.
pub fn run(arguments: &Arguments) -> Result<()> {
    let fuzzer = Fuzzer::build(&Toolchain::find()?)?;
    let all = fuzzer.targets()?;
    let chosen = arguments.target.as_ref();
    ensure!(
        chosen.is_none_or(|name| all.contains(name)),
        "no target {:?}: there are {}",
        chosen.map_or("", String::as_str),
        all.join(", ")
    );
    if let Some((target, input)) = chosen.zip(arguments.input.as_ref()) {
        return fuzzer.repeat(target, &hex::decode(input).context("the input is not hexadecimal")?);
    }
    let seconds = Duration::from_secs(arguments.seconds.into());
    chosen
        .map_or(all.as_slice(), std::slice::from_ref)
        .iter()
        .try_for_each(|target| fuzzer.run(target, seconds))
}

/// The built program, and where its inputs are.
#[derive(Debug)]
pub struct Fuzzer {
    program: PathBuf,
    /// A folder for each target: inputs that the code has.
    seeds: PathBuf,
    /// The same: inputs that earlier runs found, those that broke a promise among them. So they are tried first.
    corpus: PathBuf,
    /// What libFuzzer says.
    logs: PathBuf,
}

impl Fuzzer {
    /// Builds the program, and writes the seeds anew.
    pub fn build(toolchain: &Toolchain) -> Result<Self> {
        packages::ensure(packages::FUZZING)?;
        let mut cargo = toolchain.fuzzing();
        cargo.args(["build", "--package", PACKAGE, "--bin", PROGRAM, "--profile", PROGRAM]);
        command::run_at_length("build for fuzzing", cargo.args(["--features", "libfuzzer"]))?;
        let seeds = cache::folder("fuzz/seeds")?;
        cache::remove_if_there(&seeds)?;
        let mut writer = toolchain.cargo();
        writer.args(["run", "--quiet", "--package", PACKAGE, "--bin", "seeds", "--"]).arg(&seeds);
        command::run_at_length("seeds", &mut writer)?;
        Ok(Self {
            program: toolchain.fuzzing_program(PROGRAM),
            seeds,
            corpus: cache::folder("fuzz/corpus")?,
            logs: cache::folder("fuzz/logs")?,
        })
    }

    /// Names of all targets.
    pub fn targets(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.seeds).context("cannot list the seeds")?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<_> = names.collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    }

    /// Tries a target for so long, and says how many inputs there were.
    ///
    /// # Errors
    ///
    /// The input that broke a promise, and how to try it again.
    pub fn run(&self, target: &str, duration: Duration) -> Result<()> {
        let (corpus, seeds) = (self.corpus.join(target), self.seeds.join(target));
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        let mut fuzzer = self.command(target);
        fuzzer.arg(&corpus).arg(seeds).args([LONGEST, LARGEST]);
        fuzzer.arg(format!("-max_total_time={}", duration.as_secs()));
        fuzzer.arg(format!("-artifact_prefix={}/", corpus.display()));
        let path = self.logs.join(target);
        let log = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let result = command::run_at_length(target, fuzzer.stdout(Stdio::null()).stderr(log));
        let said = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        if let Err(error) = result {
            bail!(broken(target, &said).with_context(|| format!("{error:#}"))?);
        }
        let done = said.lines().rev().find_map(|line| line.strip_prefix(DONE)).context("no end was told")?;
        writeln!(std::io::stdout(), "{target:>10}  {done}").context("cannot tell the end")
    }

    /// Tries one input.
    fn repeat(&self, target: &str, input: &[u8]) -> Result<()> {
        let path = self.logs.join("input");
        fs::write(&path, input).with_context(|| format!("cannot write {}", path.display()))?;
        command::run_visibly(self.command(target).arg(path).arg(LONGEST))
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env(VARIABLE, target).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        command
    }
}

/// Which promise was broken, and how to try its input again.
fn broken(target: &str, said: &str) -> Result<String> {
    let Some(path) = left(said) else {
        bail!("{target} ended early: {}", said.lines().last().unwrap_or_default());
    };
    let input = hex::encode(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
    let why = why(said).join("\n");
    Ok(format!("{target} broke a promise: {why}\nagain: cargo xtask fuzz {target} --input {input}"))
}

/// Where the input is that failed: the last one that was left, since slow ones are left too.
fn left(said: &str) -> Option<&Path> {
    said.lines().rev().find_map(|line| Some(Path::new(line.split_once(LEFT)?.1)))
}

/// What the program said itself: a panic with what follows it, or libFuzzer's own error.
fn why(said: &str) -> Vec<&str> {
    let is_error = |line: &&str| line.contains("panicked at") || line.contains("ERROR: libFuzzer");
    let is_advice = |line: &&str| line.to_lowercase().starts_with("note: ");
    said.lines().skip_while(|line| !is_error(line)).take_while(|line| !is_advice(line)).take(6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "INFO: seed corpus: files: 3\n\
        artifact_prefix='/c/'; Test unit written to /c/slow-unit-1\n\
        thread '<unnamed>' (7) panicked at tests/fuzz/src/tags.rs:9:5:\n\
        what has no mark is foreign\n\
        note: run with `RUST_BACKTRACE=1`\n\
        ==7== ERROR: libFuzzer: deadly signal\n\
        artifact_prefix='/c/'; Test unit written to /c/crash-2\n\
        Base64: AA==\n";

    #[test]
    fn the_input_that_failed_is_the_last_one_that_was_left() {
        assert_eq!(left(SAID), Some(Path::new("/c/crash-2")));
        assert_eq!(left("INFO: none\n"), None);
    }

    #[test]
    fn what_broke_is_told_in_the_programs_own_words() {
        assert_eq!(why(SAID).len(), 2);
        assert_eq!(why(SAID)[1], "what has no mark is foreign");
        assert_eq!(why("==7== ERROR: libFuzzer: timeout\n").len(), 1);
    }

    #[test]
    fn a_failure_is_told_with_its_input_and_how_to_repeat_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crash");
        fs::write(&path, [0x7b, 0]).unwrap();
        let said = format!("x panicked at y\nwhy\n{LEFT}{}\n", path.display());
        let text = broken("tags", &said).unwrap();
        assert!(text.contains("why\n") && text.ends_with("cargo xtask fuzz tags --input 7b00"), "{text}");
        assert!(broken("tags", "cannot start").unwrap_err().to_string().ends_with("early: cannot start"));
    }
}
