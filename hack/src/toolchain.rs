//! How this repository is compiled: one target folder and one set of flags for everything, so that images and tests
//! share what is built.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

use crate::{cache, command, sources};

/// What makes rustc count for libFuzzer which branches an input takes, and tell it what is compared: LLVM's passes of
/// the stable compiler, as cargo-fuzz sets them.
const COVERAGE: &str = "--cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
                        -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -C llvm-args=-sanitizer-coverage-pc-table \
                        -C llvm-args=-sanitizer-coverage-trace-compares";

/// The variable by which a program knows that one like it waits for it.
const INSIDE: &str = "KUBEDR_INSIDE_XTASK";

/// The installed Rust, and where its output goes.
#[derive(Debug)]
pub struct Toolchain {
    /// Target triple of this machine.
    pub host: String,
    target_folder: PathBuf,
}

impl Toolchain {
    /// Asks rustc.
    pub fn find() -> Result<Self> {
        let version = command::output(Command::new("rustc").arg("-vV"))?;
        let host = field(&version, "host").context("rustc does not name its host")?;
        let release = field(&version, "release").context("rustc does not name its release")?;
        let target_folder = cache::folder(&format!("target/{release}"))?;
        keep_others_out(&target_folder)?;
        Ok(Self { host: host.to_owned(), target_folder })
    }

    /// cargo, in the repository, with output in the cache folder and programs linked statically.
    ///
    /// The target is always named: flags of a named target do not reach build scripts and procedural macros, which
    /// cannot be static.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(repository()).env("CARGO_TARGET_DIR", &self.target_folder);
        cargo
            .env("CARGO_BUILD_TARGET", &self.host)
            .env(flags_variable(&self.host), "-C target-feature=+crt-static");
        // These would replace the flags, and with them the whole build.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        // Else tests look for their snapshots where they were compiled first.
        cargo.env("INSTA_WORKSPACE_ROOT", repository());
        // Else lints of another checkout's opinion stand.
        cargo.env("CLIPPY_CONF_DIR", repository()).env(INSIDE, "1");
        cargo
    }

    /// cargo for what libFuzzer runs: in a folder of its own, since other flags would build all else anew.
    pub fn fuzzing(&self) -> Command {
        let mut cargo = self.cargo();
        cargo.env("CARGO_TARGET_DIR", self.fuzzing_folder()).env(flags_variable(&self.host), COVERAGE);
        cargo
    }

    /// Where that puts the program of a name, in a profile that is called like it.
    pub fn fuzzing_program(&self, name: &str) -> PathBuf {
        self.fuzzing_folder().join(&self.host).join(name).join(name)
    }

    fn fuzzing_folder(&self) -> PathBuf {
        self.target_folder.with_added_extension("fuzzing")
    }

    /// Where cargo puts the program of that name.
    pub fn program(&self, name: &str, is_release: bool) -> PathBuf {
        let profile = if is_release { "release" } else { "debug" };
        self.target_folder.join(&self.host).join(profile).join(name)
    }
}

/// What keeps another process out of the output folder, as long as this one lives.
static ALONE: OnceLock<File> = OnceLock::new();

/// Waits until nobody else compiles or tests, and sees what changed since. A program that a test starts does so within
/// its time.
fn keep_others_out(target_folder: &Path) -> Result<()> {
    if ALONE.get().is_some() || std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let lock = cache::lock(&target_folder.with_added_extension("lock"))?;
    sources::settle(repository(), target_folder)?;
    ALONE.set(lock).map_err(|_lock| anyhow!("two threads of this program want to compile"))
}

/// Fails in another checkout than the one that this program was compiled in, by whose time cargo may have taken it for
/// new.
pub fn check_checkout() -> Result<()> {
    // cargo says where the program is that it runs; a test says where it is itself.
    let run = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    check_folders(Path::new(env!("CARGO_MANIFEST_DIR")), run.as_deref())
}

fn check_folders(compiled: &Path, run: Option<&Path>) -> Result<()> {
    match run.filter(|run| run.file_name() == compiled.file_name() && *run != compiled) {
        Some(run) => bail!(
            "this program was compiled in {}: `touch {}` and try again",
            compiled.display(),
            run.join("src/main.rs").display()
        ),
        None => Ok(()),
    }
}

/// The root of this repository.
pub fn repository() -> &'static Path {
    let hack = Path::new(env!("CARGO_MANIFEST_DIR"));
    hack.parent().unwrap_or(hack)
}

fn flags_variable(host: &str) -> String {
    format!("CARGO_TARGET_{}_RUSTFLAGS", host.to_uppercase().replace('-', "_"))
}

fn field<'text>(version: &'text str, name: &str) -> Option<&'text str> {
    version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[cfg(test)]
impl Toolchain {
    /// One of which nothing was asked.
    pub fn made_up() -> Self {
        Self { host: "host".to_owned(), target_folder: "/output".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::variable;

    #[test]
    fn a_program_that_was_compiled_in_another_checkout_says_what_to_do() {
        let compiled = Path::new("/one/hack");
        let error = check_folders(compiled, Some(Path::new("/other/hack"))).expect_err("it is another's");
        let words = "this program was compiled in /one/hack: `touch /other/hack/src/main.rs` and try again";
        assert_eq!(error.to_string(), words);
        check_folders(compiled, Some(compiled)).expect("it is this one's");
        check_folders(compiled, Some(Path::new("/one/tests"))).expect("a test started it");
        check_folders(compiled, None).expect("nobody says where it is");
    }

    #[test]
    fn who_was_compiled_elsewhere_looks_for_snapshots_and_lints_in_this_checkout() {
        for cargo in [Toolchain::made_up().cargo(), Toolchain::made_up().fuzzing()] {
            for name in ["INSTA_WORKSPACE_ROOT", "CLIPPY_CONF_DIR"] {
                assert_eq!(variable(&cargo, name), Some(repository().as_os_str()), "{name}");
            }
        }
    }

    #[test]
    fn facts_are_read_from_what_rustc_prints() {
        let version = "rustc 1.95.0 (59807616e)\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\n";
        assert_eq!(field(version, "host"), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(field(version, "release"), Some("1.95.0"));
        assert_eq!(field(version, "commit"), None);
    }

    #[test]
    fn variable_is_spelled_as_cargo_wants_it() {
        assert_eq!(
            flags_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS"
        );
    }
}
