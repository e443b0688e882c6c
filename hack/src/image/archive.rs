//! Writes a container image as a docker-archive: a tar of one layer, its configuration and a manifest.
//!
//! # Guarantees
//! The same files make the same bytes: no time, owner or order of this machine gets in.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};

const BLOCK: usize = 512;

/// What an image consists of.
#[derive(Debug)]
pub struct Image {
    /// Name and tag.
    pub name: String,
    /// Path inside the image, content, mode; sorted by whoever makes it.
    pub files: Vec<File>,
    /// The program that runs.
    pub entrypoint: String,
    /// User and group, as numbers, so that Kubernetes can tell root from others.
    pub user: &'static str,
}

/// One file of an image.
#[derive(Debug)]
pub struct File {
    /// Path inside the image, without the leading slash.
    pub path: &'static str,
    /// What is in it.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

impl File {
    /// A program, copied from this machine.
    pub fn program(path: &'static str, source: &Path) -> Result<Self> {
        Self::copy(path, source, 0o755)
    }

    /// Any other file, copied from this machine.
    pub fn data(path: &'static str, source: &Path) -> Result<Self> {
        Self::copy(path, source, 0o644)
    }

    fn copy(path: &'static str, source: &Path, mode: u32) -> Result<Self> {
        let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        Ok(Self { path, content, mode })
    }
}

/// Writes the image; a file of that name is a whole one.
pub fn write(image: &Image, target: &Path) -> Result<()> {
    let layer = layer(&image.files)?;
    let layer_digest = digest(&layer);
    let configuration = serde_json::to_vec(&configuration(image, &layer_digest))?;
    let (configuration_name, layer_name) =
        (format!("{}.json", digest(&configuration)), format!("{layer_digest}/layer.tar"));
    let manifest = json!([{"Config": configuration_name, "RepoTags": [image.name], "Layers": [layer_name]}]);
    let unfinished = target.with_added_extension("unfinished");
    let mut tar =
        fs::File::create(&unfinished).with_context(|| format!("cannot write {}", unfinished.display()))?;
    append(&mut tar, &configuration_name, &configuration, 0o644)?;
    append(&mut tar, &layer_name, &layer, 0o644)?;
    append(&mut tar, "manifest.json", &serde_json::to_vec(&manifest)?, 0o644)?;
    finish(&mut tar)?;
    fs::rename(&unfinished, target).with_context(|| format!("cannot write {}", target.display()))
}

fn configuration(image: &Image, layer_digest: &str) -> serde_json::Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": [image.entrypoint], "Env": ["PATH=/"], "User": image.user, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    })
}

/// As Go and container images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn layer(files: &[File]) -> Result<Vec<u8>> {
    let mut tar = Vec::new();
    for folder in folders(files) {
        tar.write_all(&header(&folder, 0, 0o755, b'5')?)?;
    }
    for file in files {
        append(&mut tar, file.path, &file.content, file.mode)?;
    }
    finish(&mut tar)?;
    Ok(tar)
}

/// All folders that the files lie in, parents first.
fn folders(files: &[File]) -> Vec<String> {
    let parents =
        files.iter().flat_map(|file| file.path.match_indices('/').map(|(end, _)| &file.path[..=end]));
    let mut folders: Vec<_> = parents.map(str::to_owned).collect();
    folders.sort_unstable();
    folders.dedup();
    folders
}

fn append(tar: &mut impl Write, name: &str, content: &[u8], mode: u32) -> Result<()> {
    tar.write_all(&header(name, content.len(), mode, b'0')?)?;
    tar.write_all(content)?;
    tar.write_all(&vec![0; content.len().next_multiple_of(BLOCK) - content.len()])?;
    Ok(())
}

fn finish(tar: &mut impl Write) -> Result<()> {
    Ok(tar.write_all(&[0; 2 * BLOCK])?)
}

/// A header of the `ustar` format: owner root, time 0.
fn header(name: &str, size: usize, mode: u32, kind: u8) -> Result<[u8; BLOCK]> {
    if name.len() > 100 {
        bail!("the path {name:?} is too long for a tar header");
    }
    let mut header = [0; BLOCK];
    let mut put = |offset: usize, bytes: &[u8]| header[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        "); // the checksum is computed as if it were blanks
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn example() -> Image {
        let file = |path, content: &str, mode| File { path, content: content.into(), mode };
        let files = vec![file("agent", "program", 0o755), file("etc/ssl/roots", "roots", 0o644)];
        Image { name: "kubedr/agent:1".into(), files, entrypoint: "/agent".into(), user: "0:0" }
    }

    fn listing(tar: &Path) -> String {
        let mut command = Command::new("tar");
        crate::command::output(command.args(["--numeric-owner", "--full-time", "--utc", "-tvf"]).arg(tar))
            .unwrap()
    }

    #[test]
    fn layer_holds_folders_then_files_that_tar_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let tar = folder.path().join("layer.tar");
        fs::write(&tar, layer(&example().files).unwrap()).unwrap();
        let lines: Vec<_> =
            listing(&tar).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 etc/",
                "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 etc/ssl/",
                "-rwxr-xr-x 0/0 7 1970-01-01 00:00:00 agent",
                "-rw-r--r-- 0/0 5 1970-01-01 00:00:00 etc/ssl/roots",
            ]
        );
    }

    #[test]
    fn same_files_make_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("1"), folder.path().join("2"));
        write(&example(), &first).unwrap();
        write(&example(), &second).unwrap();
        assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
        assert_eq!(listing(&first).lines().count(), 3);
    }

    #[test]
    fn path_that_does_not_fit_is_refused() {
        assert!(header(&"x".repeat(101), 0, 0o644, b'0').is_err());
    }
}
