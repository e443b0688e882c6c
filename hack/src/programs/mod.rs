//! `cargo xtask programs`: test programs from pinned Go modules, each set built once, when it is asked for.
//!
//! `programs/<set>/{go.mod,go.sum,tools.go}` → `go build` → `~/.cache/kubedr/programs/<set>-<hash>/`, where the hash
//! covers everything that decides what comes out.

mod clock;
mod sets;

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::command::PROGRESS_INTERVAL;
use crate::{cache, command, packages};
pub use sets::*;

/// The oldest Go that the pinned modules accept.
const NEEDED_GO: (u32, u32) = (1, 26);

/// Arguments of `cargo xtask programs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask programs                        build what every cluster needs, and print the folders
  cargo xtask programs minio kubernetes-1.33  build two sets that only some tests need")]
pub struct Arguments {
    /// Folders of hack/programs; without one, what every cluster needs.
    #[arg(value_parser = ProgramSet::find, value_name = "SET")]
    sets: Vec<&'static ProgramSet>,
}

/// Builds sets of programs and prints where they are.
pub fn run(arguments: &Arguments) -> Result<()> {
    let sets = if arguments.sets.is_empty() { OF_A_CLUSTER } else { &arguments.sets };
    for set in sets {
        writeln!(std::io::stdout(), "{}", set.ensure()?.display())?;
    }
    Ok(())
}

/// Programs that are built together, from one go.mod.
#[derive(Debug, PartialEq, Eq)]
pub struct ProgramSet {
    /// Folder below `hack/programs`.
    pub name: &'static str,
    /// Program name and Go package of each.
    programs: &'static [(&'static str, &'static str)],
    link_flags: &'static str,
    /// How far behind the clock is that they see, as Go's `time` has it: `20 * Minute`.
    behind: Option<&'static str>,
}

impl ProgramSet {
    /// Finds a set by its folder below `hack/programs`.
    pub fn find(name: &str) -> Result<&'static Self> {
        let names = || ALL.iter().map(|set| set.name).collect::<Vec<_>>().join(", ");
        let found = ALL.iter().find(|set| set.name == name).copied();
        found.with_context(|| format!("no set of programs is called {name:?}; there are {}", names()))
    }

    /// Returns the folder with the built programs, and builds them if it is not there.
    pub fn ensure(&self) -> Result<PathBuf> {
        let version = go_version()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(self.name);
        let read =
            |name: &str| fs::read(source.join(name)).with_context(|| format!("{}: {name}", source.display()));
        let key = self.key(&read("go.mod")?, &read("go.sum")?, &version);
        let target = cache::folder("programs")?.join(format!("{}-{key}", self.name));
        cache::build_once(&target, |unfinished| self.build(&source, unfinished))
            .with_context(|| format!("cannot build the programs of set {:?}", self.name))?;
        Ok(target)
    }

    /// What tells one build of this set from another.
    fn key(&self, go_mod: &[u8], go_sum: &[u8], go_version: &str) -> String {
        let mut hash = Sha256::new();
        let flags = format!("{:?}", self.build_arguments(Path::new("")));
        let clock = self.behind.and_then(|behind| clock::late(clock::NOW, behind).ok());
        let clock = clock.as_deref().map(str::as_bytes);
        for part in [go_mod, go_sum, go_version.as_bytes(), flags.as_bytes()].into_iter().chain(clock) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(&hash.finalize()[..6])
    }

    fn build_arguments(&self, output: &Path) -> Vec<String> {
        let flags = ["build", "-v", "-mod=readonly", "-trimpath", "-ldflags"].map(str::to_owned);
        let output = format!("{}/", output.display());
        let packages = self.programs.iter().map(|(_, package)| (*package).to_owned());
        let link_flags = format!("-s -w {}", self.link_flags).trim().to_owned();
        flags.into_iter().chain([link_flags, "-o".to_owned(), output]).chain(packages).collect()
    }

    fn build(&self, source: &Path, output: &Path) -> Result<()> {
        let names = self.programs.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        eprintln!("building {names}: once, minutes on a small machine");
        let mut go = Command::new("go");
        go.args(self.build_arguments(output)).current_dir(source).env("CGO_ENABLED", "0");
        // Whatever the developer has set for work of their own must not reach the programs.
        go.env_remove("GOFLAGS").env_remove("GOOS").env_remove("GOARCH").env("GOWORK", "off");
        let clock = self.behind.map(|behind| clock::Overlay::new(behind, output)).transpose()?;
        go.envs(clock.iter().map(|clock| ("GOFLAGS", clock.flag())));
        watch(self.name, &mut go)?;
        clock.map(clock::Overlay::remove).transpose()?;
        self.programs.iter().try_for_each(|(name, package)| rename(output, package, name))
    }
}

/// Go names a program after its package's last folder, skipping the major version: `server/v3` makes `server`.
fn rename(folder: &Path, package: &str, name: &str) -> Result<()> {
    let is_version = |part: &&str| part.strip_prefix('v').is_some_and(|digits| digits.parse::<u32>().is_ok());
    let built = package.rsplit('/').find(|part| !is_version(part)).unwrap_or(name);
    fs::rename(folder.join(built), folder.join(name)).with_context(|| format!("go made no program {built:?}"))
}

