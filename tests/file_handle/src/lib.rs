//! File handles, by which a file is opened without a path: past every folder and every mount.
//!
//! No safe crate has them, so the two system calls stand alone here, in the only unsafe code of this repository; it
//! is for tests.
use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use serde::{Deserialize, Serialize};

/// Longest handle of any file system, bytes.
const LONGEST: u32 = 128;

/// Of a handle: it consists of the numbers of an inode and of its generation.
const INODE_AND_GENERATION: i32 = 1;

/// Inode of the root folder of ext4 and of its ancestors, whose generation is 0.
const ROOT_INODE: u32 = 2;

/// A file of a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHandle {
    kind: i32,
    bytes: Vec<u8>,
}

/// As the kernel has it, with room for any.
#[repr(C)]
struct Raw {
    length: u32,
    kind: i32,
    bytes: [u8; LONGEST as usize],
}

impl FileHandle {
    /// The handle of a file; whoever sees the file may ask for it.
    pub fn of(path: &Path) -> io::Result<Self> {
        let raw = named(&CString::new(path.as_os_str().as_bytes())?)?;
        let bytes = raw.bytes.iter().copied().take(raw.length as usize).collect();
        Ok(Self { kind: raw.kind, bytes })
    }

    /// What anyone can guess: the root folder of the file system, where that is ext4.
    pub fn of_root_folder() -> Self {
        let bytes = [ROOT_INODE.to_ne_bytes(), 0_u32.to_ne_bytes()].concat();
        Self { kind: INODE_AND_GENERATION, bytes }
    }

    /// Opens what the handle stands for, in the file system that `beside` is of.
    pub fn open(&self, beside: &File) -> io::Result<File> {
        let length = u32::try_from(self.bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut raw = Raw { length, kind: self.kind, bytes: [0; LONGEST as usize] };
        let room = raw.bytes.get_mut(..self.bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
        room.copy_from_slice(&self.bytes);
        opened(raw, beside)
    }
}

#[expect(unsafe_code, reason = "no crate offers this system call")]
fn named(path: &CStr) -> io::Result<Raw> {
    let mut raw = Raw { length: LONGEST, kind: 0, bytes: [0; LONGEST as usize] };
    let (mut mount, follow) = (0, libc::AT_SYMLINK_FOLLOW);
    let handle = (&raw mut raw).cast();
    // SAFETY: the path ends in a zero byte, and the handle has room for as many bytes as its length says.
    let code =
        unsafe { libc::name_to_handle_at(libc::AT_FDCWD, path.as_ptr(), handle, &raw mut mount, follow) };
    if code == 0 { Ok(raw) } else { Err(io::Error::last_os_error()) }
}

/// The length of `raw` is no more than its room.
#[expect(unsafe_code, reason = "no crate offers this system call")]
fn opened(mut raw: Raw, beside: &File) -> io::Result<File> {
    let (handle, flags) = ((&raw mut raw).cast(), libc::O_RDONLY | libc::O_CLOEXEC);
    // SAFETY: the handle has as many bytes as its length says, and `beside` is open while this runs.
    let code = unsafe { libc::open_by_handle_at(beside.as_raw_fd(), handle, flags) };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(code) })
}
