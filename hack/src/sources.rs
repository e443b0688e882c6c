//! What changed since the last build, by what is in the files.
//!
//! cargo goes by times. It compiles a new clone from its first line, all of whose files are new, and takes what was
//! compiled of one checkout for that of another whose files are older. So each file gets the time at which what is in it
//! was first seen after something else:
//!
//! ```text
//! file ─▶ its hash ─▶ as recorded? ─▶ yes: the recorded time ─┐
//!                                  └▶ no: now, recorded ──────┴▶ the file's time, which cargo compares
//! ```
//!
//! The output folder belongs to whoever keeps the record: what is compiled into it by a cargo that was not started here
//! is not known.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache;

/// Folders that hold no sources.
const PASSED_OVER: [&str; 2] = [".git", "target"];

/// cargo does not see that this changed, so whoever has it compiled in is of one checkout alone.
const OF_ONE_CHECKOUT: &[u8] = b"CARGO_MANIFEST_DIR";

/// What was in the files at the last build.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Record {
    files: BTreeMap<PathBuf, Seen>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Seen {
    /// Of what is in it, and where it matters of where it is.
    sha256: String,
    /// When that was first seen.
    since: SystemTime,
}

/// Gives each file of a checkout the time since when it is as it is, going by the record of an output folder.
pub fn settle(checkout: &Path, output: &Path) -> Result<()> {
    let path = output.with_added_extension("sources.json");
    let _lock = cache::lock(&output.with_added_extension("sources.lock"))?;
    // Without a record, or with half of one, everything is new.
    let known: Record =
        fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let record = known.followed_by(checkout, SystemTime::now())?;
    let unfinished = path.with_added_extension("unfinished");
    fs::write(&unfinished, serde_json::to_vec(&record)?).context("cannot write what the sources are")?;
    fs::rename(&unfinished, &path).context("cannot record what the sources are")
}

impl Record {
    /// The record of a checkout whose files have their times from now on.
    fn followed_by(&self, checkout: &Path, now: SystemTime) -> Result<Self> {
        let mut files = BTreeMap::new();
        for path in files_of(checkout)? {
            let name = path.strip_prefix(checkout)?.to_owned();
            let sha256 = hash(checkout, &path)?;
            let since =
                self.files.get(&name).filter(|seen| seen.sha256 == sha256).map_or(now, |seen| seen.since);
            File::open(&path)
                .and_then(|file| file.set_modified(since))
                .with_context(|| format!("cannot set the time of {}", path.display()))?;
            files.insert(name, Seen { sha256, since });
        }
        Ok(Self { files })
    }
}

fn hash(checkout: &Path, path: &Path) -> Result<String> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hash = Sha256::new_with_prefix(&text);
    if text.windows(OF_ONE_CHECKOUT.len()).any(|word| word == OF_ONE_CHECKOUT) {
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

    /// A checkout with files of these names and contents.
    fn checkout(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        folder
    }

    /// Moments that are far enough apart.
    fn at(hour: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(hour)
    }

    /// The hour that a file has as its time.
    fn hour_of(checkout: &tempfile::TempDir, name: &str) -> u64 {
        let time = fs::metadata(checkout.path().join(name)).expect("there").modified().expect("a time");
        time.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs() / 3600
    }

    #[test]
    fn a_clone_is_as_old_as_what_is_in_it_and_what_changed_is_new() {
        let one = checkout(&[("Cargo.toml", "1"), ("src/lib.rs", "1")]);
        let first = Record::default().followed_by(one.path(), at(1)).expect("read");
        let clone = checkout(&[("Cargo.toml", "1"), ("src/lib.rs", "2")]);
        let second = first.followed_by(clone.path(), at(2)).expect("read");
        assert_eq!((hour_of(&clone, "Cargo.toml"), hour_of(&clone, "src/lib.rs")), (1, 2));
        second.followed_by(one.path(), at(3)).expect("read");
        assert_eq!(
            (hour_of(&one, "Cargo.toml"), hour_of(&one, "src/lib.rs")),
            (1, 3),
            "it was compiled otherwise since"
        );
    }

    #[test]
    fn what_knows_where_it_is_is_new_at_another_place_alone() {
        let here = [("src/lib.rs", r#"env!("CARGO_MANIFEST_DIR")"#)];
        let (one, other) = (checkout(&here), checkout(&here));
        let first = Record::default().followed_by(one.path(), at(1)).expect("read");
        let again = first.followed_by(one.path(), at(2)).expect("read");
        again.followed_by(other.path(), at(3)).expect("read");
        assert_eq!((hour_of(&one, "src/lib.rs"), hour_of(&other, "src/lib.rs")), (1, 3));
    }

    #[test]
    fn half_a_record_is_none_and_the_next_one_is_whole() {
        let one = checkout(&[("src/lib.rs", "1"), (".git/index", "1"), ("target/debug/lib", "1")]);
        let output = tempfile::tempdir().expect("a folder");
        let record = output.path().join("1.0.sources.json");
        fs::write(&record, "{").expect("written");
        settle(one.path(), &output.path().join("1.0")).expect("settled");
        let record: Record = serde_json::from_slice(&fs::read(record).expect("there")).expect("whole");
        assert_eq!(record.files.keys().collect::<Vec<_>>(), [Path::new("src/lib.rs")]);
    }
}