/// What a running build has said so far.
#[derive(Default)]
struct Said {
    compiled: usize,
    downloaded: usize,
    last_lines: VecDeque<String>,
}

/// Runs a build and says every few seconds how far it is.
fn watch(what: &str, command: &mut Command) -> Result<()> {
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start go")?;
    let said = Arc::new(Mutex::new(Said::default()));
    let reader = child.stderr.take().map(|lines| {
        let said = Arc::clone(&said);
        thread::spawn(move || listen(BufReader::new(lines), &said))
    });
    let status = wait(what, begin, &mut child, &said)?;
    if let Some(reader) = reader {
        drop(reader.join());
    }
    if !status.success() {
        let lines =
            said.lock().unwrap_or_else(PoisonError::into_inner).last_lines.make_contiguous().join("\n");
        bail!("{} ended with {status}:\n{lines}", command::name(command));
    }
    eprintln!("  {what}: built in {} s", begin.elapsed().as_secs());
    Ok(())
}

fn wait(
    what: &str,
    begin: Instant,
    child: &mut Child,
    said: &Mutex<Said>,
) -> Result<std::process::ExitStatus> {
    let mut next = PROGRESS_INTERVAL;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begin.elapsed() >= next {
            next += PROGRESS_INTERVAL;
            let said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let (compiled, downloaded, seconds) = (said.compiled, said.downloaded, begin.elapsed().as_secs());
            eprintln!("  {what}: {downloaded} modules fetched, {compiled} packages compiled, {seconds} s");
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn listen(lines: impl BufRead, said: &Mutex<Said>) {
    for line in lines.lines().map_while(Result::ok) {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if line.starts_with("go: downloading") {
            said.downloaded += 1;
        } else {
            said.compiled += 1;
        }
        said.last_lines.push_back(line);
        if said.last_lines.len() > 30 {
            said.last_lines.pop_front();
        }
    }
}

/// The version of the installed Go, refused if it cannot build the programs.
fn go_version() -> Result<String> {
    let needed = format!("Go {}.{} or newer is needed on the PATH", NEEDED_GO.0, NEEDED_GO.1);
    if packages::find("go").is_none() {
        bail!("{needed} to build the test programs (https://go.dev/dl)");
    }
    let version = command::output(Command::new("go").arg("version"))?;
    match parse_go_version(&version) {
        Some(found) if found >= NEEDED_GO => Ok(version),
        _ => bail!("{needed}, found {:?}", version.trim()),
    }
}

fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers =
        text.split_whitespace().find_map(|word| word.strip_prefix("go1."))?.split(['.', 'r', 'b', '-']);
    Some((1, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_changes_with_everything_that_decides_the_build() {
        let key = RESTIC.key(b"mod", b"sum", "go1.26.8");
        assert_eq!(key, RESTIC.key(b"mod", b"sum", "go1.26.8"));
        assert_eq!(key.len(), 12);
        assert_ne!(key, RESTIC.key(b"mod2", b"sum", "go1.26.8"));
        assert_ne!(key, RESTIC.key(b"mod", b"sum2", "go1.26.8"));
        assert_ne!(key, RESTIC.key(b"mods", b"um", "go1.26.8"));
        assert_ne!(key, RESTIC.key(b"mod", b"sum", "go1.27.0"));
        assert_ne!(key, ETCD.key(b"mod", b"sum", "go1.26.8"));
    }

    #[test]
    fn go_version_is_read_from_what_go_prints() {
        assert_eq!(parse_go_version("go version go1.26.8 linux/amd64\n"), Some((1, 26)));
        assert_eq!(parse_go_version("go version go1.27rc1 linux/amd64"), Some((1, 27)));
        assert_eq!(parse_go_version("go version devel"), None);
    }

    #[test]
    fn program_is_renamed_from_its_package() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("server"), "").unwrap();
        rename(folder.path(), "go.etcd.io/etcd/server/v3", "etcd").unwrap();
        assert!(folder.path().join("etcd").exists());
    }

    #[test]
    fn every_folder_is_a_set_that_names_its_packages_in_tools_go() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        let mut known: Vec<_> = ALL.iter().map(|set| set.name).collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(names, known);
        for set in ALL {
            let tools = fs::read_to_string(folder.join(set.name).join("tools.go")).unwrap();
            for (_, package) in set.programs {
                assert!(tools.contains(&format!("_ \"{package}\"")), "{package}");
            }
        }
    }

    #[test]
    fn kubernetes_calls_itself_by_the_version_in_go_mod() {
        for set in [KUBERNETES, KUBERNETES_1_33, KUBERNETES_1_36] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(set.name).join("go.mod");
            let (_, version) = set.link_flags.rsplit_once('=').unwrap();
            let required = format!("\nrequire k8s.io/kubernetes {version}\n");
            assert!(fs::read_to_string(path).unwrap().contains(&required), "{}: {version}", set.name);
        }
    }

    #[test]
    fn set_is_found_by_its_name() {
        assert_eq!(ProgramSet::find("minio").unwrap().name, MINIO.name);
        let error = ProgramSet::find("minoi").unwrap_err().to_string();
        assert!(error.contains("minoi") && error.contains("minio"), "{error}");
    }
}
