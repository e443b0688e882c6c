//! Tricks with paths: ways out, and things that should not be where a pod can open them.
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{FileTypeExt, symlink},
            net::{SocketAddr, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use kubedr_tests::escape::Plan;

use crate::Outcome;

/// So many folders up, everything ends at its root.
const DEPTH: usize = 16;

/// Through each of them the kernel can be made to run a program as the host's root, or to stop.
const SETTINGS: [&str; 5] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/memory/release_agent",
];

/// Of a socket in `/proc/net/unix`: it takes connections.
const LISTENS: &str = "00010000";

pub fn parent_folders(plan: &Plan) -> Outcome {
    seen(plan, plan.read_only.iter().chain([&plan.work]).cloned().flat_map(above))
}

/// A process of the host that is visible shows all of the host's files.
pub fn roots_of_processes(plan: &Plan) -> Result<Outcome> {
    let places =
        processes()?.into_iter().flat_map(|process| ["root", "cwd"].map(|place| process.join(place)));
    Ok(seen(plan, places.flat_map(above)))
}

/// A runtime that left a folder of the host open has left a way to it.
pub fn descriptors_of_processes(plan: &Plan) -> Result<Outcome> {
    // A process may end meanwhile, and another one's descriptors may be hidden: neither is a way out.
    let open = |process: PathBuf| fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let descriptors = processes()?.into_iter().flat_map(open).map(|entry| entry.path());
    Ok(seen(plan, descriptors.filter(|path| path.is_dir()).flat_map(above)))
}

fn processes() -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir("/proc").context("no processes")?.flatten().map(|entry| entry.path());
    let is_process = |path: &PathBuf| path.file_name().is_some_and(|name| is_number(&name.to_string_lossy()));
    Ok(paths.filter(is_process).collect())
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

/// A folder and those above it.
fn above(folder: PathBuf) -> impl Iterator<Item = PathBuf> {
    let up = |levels| std::iter::repeat_n("..", levels).collect::<PathBuf>();
    (0..=DEPTH).map(move |levels| folder.join(up(levels)))
}

/// Whether the file outside can be read below any of these folders.
fn seen(plan: &Plan, folders: impl IntoIterator<Item = PathBuf>) -> Outcome {
    let ends = ends(&plan.outside);
    let mut looked_at = 0;
    for folder in folders {
        looked_at += 1;
        let mut paths = ends.iter().map(|end| folder.join(end));
        if let Some(path) = paths.find(|path| is_outside(plan, path)) {
            return Outcome::Reached(path.display().to_string());
        }
    }
    Outcome::Refused(format!("it is not seen from {looked_at} folders"))
}

/// A path without its root, and without each further folder: what is left of it depends on what is mounted.
fn ends(path: &Path) -> Vec<PathBuf> {
    let names: Vec<_> = path.iter().skip(1).collect();
    (0..names.len()).map(|from| names[from..].iter().collect()).collect()
}

fn is_outside(plan: &Plan, path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|found| found == plan.content)
}

pub fn symbolic_links(plan: &Plan) -> Result<Outcome> {
    let (link, outside) = (plan.work.join("link"), plan.outside.display());
    let up = "../".repeat(DEPTH);
    let ways = [
        format!("{outside}"),
        format!("{up}{outside}"),
        format!("/proc/1/root{outside}"),
        format!("/proc/self/root/{up}{outside}"),
    ];
    for way in ways {
        symlink(&way, &link).context("no link can be made")?;
        let is_reached = is_outside(plan, &link);
        fs::remove_file(&link)?;
        if is_reached {
            return Ok(Outcome::Reached(way));
        }
    }
    Ok(Outcome::Refused("none leads to it".to_owned()))
}

/// A second name, in a folder that can be written to, for a file that cannot.
pub fn hard_link(plan: &Plan) -> Result<Outcome> {
    let name = plan.work.join("second-name");
    let file = files(&plan.shown)?.into_iter().next().context("no file is shown")?;
    Ok(Outcome::of(fs::hard_link(file, &name).and_then(|()| fs::remove_file(&name))))
}

pub fn new_files_in_mounts(plan: &Plan) -> Outcome {
    Outcome::of_any(plan.read_only.iter().map(|folder| (folder.display(), make_file(folder))))
}

pub fn new_file_in_root() -> Outcome {
    Outcome::of(make_file(Path::new("/")))
}

fn make_file(folder: &Path) -> io::Result<()> {
    let path = folder.join("made-by-escape");
    File::create_new(&path)?;
    fs::remove_file(path)
}

pub fn old_files_in_mounts(plan: &Plan) -> Result<Outcome> {
    let files = plan.read_only.iter().map(|folder| files(folder)).collect::<Result<Vec<_>>>()?.concat();
    Ok(open_to_write(files))
}

pub fn kernel_settings() -> Outcome {
    open_to_write(SETTINGS.map(PathBuf::from))
}

/// Opens them and leaves them as they are.
fn open_to_write(files: impl IntoIterator<Item = PathBuf>) -> Outcome {
    let open = |path: PathBuf| {
        let opened = OpenOptions::new().append(true).open(&path);
        (path.display().to_string(), opened)
    };
    Outcome::of_any(files.into_iter().map(open))
}

/// The files in a folder, without those below it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.is_file()).collect())
}

/// Whoever opens a disk reads every file on it.
pub fn block_devices() -> Result<Outcome> {
    let entries = fs::read_dir("/dev").context("no devices")?.flatten();
    let is_block = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_block_device());
    let paths = entries.filter(is_block).map(|entry| entry.path());
    Ok(Outcome::of_any(paths.map(|path| (path.display().to_string(), File::open(&path)))))
}

pub fn account_token(plan: &Plan) -> Outcome {
    Outcome::of_any(plan.tokens.iter().map(|folder| (folder.display(), fs::read_dir(folder))))
}

pub fn sockets(plan: &Plan) -> Outcome {
    Outcome::of_any(plan.sockets.iter().map(|path| (path.display(), UnixStream::connect(path))))
}

/// A pod on the node's network sees the node's sockets that have no path: containerd's were once among them.
pub fn abstract_sockets() -> Result<Outcome> {
    let table = fs::read_to_string("/proc/net/unix").context("no table of sockets")?;
    let names: Vec<_> = table.lines().filter_map(listening).collect();
    let connect = |name: &str| UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?);
    Ok(Outcome::of_any(names.into_iter().map(|name| (name, connect(name)))))
}

/// Name of the socket of a line, if it takes connections and has a name without a path.
fn listening(line: &str) -> Option<&str> {
    let fields: Vec<_> = line.split_whitespace().collect();
    fields.get(7)?.strip_prefix('@').filter(|_| fields[3] == LISTENS)
}
