//! The repositories of both sides, as the S3 server keeps them.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use kubedr_tests::Bucket;

/// What a repository has besides its configuration and its keys.
const CONTENTS: [&str; 4] = ["data", "index", "locks", "snapshots"];

/// Makes a repository as empty as it was when it was made.
pub fn empty(bucket: &Bucket) -> Result<()> {
    for folder in CONTENTS.map(|name| bucket.folder().join(name)) {
        for file in files(&folder)? {
            fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
        }
    }
    Ok(())
}

/// Bytes that it takes in the bucket.
pub fn size(bucket: &Bucket) -> Result<u64> {
    files(&bucket.folder())?.iter().map(|file| Ok(file.metadata()?.len())).sum()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("failed to list {}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            let list = if entry.file_type()?.is_dir() { &mut folders } else { &mut found };
            list.push(entry.path());
        }
    }
    Ok(found)
}
