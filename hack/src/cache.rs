//! The user's cache folder: everything the harness builds or runs lies below it.
//!
//! ```text
//! ~/.cache/kubedr/
//!   programs/<set>-<hash>/   test programs, built once
//!   target/<rustc>/          cargo's output; <rustc>.fuzzing/ is that of `cargo xtask fuzz`,
//!                            <rustc>.sources.json what the sources were, <rustc>.lock who compiles
//!   fuzz/                    inputs that were found worth keeping, and what was said of the last ones
//!   images/                  images of the product, and the pause image
//!   clusters/<name>/         state of one running cluster
//! ```

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Returns a folder below the cache folder, and makes it.
pub fn folder(name: &str) -> Result<PathBuf> {
    let folder = root()?.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Builds `target` at most once, however many processes ask for it at the same time.
///
/// # Guarantees
/// A folder of that name is a finished one: `build` fills a temporary folder, which is renamed at the end.
pub fn build_once(target: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    let _lock = lock(&target.with_added_extension("lock"))?;
    if target.exists() {
        return Ok(());
    }
    let unfinished = target.with_added_extension("unfinished");
    remove_if_there(&unfinished)?;
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    build(&unfinished)?;
    fs::rename(&unfinished, target).with_context(|| format!("cannot make {}", target.display()))
}

/// Waits for the lock that `path` stands for; it is held until the returned file is dropped.
pub fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another process that holds {}", path.display());
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// Removes a folder with all that is in it; one that is not there is no error.
pub fn remove_if_there(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn root() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME names a folder")?.join("kubedr"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupted_build_is_not_taken_for_a_finished_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("set");
        build_once(&target, |unfinished| {
            fs::write(unfinished.join("half"), "")?;
            anyhow::bail!("interrupted")
        })
        .unwrap_err();
        assert!(!target.exists());
        build_once(&target, |unfinished| Ok(fs::write(unfinished.join("whole"), "")?)).unwrap();
        assert!(target.join("whole").exists() && !target.join("half").exists());
    }

    #[test]
    fn finished_build_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        build_once(folder.path(), |_| anyhow::bail!("built again")).unwrap();
    }
}
