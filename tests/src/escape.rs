//! What the program `escape` is told, and what it answers.
//!
//! ```text
//! test ─▶ Plan ─▶ escape, in a pod ─▶ one Attempt for each trick, as lines of JSON
//! ```
use std::path::PathBuf;

use anyhow::{Context, Result};
use file_handle::FileHandle;
use serde::{Deserialize, Serialize};

/// What lies where, so that no trick fails for want of knowledge: an attacker may have it from elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// A folder of the host that is shown to the program.
    pub shown: PathBuf,
    /// All folders that it must not write to.
    pub read_only: Vec<PathBuf>,
    /// A folder that it may write to.
    pub work: PathBuf,
    /// A file that it must not reach, in the file system of the folder that is shown, by the host's name for it.
    pub outside: PathBuf,
    /// What is in that file and in no other.
    pub content: String,
    /// That file's handle.
    pub handle: FileHandle,
    /// A process of the host, by its number there.
    pub process: i32,
    /// Sockets of the host that give power over it.
    pub sockets: Vec<PathBuf>,
    /// Folders in which the token of an account may lie.
    pub tokens: Vec<PathBuf>,
}

/// What came of one trick.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Its name.
    pub trick: String,
    /// Whether it failed, as it must in a pod.
    pub refused: bool,
    /// What the kernel said, or what was reached.
    pub said: String,
}

/// Reads what the program printed.
pub fn attempts(printed: &str) -> Result<Vec<Attempt>> {
    let read = |line| serde_json::from_str(line).with_context(|| format!("{line:?} is no attempt"));
    printed.lines().map(read).collect()
}
