//! What changed since the last build, by what is in the files.
//!
//! cargo goes by times. It compiles a new clone from its first line, all of whose files are new, and takes what was
//! compiled of one checkout for that of another whose files are older. So it is remembered since when each file was as it
//! was at the last build, whose checkout ever that was:
//!
//! ```text
//! file ─▶ its hash ─▶ another than at the last build ─▶ the time is now
//!                  └▶ the same: in a clone that was never compiled, the time that is remembered; else as it is
//! ```
//!
//! Only in such a clone can no other output folder, an editor's for example, go by the times that files had before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// cargo's own output folder: where it is, something was compiled.
const TARGET: &str = "target";

/// Folders that hold no sources.
const PASSED_OVER: [&str; 2] = [".git", TARGET];

/// What ties a file to the place of its checkout, of which cargo remembers the first.
const OF_ONE_PLACE: [&str; 3] = ["CARGO_MANIFEST_DIR", "include_str!(\"../", "include_bytes!(\"../"];

/// What was in the files at the last build.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Record {
    files: BTreeMap<PathBuf, Seen>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Seen {
    /// Of what is in it, and where it matters of where it is.
    sha256: String,
    /// Since when that is so.
    since: SystemTime,
}

/// Has cargo compile what changed since the last build into an output folder, in whatever checkout that was.
///
/// Nobody else may compile into it meanwhile, nor without this.
pub fn settle(checkout: &Path, output: &Path) -> Result<()> {
    let path = output.with_added_extension("sources.json");
    let record = read(&path)?.followed_by(checkout, SystemTime::now())?;
    let unfinished = path.with_added_extension("unfinished");
    fs::write(&unfinished, serde_json::to_vec(&record)?).context("cannot write what the sources are")?;
    fs::rename(&unfinished, &path).context("cannot record what the sources are")?;
    fs::create_dir_all(checkout.join(TARGET)).context("cannot mark the checkout as compiled")
}

/// The record; without one everything is new.
fn read(path: &Path) -> Result<Record> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Record::default()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
        eprintln!("{} is damaged, so everything is compiled anew: {error}", path.display());
        Record::default()
    }))
}

impl Record {
    /// The record of a checkout whose files have their times from now on.
    fn followed_by(&self, checkout: &Path, now: SystemTime) -> Result<Self> {
        let is_new = !checkout.join(TARGET).exists();
        let mut files = BTreeMap::new();
        for path in files_of(checkout)? {
            let mut file = match File::open(&path) {
                // An editor's, for example.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                file => file.with_context(|| format!("cannot read {}", path.display()))?,
            };
            let name = path.strip_prefix(checkout)?.to_owned();
            let sha256 = hash(checkout, &mut file)?;
            let known = self.files.get(&name).filter(|seen| seen.sha256 == sha256).map(|seen| seen.since);
            let since = known.unwrap_or(now);
            if is_new || known.is_none() {
                file.set_modified(since).with_context(|| format!("cannot date {}", path.display()))?;
            }
            files.insert(name, Seen { sha256, since });
        }
        Ok(Self { files })
    }
}

fn hash(checkout: &Path, file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context("cannot read a source")?;
    let mut hash = Sha256::new_with_prefix(&bytes);
    let text = String::from_utf8_lossy(&bytes);
    if OF_ONE_PLACE.iter().any(|word| text.contains(word)) {
        hash.update(checkout.as_os_str().as_encoded_bytes());
    }
    Ok(hex::encode(hash.finalize()))
}

/// All files, without what links lead to.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() && !PASSED_OVER.iter().any(|name| entry.file_name() == *name) {
            files.extend(files_of(&path)?);
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A clone with files of these names and contents.
    fn clone(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        folder
    }

    /// The same, in which something was compiled before.
    fn checkout(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = clone(files);
        fs::create_dir(folder.path().join(TARGET)).expect("made");
        folder
    }

    /// Moments that are far enough apart.
    fn at(hour: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(hour)
    }

    /// The hours that files have as their times.
    fn hours<const N: usize>(checkout: &tempfile::TempDir, names: [&str; N]) -> [u64; N] {
        names.map(|name| {
            let time = fs::metadata(checkout.path().join(name)).expect("there").modified().expect("a time");
            time.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs() / 3600
        })
    }

    const BOTH: [&str; 2] = ["Cargo.toml", "src/lib.rs"];

    #[test]
    fn a_clone_is_as_old_as_what_is_in_it_and_what_changed_is_new() {
        let one = clone(&[("Cargo.toml", "1"), ("src/lib.rs", "1")]);
        let first = Record::default().followed_by(one.path(), at(1)).expect("read");
        let other = clone(&[("Cargo.toml", "1"), ("src/lib.rs", "2")]);
        let second = first.followed_by(other.path(), at(2)).expect("read");
        assert_eq!(hours(&other, BOTH), [1, 2]);
        second.followed_by(one.path(), at(3)).expect("read");
        assert_eq!(hours(&one, BOTH), [1, 3], "it was compiled otherwise since");
    }

    #[test]
    fn where_something_was_compiled_no_file_becomes_older() {
        let one = checkout(&[("src/lib.rs", "1")]);
        let first = Record::default().followed_by(one.path(), at(1)).expect("read");
        // Changed, compiled by an editor, and changed back.
        File::open(one.path().join("src/lib.rs")).expect("there").set_modified(at(5)).expect("dated");
        first.followed_by(one.path(), at(6)).expect("read");
        assert_eq!(hours(&one, ["src/lib.rs"]), [5]);
    }

    #[test]
    fn what_knows_where_it_is_is_new_at_another_place() {
        let here =
            [("Cargo.toml", r#"include_str!("../a")"#), ("src/lib.rs", r#"env!("CARGO_MANIFEST_DIR")"#)];
        let (one, other) = (clone(&here), clone(&here));
        let first = Record::default().followed_by(one.path(), at(1)).expect("read");
        let again = first.followed_by(one.path(), at(2)).expect("read");
        again.followed_by(other.path(), at(3)).expect("read");
        assert_eq!((hours(&one, BOTH), hours(&other, BOTH)), ([1, 1], [3, 3]));
    }

    #[test]
    fn half_a_record_is_none_and_the_next_one_is_whole() {
        let one = clone(&[("src/lib.rs", "1"), (".git/index", "1")]);
        let output = tempfile::tempdir().expect("a folder");
        let record = output.path().join("1.0.sources.json");
        fs::write(&record, "{").expect("written");
        settle(one.path(), &output.path().join("1.0")).expect("settled");
        let files = read(&record).expect("whole").files;
        assert_eq!(files.keys().collect::<Vec<_>>(), [Path::new("src/lib.rs")]);
        assert!(one.path().join(TARGET).exists(), "it is no clone any more that was never compiled");
    }
}
