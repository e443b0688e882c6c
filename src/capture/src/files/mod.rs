//! Files of the node that are mounted into the pod: what is there, with hashes.
//!
//! restic stores them; this is read before and after it did. What differs
//! between was not stored as it is, and may not even be whole.
mod encryption;
mod walk;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

pub use encryption::{KeyName, encryption_keys};
use serde::{Deserialize, Serialize};
pub use walk::walk;

/// Most entries that one backup takes: a folder of certificates has dozens.
pub const MOST: usize = 100_000;

/// Opens what was a regular file when it was looked at: a link or a pipe that has taken its place is neither
/// followed nor waited for.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// One thing that is not a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the pod, which is its path in the backup.
    pub path: String,
    /// Size in bytes, of a regular file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of its contents as hexadecimal digits, of a regular file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Permissions as octal digits: `0600`.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Where it points to, of a symbolic link. Not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Finds the first path that is not the same in both, where there is one.
pub fn first_difference<'a>(before: &'a [Entry], after: &'a [Entry]) -> Option<&'a str> {
    let differing = before.iter().zip(after).find(|(before, after)| before != after);
    let longer = if before.len() > after.len() { before } else { after };
    let beyond = || longer.get(before.len().min(after.len())).map(|entry| entry.path.as_str());
    differing.map(|(before, after)| before.path.as_str().min(after.path.as_str())).or_else(beyond)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn entry(path: &str, sha256: &str) -> Entry {
        let sha256 = Some(sha256.to_owned());
        Entry {
            path: path.to_owned(),
            size: Some(1),
            sha256,
            mode: "0600".to_owned(),
            uid: 0,
            gid: 0,
            link: None,
        }
    }

    #[rstest]
    #[case::nothing_changed(&[("a", "1"), ("b", "2")], None)]
    #[case::rewritten(&[("a", "1"), ("b", "3")], Some("b"))]
    #[case::appeared_between(&[("a", "1"), ("aa", "9"), ("b", "2")], Some("aa"))]
    #[case::appeared_at_the_end(&[("a", "1"), ("b", "2"), ("c", "2")], Some("c"))]
    #[case::vanished(&[("b", "2")], Some("a"))]
    #[case::vanished_at_the_end(&[("a", "1")], Some("b"))]
    fn compares(#[case] after: &[(&str, &str)], #[case] differing: Option<&str>) {
        let before = [entry("a", "1"), entry("b", "2")];
        let after: Vec<Entry> = after.iter().map(|(path, sha256)| entry(path, sha256)).collect();
        assert_eq!(first_difference(&before, &after), differing);
    }
}
