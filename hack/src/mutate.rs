//! `cargo xtask mutate`: shows that each guard matters. Without it, the test that is named for it fails.
//!
//! ```text
//! mutations.json ─▶ a copy of the repository ─▶ one guard removed ─▶ its test must fail ─▶ the guard comes back
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::toolchain::{Toolchain, repository};
use crate::{cache, command};

/// The guards and how each is removed.
const LIST: &str = include_str!("../mutations.json");

/// Arguments of `cargo xtask mutate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask mutate            all of them
  cargo xtask mutate retention  those whose guard, file or test says so")]
pub struct Arguments {
    /// Only those whose guard, file or test has this in it.
    filter: Option<String>,
}

/// One guard, and what fails without it.
#[derive(Debug, Deserialize)]
struct Mutation {
    /// What it guards, as a sentence.
    guard: String,
    /// The file that it is in, below the repository.
    file: PathBuf,
    /// The text that is the guard; once in the file.
    from: String,
    /// What stands there without it.
    to: String,
    /// The crate with the test.
    package: String,
    /// Part of the name of a test that must fail then.
    test: String,
}

impl Mutation {
    fn is_meant(&self, filter: Option<&str>) -> bool {
        let file = self.file.to_string_lossy();
        filter
            .is_none_or(|filter| [&*self.guard, &*file, &*self.test].iter().any(|text| text.contains(filter)))
    }

    /// A file's text without the guard.
    fn remove_from(&self, text: &str) -> Result<String> {
        let count = text.matches(&self.from).count();
        ensure!(count == 1, "{:?} is {count} times in {}, not once", self.from, self.file.display());
        Ok(text.replacen(&self.from, &self.to, 1))
    }
}

/// What came of one mutation.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Its test failed, as it must.
    Caught,
    /// No test failed that is named for it.
    Survived,
    /// The code without the guard is no program.
    Uncompiled,
}

/// Removes each guard in turn, and fails if a test does not.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mutations: Vec<Mutation> = serde_json::from_str(LIST).context("mutations.json")?;
    let meant: Vec<_> = mutations.iter().filter(|one| one.is_meant(arguments.filter.as_deref())).collect();
    ensure!(!meant.is_empty(), "no mutation is called {:?}", arguments.filter.as_deref().unwrap_or_default());
    let copy = Copy::of_repository()?;
    let mut others = 0;
    for mutation in meant {
        let begin = Instant::now();
        let fate = copy.try_out(mutation)?;
        others += usize::from(fate != Fate::Caught);
        let (fate, seconds) = (format!("{fate:?}"), begin.elapsed().as_secs());
        writeln!(std::io::stdout(), "{fate:>10}  {seconds:>4} s  {}", mutation.guard)?;
    }
    if others > 0 {
        bail!("{others} guards could be removed without a test of theirs failing");
    }
    Ok(())
}

/// A copy of the repository, at the same place each time, so that little is compiled anew.
struct Copy {
    folder: PathBuf,
    toolchain: Toolchain,
}

impl Copy {
    fn of_repository() -> Result<Self> {
        let folder = cache::folder("mutate")?;
        let mut git = Command::new("git");
        git.current_dir(repository()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let listed = command::output(&mut git)?;
        let mut copied = BTreeSet::new();
        for file in listed.lines() {
            // One that was deleted and not committed is still listed.
            if let Ok(content) = fs::read(repository().join(file)) {
                write_if_other(&folder.join(file), &content)?;
                copied.insert(folder.join(file));
            }
        }
        remove_all_but(&copied, &folder)?;
        Ok(Self { folder, toolchain: Toolchain::find()? })
    }

    fn try_out(&self, mutation: &Mutation) -> Result<Fate> {
        let path = self.folder.join(&mutation.file);
        let whole = fs::read_to_string(&path).with_context(|| format!("no {}", mutation.file.display()))?;
        fs::write(&path, mutation.remove_from(&whole)?)?;
        let fate = self.judge(mutation);
        fs::write(&path, whole)?;
        fate
    }

    fn judge(&self, mutation: &Mutation) -> Result<Fate> {
        if !self.cargo(mutation).arg("--no-run").stderr(Stdio::null()).status()?.success() {
            return Ok(Fate::Uncompiled);
        }
        let output = self.cargo(mutation).args(["--", &mutation.test]).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let is_failed = |line: &str| line.starts_with("test ") && line.ends_with("FAILED");
        let caught = said.lines().any(|line| is_failed(line) && line.contains(&mutation.test));
        Ok(if caught { Fate::Caught } else { Fate::Survived })
    }

    fn cargo(&self, mutation: &Mutation) -> Command {
        let mut cargo = self.toolchain.cargo();
        // What is compiled here is of another folder: it must not take the place of the real one's.
        let target = self.folder.with_file_name("target-mutate");
        cargo.current_dir(&self.folder).env("CARGO_TARGET_DIR", target);
        cargo.env("INSTA_WORKSPACE_ROOT", &self.folder);
        cargo.args(["test", "--package", &mutation.package]).stdin(Stdio::null());
        cargo.args(["--no-fail-fast", "--color", "never"]);
        cargo
    }
}

/// cargo compiles what is newer than its output: a file that is the same stays as it is.
fn write_if_other(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|found| found == content) {
        return Ok(());
    }
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder)?;
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Takes away files of a former copy, which the repository has no more: cargo would compile them too.
fn remove_all_but(copied: &BTreeSet<PathBuf>, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_all_but(copied, &path)?;
        } else if !copied.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::variable;

    #[test]
    fn the_copy_is_held_to_its_own_snapshots() {
        let copy = Copy { folder: "/cache/mutate".into(), toolchain: Toolchain::made_up() };
        let mutations: Vec<Mutation> = serde_json::from_str(LIST).unwrap();
        let cargo = copy.cargo(&mutations[0]);
        assert_eq!(variable(&cargo, "INSTA_WORKSPACE_ROOT"), Some("/cache/mutate".as_ref()));
        assert_eq!(variable(&cargo, "CARGO_TARGET_DIR"), Some("/cache/target-mutate".as_ref()));
        assert_eq!(cargo.get_current_dir(), Some(Path::new("/cache/mutate")));
    }

    #[test]
    fn what_the_repository_has_no_more_goes_from_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let [stays, goes] = ["src/stays.rs", "tests/goes.rs"].map(|name| folder.path().join(name));
        for file in [&stays, &goes] {
            write_if_other(file, b"").unwrap();
        }
        remove_all_but(&BTreeSet::from([stays.clone()]), folder.path()).unwrap();
        assert!(stays.exists() && !goes.exists());
    }

    #[test]
    fn every_guard_of_the_list_is_in_its_file_once() {
        let mutations: Vec<Mutation> = serde_json::from_str(LIST).unwrap();
        for mutation in &mutations {
            let text = fs::read_to_string(repository().join(&mutation.file)).unwrap();
            let without = mutation.remove_from(&text).unwrap();
            assert_ne!(without, text, "{}: nothing is removed", mutation.guard);
        }
    }

    #[test]
    fn a_guard_that_is_there_twice_is_not_removed() {
        let text = r#"{"guard":"g","file":"f","from":"if","to":"","package":"p","test":"t"}"#;
        let mutation: Mutation = serde_json::from_str(text).unwrap();
        assert!(mutation.remove_from("if if").is_err() && mutation.remove_from("").is_err());
        assert_eq!(mutation.remove_from("an if here").unwrap(), "an  here");
    }
}
