//! `cargo xtask image`: the product's images, made FROM scratch of static binaries, without a container engine.

mod archive;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::programs::{ETCD, RESTIC};
use crate::toolchain::Toolchain;
use crate::{cache, command, packages};
use archive::{File, Image};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The process that holds a pod's namespaces, in five lines.
const PAUSE: &str = include_str!("pause.rs");

/// Name of its image.
const PAUSE_NAME: &str = "pause";

/// Name of the image whose program is not there.
const BROKEN_NAME: &str = "broken";

/// restic asks who it is.
const PASSWD: &str = "root:x:0:0:root:/work:/\n";

/// Arguments of `cargo xtask image`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask image                                   build, and print the archives' paths
  cargo xtask image | xargs cargo xtask cluster load  build, and load into the running cluster")]
pub struct Arguments {
    /// Optimised and stripped, as it is shipped.
    #[arg(long)]
    release: bool,
}

/// Builds the images and prints where they are.
pub fn run(arguments: &Arguments) -> Result<()> {
    for image in build(arguments.release)? {
        writeln!(std::io::stdout(), "{}", image.display())?;
    }
    Ok(())
}

/// The operator's image, as a cluster knows it.
pub fn operator_name() -> String {
    format!("kubedr/operator:{VERSION}")
}

/// The agent's image, as a cluster knows it.
pub fn agent_name() -> String {
    format!("kubedr/agent:{VERSION}")
}

/// The image of the benches, as a cluster knows it.
pub fn bench_name() -> String {
    format!("kubedr.test/bench:{VERSION}")
}

/// Compiles operator and agent, and writes the archives of their images.
pub fn build(is_release: bool) -> Result<Vec<PathBuf>> {
    packages::ensure(packages::CLUSTERS)?;
    let toolchain = compile(is_release)?;
    let program = |name: &str| toolchain.program(name, is_release);
    Ok(vec![
        write("operator", &operator(&program("operator"))?)?,
        write("agent", &agent(&program("agent"))?)?,
    ])
}

/// Compiles operator and agent, and returns who knows where they are.
pub fn compile(is_release: bool) -> Result<Toolchain> {
    let toolchain = Toolchain::find()?;
    let mut cargo = toolchain.cargo();
    cargo
        .args(["build", "--package", "operator", "--package", "agent"])
        .args(is_release.then_some("--release"));
    command::run_at_length("compiling operator and agent", &mut cargo)?;
    Ok(toolchain)
}

/// Compiles the program of the operator's image, as it is shipped, and says where it is.
pub fn operator_program() -> Result<PathBuf> {
    Ok(compile(true)?.program("operator", true))
}

fn operator(program: &Path) -> Result<Image> {
    require_static(program)?;
    let files = vec![File::program("operator", program)?];
    Ok(Image { name: operator_name(), files, entrypoint: "/operator".into(), user: "65532:65532" })
}

fn agent(program: &Path) -> Result<Image> {
    let (restic, etcdutl) = (RESTIC.ensure()?.join("restic"), ETCD.ensure()?.join("etcdutl"));
    [program, &restic, &etcdutl].into_iter().try_for_each(require_static)?;
    let roots = Path::new("/etc/ssl/certs/ca-certificates.crt");
    let files = vec![
        File::program("agent", program)?,
        File::program("restic", &restic)?,
        File::program("etcdutl", &etcdutl)?,
        File::data("etc/ssl/certs/ca-certificates.crt", roots)?,
        File { path: "etc/passwd", content: PASSWD.into(), mode: 0o644 },
    ];
    // Root, because what it backs up is root's alone.
    Ok(Image { name: agent_name(), files, entrypoint: "/agent".into(), user: "0:0" })
}

