//! Tricks with system calls, each of which needs a capability.
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
};

use anyhow::{Context, Result};
use file_handle::FileHandle;
use kubedr_tests::escape::Plan;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        ptrace,
        stat::{Mode, SFlag, mknod},
    },
    unistd::{Pid, Uid, chroot, setuid},
};

use crate::Outcome;

/// A user who owns nothing here.
const OTHER_USER: u32 = 1234;

/// No folder stands between a handle and its file: one mount of the host's file system opens all of that.
pub fn known_file_handle(plan: &Plan) -> Result<Outcome> {
    let read = |mut file: File| {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if text == plan.content { Ok(()) } else { Err(io::Error::other("it is another file")) }
    };
    Ok(Outcome::of(plan.handle.open(&shown(plan)?).and_then(read)))
}

/// The escape from Docker that was called shocker.
pub fn guessed_file_handle(plan: &Plan) -> Result<Outcome> {
    Ok(Outcome::of(FileHandle::of_root_folder().open(&shown(plan)?)))
}

fn shown(plan: &Plan) -> Result<File> {
    File::open(&plan.shown).with_context(|| format!("cannot open {}", plan.shown.display()))
}

pub fn bind_mount(plan: &Plan) -> Result<Outcome> {
    let target = plan.work.join("mount");
    fs::create_dir_all(&target).context("no folder can be made")?;
    let none = None::<&str>;
    Ok(Outcome::of(mount(Some(&plan.shown), &target, none, MsFlags::MS_BIND, none)))
}

pub fn writable_remount(plan: &Plan) -> Outcome {
    let (none, flags) = (None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_BIND);
    let remount = |folder| mount(none, folder, none, flags, none);
    Outcome::of_any(plan.read_only.iter().map(|folder| (folder.display(), remount(folder))))
}

pub fn own_mount_namespace() -> Outcome {
    Outcome::of(unshare(CloneFlags::CLONE_NEWNS))
}

/// In a namespace of its own, anyone has all capabilities over what is in it.
pub fn own_user_namespace() -> Outcome {
    Outcome::of(unshare(CloneFlags::CLONE_NEWUSER))
}

/// From below another root, what is open above it leads out.
pub fn other_root(plan: &Plan) -> Outcome {
    Outcome::of(chroot(&plan.work))
}

/// A name for the disk that the shown folder lies on.
pub fn device_node(plan: &Plan) -> Result<Outcome> {
    let disk = fs::metadata(&plan.shown).context("nothing is shown")?.dev();
    let name = plan.work.join("disk");
    let made = mknod(&name, SFlag::S_IFBLK, Mode::S_IRUSR, disk);
    if made.is_ok() {
        fs::remove_file(name)?;
    }
    Ok(Outcome::of(made))
}

pub fn other_user() -> Outcome {
    Outcome::of(setuid(Uid::from_raw(OTHER_USER)))
}

/// Whoever traces a process runs what they like in it; this one is let go on, and let go when this ends.
pub fn host_process(plan: &Plan) -> Outcome {
    Outcome::of(ptrace::seize(Pid::from_raw(plan.process), ptrace::Options::empty()))
}
