//! Reads a tree of files without following anything out of it.
use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use model::{Reason, result::Failure};

use super::{Entry, open};

/// Finds and hashes everything below `roots`, sorted by path.
///
/// Blocks: call it where that is allowed. Symbolic links are not followed, so
/// that nothing outside the mounted folders is read; sockets, pipes and devices
/// are listed but not opened. What vanishes below a root while it is read is
/// left out: whether restic stored it shows when all is read again.
///
/// # Errors
///
/// `FileUnreadable` with the path for what cannot be read, `InvalidSpec` for
/// more than `most` entries, folders included.
pub fn walk(roots: &[PathBuf], most: usize) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    let mut pending: Vec<PathBuf> = roots.to_vec();
    let mut seen = 0;
    while let Some(path) = pending.pop() {
        seen += 1;
        match look(&path) {
            Ok(Seen::Folder(mut children)) => pending.append(&mut children),
            Ok(Seen::Entry(entry)) => entries.push(entry),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !roots.contains(&path) => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
        if seen + pending.len() > most {
            return Err(too_many(roots, most));
        }
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

enum Seen {
    Folder(Vec<PathBuf>),
    Entry(Entry),
}

fn look(path: &Path) -> io::Result<Seen> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return entry(path, &metadata).map(Seen::Entry);
    }
    let children = fs::read_dir(path)?.map(|child| child.map(|child| child.path()));
    children.collect::<io::Result<_>>().map(Seen::Folder)
}

fn entry(path: &Path, metadata: &Metadata) -> io::Result<Entry> {
    if metadata.is_symlink() {
        let target = fs::read_link(path)?;
        return Ok(Entry { link: Some(target.to_string_lossy().into_owned()), ..described(path, metadata) });
    }
    if !metadata.is_file() {
        return Ok(described(path, metadata));
    }
    let mut file = open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(described(path, &metadata));
    }
    let (size, sha256) = hashed(&mut file)?;
    Ok(Entry { size: Some(size), sha256: Some(sha256), ..described(path, &metadata) })
}

fn described(path: &Path, metadata: &Metadata) -> Entry {
    Entry {
        path: path.to_string_lossy().into_owned(),
        size: None,
        sha256: None,
        mode: format!("{:04o}", metadata.mode() & 0o7777),
        uid: metadata.uid(),
        gid: metadata.gid(),
        link: None,
    }
}

fn hashed(file: &mut File) -> io::Result<(u64, String)> {
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((size, hex::encode(digest.finish()))),
            Ok(read) => {
                digest.update(&buffer[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let path = path.display().to_string();
    Failure::new(Reason::FileUnreadable, format!("failed to read {path:?}: {error}")).at(path)
}

fn too_many(roots: &[PathBuf], most: usize) -> Failure {
    let roots: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
    let message = format!("more than {most} files and folders are in {}", roots.join(", "));
    Failure::new(Reason::InvalidSpec, message).at("spec.certsDir")
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt, fs::symlink, net::UnixListener};

    use super::*;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("pki/etcd")).expect("folders");
        fs::write(at("pki/ca.key"), "secret").expect("a file");
        fs::set_permissions(at("pki/ca.key"), fs::Permissions::from_mode(0o600)).expect("a mode");
        fs::write(at("pki/etcd/ca.crt"), "").expect("a file");
        symlink("/etc/shadow", at("pki/outside")).expect("a link");
        folder
    }

    #[test]
    fn everything_but_folders_is_listed_in_order_and_hashed() {
        let folder = tree();
        let _socket = UnixListener::bind(folder.path().join("pki/socket")).expect("a socket");
        let entries = walk(&[folder.path().join("pki")], 100).expect("readable");
        let names: Vec<&str> =
            entries.iter().filter_map(|entry| entry.path.split_once("pki/")).map(|(_, name)| name).collect();
        assert_eq!(names, ["ca.key", "etcd/ca.crt", "outside", "socket"]);
        let [key, empty, link, socket] = &entries[..] else { panic!("four entries") };
        assert_eq!((key.size, key.mode.as_str()), (Some(6), "0600"));
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(key.sha256.as_deref(), Some(hash));
        assert_eq!(empty.size, Some(0));
        assert_eq!((link.link.as_deref(), &link.sha256), (Some("/etc/shadow"), &None));
        assert_eq!((&socket.sha256, &socket.link), (&None, &None));
    }

    #[test]
    fn a_single_file_is_a_root_too() {
        let folder = tree();
        assert_eq!(walk(&[folder.path().join("pki/ca.key")], 100).expect("readable").len(), 1);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let failure = walk(&[PathBuf::from("/nowhere/at/all")], 100).expect_err("missing");
        assert_eq!(
            (failure.reason, failure.field.as_deref()),
            (Reason::FileUnreadable, Some("/nowhere/at/all"))
        );
    }

    #[test]
    fn what_vanishes_while_it_is_read_is_left_out() {
        let folder = tree();
        let pki = folder.path().join("pki");
        let end = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !end.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::create_dir(pki.join("new")).expect("a folder");
                    fs::write(pki.join("new/ca.crt"), "").expect("a file");
                    fs::remove_dir_all(pki.join("new")).expect("removed");
                }
            });
            let walks: Result<Vec<_>, _> = (0..2000).map(|_| walk(std::slice::from_ref(&pki), 100)).collect();
            end.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(walks.expect("readable").iter().all(|entries| entries.len() >= 3));
        });
    }

    #[test]
    fn too_many_files_end_the_walk() {
        let folder = tree();
        assert_eq!(walk(&[folder.path().to_owned()], 5).expect_err("six").reason, Reason::InvalidSpec);
        walk(&[folder.path().to_owned()], 6).expect("six");
    }
}