/// Writes the archive of the benches' image: the shipped agent's, with what it is measured by and beside.
pub fn bench() -> Result<PathBuf> {
    let toolchain = Toolchain::find()?;
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--release", "--package", "kubedr-tests", "--bins"]);
    command::run_at_length("compiling the benches", &mut cargo)?;
    let mut image = agent(&toolchain.program("agent", true))?;
    let programs = [
        ("stopwatch", toolchain.program("stopwatch", true)),
        ("etcdctl", ETCD.ensure()?.join("etcdctl")),
        ("etcd", ETCD.ensure()?.join("etcd")),
    ];
    for (name, program) in programs {
        require_static(&program)?;
        image.files.push(File::program(name, &program)?);
    }
    write("bench", &Image { name: bench_name(), ..image })
}

fn write(name: &str, image: &Image) -> Result<PathBuf> {
    let path = archive_of(name)?;
    archive::write(image, &path)?;
    Ok(path)
}

fn archive_of(name: &str) -> Result<PathBuf> {
    Ok(cache::folder("images")?.join(format!("{name}-{VERSION}.tar")))
}

/// Where the archives of the product's images are, once they were built.
pub fn archives() -> Result<[PathBuf; 2]> {
    Ok([archive_of("operator")?, archive_of("agent")?])
}

/// The image that a node needs for every pod, and one that no container can start from, which tests need; built once,
/// because nothing in them ever changes.
pub fn of_node() -> Result<[PathBuf; 2]> {
    let folder = cache::folder("images")?.join("pause-2");
    cache::build_once(&folder, |unfinished| {
        let host = Toolchain::find()?.host;
        let (source, program) = (unfinished.join("pause.rs"), unfinished.join("pause"));
        fs::write(&source, PAUSE)?;
        let mut rustc = Command::new("rustc");
        rustc.args([
            "--edition",
            "2024",
            "--target",
            &host,
            "-C",
            "target-feature=+crt-static",
            "-C",
            "panic=abort",
        ]);
        command::run(
            rustc.args(["-C", "opt-level=s", "-C", "strip=symbols", "-o"]).arg(&program).arg(&source),
        )?;
        require_static(&program)?;
        for (name, entrypoint) in [(PAUSE_NAME, "/pause"), (BROKEN_NAME, "/not-there")] {
            let files = vec![File::program("pause", &program)?];
            let image = Image {
                name: format!("kubedr.test/{name}:1"),
                files,
                entrypoint: entrypoint.into(),
                user: "65535:65535",
            };
            archive::write(&image, &unfinished.join(name).with_extension("tar"))?;
        }
        Ok(())
    })?;
    Ok([PAUSE_NAME, BROKEN_NAME].map(|name| folder.join(name).with_extension("tar")))
}

/// Refuses a program that would look for libraries which its image does not have.
fn require_static(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    match has_interpreter(&bytes) {
        Some(false) => Ok(()),
        Some(true) => {
            bail!("{} is linked dynamically: an image FROM scratch cannot run it", program.display())
        }
        None => bail!("{} is not a 64-bit ELF program", program.display()),
    }
}

/// Whether an ELF program asks for a dynamic linker.
fn has_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |offset: usize, length: usize| -> Option<usize> {
        let bytes = elf.get(offset..offset + length)?;
        bytes
            .iter()
            .rev()
            .try_fold(0_usize, |value, byte| value.checked_mul(256)?.checked_add(usize::from(*byte)))
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut kinds = (0..count).map(|index| number(table + index * size, 4));
    Some(kinds.any(|kind| kind == Some(PT_INTERP as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest thing with one program header of the given kind.
    fn elf(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[32], bytes[54], bytes[56], bytes[64]) = (64, 56, 1, kind);
        bytes
    }

    #[test]
    fn dynamic_program_is_told_from_a_static_one() {
        assert_eq!(has_interpreter(&elf(1)), Some(false));
        assert_eq!(has_interpreter(&elf(3)), Some(true));
        assert_eq!(has_interpreter(b"#!/bin/sh"), None);
    }

    #[test]
    fn dynamic_program_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("agent");
        fs::write(&program, elf(3)).unwrap();
        let error = require_static(&program).unwrap_err().to_string();
        assert!(error.contains("agent") && error.contains("dynamically"), "{error}");
    }
}
