//! Test programs from pinned Go modules, each set built once.
//!
//! `programs/<set>/{go.mod,go.sum,tools.go}` → `go build` → `~/.cache/kubedr/programs/<set>-<hash>/`, where the hash
//! covers everything that decides what comes out.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::command::PROGRESS_INTERVAL;
use crate::{cache, command, packages};

/// The oldest Go that the pinned modules accept.
const NEEDED_GO: (u32, u32) = (1, 26);

/// Programs that are built together, from one go.mod.
#[derive(Debug)]
pub struct ProgramSet {
    /// Folder below `hack/programs`.
    pub name: &'static str,
    /// Program name and Go package of each.
    programs: &'static [(&'static str, &'static str)],
    link_flags: &'static str,
}

/// The control plane, the node's programs and kubectl.
pub const KUBERNETES: ProgramSet = ProgramSet {
    name: "kubernetes",
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    // Without it the programs call themselves v0.0.0, and version checks of clients fail.
    link_flags: "-X k8s.io/component-base/version.gitVersion=v1.35.4",
};

/// The server, and the tools that users restore with.
pub const ETCD: ProgramSet = ProgramSet {
    name: "etcd",
    programs: &[
        ("etcd", "go.etcd.io/etcd/server/v3"),
        ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
        ("etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
    ],
    link_flags: "",
};

/// The backup engine, as it goes into the agent's image.
pub const RESTIC: ProgramSet = ProgramSet {
    name: "restic",
    programs: &[("restic", "github.com/restic/restic/cmd/restic")],
    link_flags: "",
};

/// The S3 server of a test cluster.
pub const VERSITYGW: ProgramSet = ProgramSet {
    name: "versitygw",
    programs: &[("versitygw", "github.com/versity/versitygw/cmd/versitygw")],
    link_flags: "",
};

/// What every cluster needs; the quick ones first, so that something is seen to work soon.
pub const OF_A_CLUSTER: &[&ProgramSet] = &[&ETCD, &RESTIC, &VERSITYGW, &KUBERNETES];

impl ProgramSet {
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
        for part in [go_mod, go_sum, go_version.as_bytes(), flags.as_bytes()] {
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
        watch(self.name, &mut go)?;
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
    fn every_set_names_its_packages_in_tools_go() {
        for set in OF_A_CLUSTER {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(set.name).join("tools.go");
            let tools = fs::read_to_string(path).unwrap();
            for (_, package) in set.programs {
                assert!(tools.contains(&format!("_ \"{package}\"")), "{package}");
            }
        }
    }
}
