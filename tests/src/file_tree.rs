//! What is below a folder, as a restore must bring it back.
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// What a restored file must have in common with the original.
#[derive(Debug, PartialEq)]
pub struct Entry {
    /// With the bits that tell files, folders and links apart.
    mode: u32,
    owner: (u32, u32),
    /// Of a symbolic link, where it points to: it is not followed.
    content: Vec<u8>,
}

/// Everything below a folder, by its path from there.
pub fn file_tree(folder: &Path) -> Result<BTreeMap<PathBuf, Entry>> {
    let named = |path: PathBuf| Ok((path.strip_prefix(folder)?.to_owned(), entry(&path)?));
    walk(folder)?.into_iter().map(named).collect()
}

/// The paths below two folders that are not the same in both.
pub fn differing_files(one: &Path, other: &Path) -> Result<Vec<PathBuf>> {
    let (one, other) = (file_tree(one)?, file_tree(other)?);
    let paths: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    Ok(paths.into_iter().filter(|path| one.get(*path) != other.get(*path)).cloned().collect())
}

fn entry(path: &Path) -> Result<Entry> {
    let metadata = path.symlink_metadata()?;
    let content = match metadata.file_type() {
        kind if kind.is_dir() => Vec::new(),
        kind if kind.is_symlink() => std::fs::read_link(path)?.into_os_string().into_encoded_bytes(),
        _ => std::fs::read(path)?,
    };
    Ok(Entry { mode: metadata.permissions().mode(), owner: (metadata.uid(), metadata.gid()), content })
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            found.extend(walk(&path)?);
        }
        found.push(path);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_differ_by_their_contents_their_modes_and_their_being_there() {
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let [one, other] = folders.each_ref().map(tempfile::TempDir::path);
        for name in ["same", "content", "mode"] {
            std::fs::write(one.join(name), "text").expect("a file");
            std::fs::copy(one.join(name), other.join(name)).expect("a copy");
        }
        std::fs::write(other.join("content"), "other").expect("a file");
        std::fs::set_permissions(other.join("mode"), PermissionsExt::from_mode(0o600)).expect("a mode");
        std::fs::create_dir(one.join("added")).expect("a folder");
        let differing = differing_files(one, other).expect("both are readable");
        assert_eq!(differing, ["added", "content", "mode"].map(PathBuf::from));
        assert_eq!(differing_files(one, one).expect("it is readable"), Vec::<PathBuf>::new());
    }
}
