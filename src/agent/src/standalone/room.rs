//! A room that looks like a pod's root: a mount and a PID namespace on a bare node.
//!
//! ```text
//! node: files ──bind, read-only──▶ memory: /credentials, /etcd_creds, /data/certificates, /data/host/… ─▶ chroot
//! ```
//!
//! So each file is stored under the path that it has from a pod, and no key is copied. The mounts are in a namespace
//! of this run: nobody else sees them, and however its last process ends, the kernel takes them away.
use std::{
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
};

use model::{
    Reason,
    environment::{DATA_MOUNT, RESULT_FILE, WORK_MOUNT},
    result::Failure,
};
use nix::{
    errno::Errno,
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
/// The kernel ends what has this before all else, <https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html>.
const OOM_SCORE: &str = "1000";
/// Where the kernel tells what is mounted, <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Folders that are there whatever is shown.
const FOLDERS: [&str; 5] = [DATA_MOUNT, WORK_MOUNT, "/proc", "/dev", "/etc"];
/// Files that are there too: restic asks who it is, and the result is left as in a pod.
const FILES: [(&str, &str); 2] = [("/etc/passwd", "root:x:0:0:root:/work:/\n"), (RESULT_FILE, "")];

/// Takes this process into a room with these files. Its next child is the first process of the room, with which all
/// others in it end.
///
/// # Errors
///
/// That of what is shown for what is not there, `InvalidSpec` for who is not root on the node itself, and `MountFailed`
/// for what else the kernel refuses. This process may be
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
        prctl::set_no_new_privs()?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
    };
    set_up().map_err(|error| failed("the room's processes cannot be seen", error))?;
    // No pod's limit holds it: where memory runs out it goes before etcd.
    fs::write("/proc/self/oom_score_adj", OOM_SCORE)
        .map_err(|error| failed("it cannot be made the first to go where memory runs out", error))
}

fn leave_the_node() -> Result<(), Failure> {
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    unshare(flags).map_err(|error| {
        let what =
            "there is no namespace for this run: it needs to be root on the node itself, not in a container";
        // Trying again makes nobody root.
        let reason = if error == Errno::EPERM { Reason::InvalidSpec } else { Reason::MountFailed };
        Failure { reason, ..failed(what, error) }
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
    let Shown { path, inside, is_writable, is_folder, flag, missing } = shown;
    let said = |reason, error: &dyn Display| {
        Failure::new(reason, format!("{flag}: {}: {error}", path.display())).at(*flag)
    };
    let metadata = fs::metadata(path).map_err(|error| said(*missing, &error))?;
    if *is_folder && !metadata.is_dir() {
        return Err(said(*missing, &"it is no folder"));
    }
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
    leads_to_itself(&place)
}

fn leads_to_itself(place: &Path) -> io::Result<()> {
    if fs::canonicalize(place)? == place {
        return Ok(());
    }
    Err(io::Error::other("a link is on the way to it: name what it leads to"))
}

fn bind(Shown { path, inside, .. }: &Shown, is_writable: bool) -> io::Result<()> {
    let place = at(inside);
    mount(Some(path), &place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    if is_writable {
        return Ok(());
    }
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    // Each for itself: the kernel changes one mount, and not those below it.
    for place in mounts_at(&fs::read_to_string(MOUNTS)?, &place) {
        mount(None::<&str>, &place, None::<&str>, read_only, None::<&str>)?;
    }
    Ok(())
}

/// The mounts at a place and below it, out of what the kernel tells.
fn mounts_at(told: &str, place: &Path) -> Vec<PathBuf> {
    let mounts = told.lines().filter_map(|line| Some(PathBuf::from(unescaped(line.split(' ').nth(4)?))));
    mounts.filter(|mount| mount.starts_with(place)).collect()
}

/// The kernel writes these four of a path as octal digits.
fn unescaped(path: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(path.to_owned(), |path, (escape, character)| path.replace(escape, character))
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
            is_folder: true,
            flag: "--certs-dir",
            missing: Reason::HostPathMissing,
        };
        let failure = show(&shown).expect_err("nowhere");
        let message = "--certs-dir: /nowhere/pki: No such file or directory (os error 2)";
        assert_eq!(failure, Failure::new(Reason::HostPathMissing, message).at("--certs-dir"));
    }

    #[test]
    fn a_file_is_not_shown_as_the_folder_that_was_asked_for() {
        let shown = Shown {
            path: "/proc/self/status".into(),
            inside: "/data/certificates".to_owned(),
            is_writable: false,
            is_folder: true,
            flag: "--certs-dir",
            missing: Reason::HostPathMissing,
        };
        let failure = show(&shown).expect_err("a file");
        assert_eq!(
            (failure.reason, failure.field.as_deref()),
            (Reason::HostPathMissing, Some("--certs-dir"))
        );
    }

    #[test]
    fn nothing_is_laid_over_what_a_link_leads_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("a path");
        fs::create_dir(root.join("real")).expect("made");
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).expect("linked");
        leads_to_itself(&root.join("real")).expect("no link");
        leads_to_itself(&root.join("link")).expect_err("a link");
    }

    #[test]
    fn a_mount_below_a_place_is_found_whatever_it_is_called() {
        let told = "36 35 98:0 / /sys/data/host rw,noatime - ext4 /dev/root rw\n\
                    37 36 98:1 / /sys/data/host/a\\040b rw - ext4 /dev/one rw\n\
                    38 35 98:2 / /sys/data/host2 rw - ext4 /dev/two rw\n";
        let found = mounts_at(told, Path::new("/sys/data/host"));
        assert_eq!(found, [PathBuf::from("/sys/data/host"), PathBuf::from("/sys/data/host/a b")]);
    }

    #[test]
    fn nobody_settles_on_the_node_itself() {
        assert_eq!(settle().expect_err("not the first process").reason, Reason::InvalidSpec);
    }
}
