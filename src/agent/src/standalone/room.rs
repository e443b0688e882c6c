//! A room that looks like a pod's root, made of mounts on a bare node.
//!
//! ```text
//! node: files ──bind, read-only──▶ memory: /credentials, /etcd_creds, /data/certificates, /data/host/… ─▶ chroot
//! ```
//!
//! So each file is stored under the path that it has from a pod, and no key is copied. The mounts are in a namespace
//! of this run: nobody else sees them, and however its last process ends, the kernel takes them away.
use std::{fmt::Display, fs, io, path::PathBuf};

use model::{
    Reason,
    environment::{DATA_MOUNT, RESULT_FILE, WORK_MOUNT},
    result::Failure,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal},
    unistd::{chdir, chroot},
};

use super::layout::Shown;

/// Where it is built: a folder that every node has, and below which nothing lies that a backup holds. Only this run
/// sees that something was laid over it.
const ROOM: &str = "/sys";
/// Most memory that files in it may take: restic's cache, and packs on their way.
const OPTIONS: &str = "size=1g,mode=0755";
/// Folders that are there whatever is shown.
const FOLDERS: [&str; 5] = [DATA_MOUNT, WORK_MOUNT, "/proc", "/dev", "/etc"];
/// Files that are there too: restic asks who it is, and the result is left as in a pod.
const FILES: [(&str, &str); 2] = [("/etc/passwd", "root:x:0:0:root:/work:/\n"), (RESULT_FILE, "")];

/// Takes this process into a room with these files. Its next child is the first process of the room, with which all
/// others in it end.
///
/// # Errors
///
/// That of what is shown for what is not there, and `MountFailed` for what the kernel refuses. This process may be
/// half in the room then, and must end.
pub fn enter(shown: &[Shown]) -> Result<(), Failure> {
    leave_the_node()?;
    furnish().map_err(|error| failed("the room cannot be furnished", error))?;
    shown.iter().try_for_each(show)?;
    chroot(ROOM).and_then(|()| chdir("/")).map_err(|error| failed("the room cannot be entered", error))
}

/// Makes this process the first one of the room: it sees the processes in it, and ends with who made it.
pub fn settle() -> Result<(), Failure> {
    if std::process::id() != 1 {
        return Err(Failure::new(Reason::InvalidSpec, "only `agent backup --standalone` starts this"));
    }
    let set_up = || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
    };
    set_up().map_err(|error| failed("the room's processes cannot be seen", error))
}

fn leave_the_node() -> Result<(), Failure> {
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    unshare(flags).map_err(|error| {
        let what =
            "there is no namespace for this run: it needs to be root on the node itself, not in a container";
        failed(what, error)
    })?;
    // What the node unmounts goes here too, and nothing that is mounted here is seen there.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        .map_err(|error| failed("the node's mounts cannot be parted from", error))
}

fn furnish() -> io::Result<()> {
    mount(Some("tmpfs"), ROOM, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(OPTIONS))?;
    FOLDERS.iter().try_for_each(|folder| fs::create_dir_all(at(folder)))?;
    FILES.iter().try_for_each(|(file, text)| fs::write(at(file), text))
}

/// Where a path of the room is, seen from outside.
fn at(inside: &str) -> PathBuf {
    PathBuf::from(format!("{ROOM}{inside}"))
}

fn show(shown: &Shown) -> Result<(), Failure> {
    let Shown { path, inside, is_writable, flag, missing } = shown;
    let said = |reason, error: &dyn Display| {
        Failure::new(reason, format!("{flag}: {}: {error}", path.display())).at(*flag)
    };
    let metadata = fs::metadata(path).map_err(|error| said(*missing, &error))?;
    make_place(inside, metadata.is_dir()).map_err(|error| said(Reason::MountFailed, &error))?;
    bind(shown, *is_writable).map_err(|error| said(Reason::MountFailed, &error))
}

/// Makes what a file or folder is laid over, unless what is shown already has it.
///
/// A link in that would lead out of the room: then nothing is laid anywhere.
fn make_place(inside: &str, is_folder: bool) -> io::Result<()> {
    let place = at(inside);
    if fs::symlink_metadata(&place).is_err() {
        let folder = if is_folder { Some(place.as_path()) } else { place.parent() };
        folder.map_or(Ok(()), fs::create_dir_all)?;
        if !is_folder {
            fs::File::create_new(&place)?;
        }
    }
    if fs::canonicalize(&place)? == place {
        return Ok(());
    }
    Err(io::Error::other("a link is on the way to it: name what it leads to"))
}

fn bind(Shown { path, inside, .. }: &Shown, is_writable: bool) -> nix::Result<()> {
    let place = at(inside);
    mount(Some(path), &place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    if is_writable {
        return Ok(());
    }
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, &place, None::<&str>, read_only, None::<&str>)
}

fn failed(what: &str, error: impl Display) -> Failure {
    Failure::new(Reason::MountFailed, format!("{what}: {error}")).at("--standalone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_by_its_flag() {
        let shown = Shown {
            path: "/nowhere/pki".into(),
            inside: "/data/certificates".to_owned(),
            is_writable: false,
            flag: "--certs-dir",
            missing: Reason::HostPathMissing,
        };
        let failure = show(&shown).expect_err("nowhere");
        let message = "--certs-dir: /nowhere/pki: No such file or directory (os error 2)";
        assert_eq!(failure, Failure::new(Reason::HostPathMissing, message).at("--certs-dir"));
    }

    #[test]
    fn nobody_settles_on_the_node_itself() {
        assert_eq!(settle().expect_err("not the first process").reason, Reason::InvalidSpec);
    }
}
