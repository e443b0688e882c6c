//! The second snapshot: the node's files and the evidence.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use capture::{
    etcd::StreamFacts,
    files::{Entry, MOST, encryption_keys, first_difference, walk},
};
use model::{
    Reason, SnapshotId,
    environment::{CERTIFICATES_MOUNT, EVIDENCE_FILE, HOST_MOUNT},
    result::Failure,
};
use repository::FilesBackup;

use super::{
    Session, Stored,
    completeness::{self, Completeness},
};
use crate::{config::BackupConfig, run::Run};

/// How often the files are read anew where they change under our hands.
const ATTEMPTS: u32 = 2;

/// Shows that every host path that the policy names is there and can be read, before
/// hours go into the rest.
pub async fn present(config: &BackupConfig, run: &Run) -> Result<(), Failure> {
    are_mounted(config)?;
    read(config, run).await.map(|_| ())
}

fn are_mounted(config: &BackupConfig) -> Result<(), Failure> {
    let certificates =
        config.certs_dir.iter().map(|path| (path, CERTIFICATES_MOUNT.to_owned(), "spec.certsDir"));
    let others = config.extra_host_paths.iter().map(|path| (path, host_mount(path), "spec.extraHostPaths"));
    for (path, mount, field) in certificates.chain(others) {
        if fs::symlink_metadata(config.place.mounts.at(&mount)).is_err() {
            let message = format!("the host path {path:?} is not mounted at {mount:?}");
            return Err(Failure::new(Reason::HostPathMissing, message).at(field));
        }
    }
    Ok(())
}

/// Whether there is at least one file where the policy says that certificates are.
///
/// A folder that is empty on this node was not meant, and a backup of it would
/// call itself complete.
fn has_certificates(config: &BackupConfig, files: &[Entry]) -> Result<(), Failure> {
    let folder = config.place.mounts.at(CERTIFICATES_MOUNT);
    let is_file = |entry: &Entry| is_regular(entry) && Path::new(&entry.path).starts_with(&folder);
    match &config.certs_dir {
        Some(path) if !files.iter().any(is_file) => {
            let message = format!("no file is in the host path {path:?} on the node {}", config.node);
            Err(Failure::new(Reason::HostPathMissing, message).at("spec.certsDir"))
        }
        _ => Ok(()),
    }
}

fn regular_files(files: &[Entry]) -> u64 {
    files.iter().filter(|entry| is_regular(entry)).count() as u64
}

fn is_regular(entry: &Entry) -> bool {
    entry.sha256.is_some()
}

/// Where a captured file is on the node.
pub fn on_node(config: &BackupConfig, captured: &str) -> Option<String> {
    let below = |mount| Path::new(captured).strip_prefix(config.place.mounts.at(mount)).ok();
    let of_certificates = config.certs_dir.as_ref().zip(below(CERTIFICATES_MOUNT));
    let path = of_certificates.map(|(folder, rest)| Path::new(folder).join(rest));
    let path = path.or_else(|| below(HOST_MOUNT).map(|rest| Path::new("/").join(rest)))?;
    path.to_str().map(str::to_owned)
}

fn host_mount(path: &str) -> String {
    format!("{HOST_MOUNT}/{}", path.trim_start_matches('/'))
}

/// What the second snapshot holds.
pub struct Files {
    /// How many regular files.
    pub count: u64,
    /// What the whole backup lacks, the keys among the files considered.
    pub completeness: Completeness,
}

/// Stores files and evidence; once more where a file changed meanwhile.
pub async fn store(session: &Session, first: &Stored<StreamFacts>) -> Result<Stored<Files>, Failure> {
    let made = settled(&OfNode { session, first }).await?;
    tracing::info!(
        snapshot = made.summary.snapshot_id.short(),
        files = made.captured.count,
        "files are stored"
    );
    Ok(made)
}

/// Files that may change while they are stored.
trait Restless {
    /// What comes of storing them.
    type Made;
    async fn read(&self) -> Result<Vec<Entry>, Failure>;
    /// Stores them as they were read.
    async fn store(&self, files: Vec<Entry>) -> Result<Self::Made, Failure>;
    async fn forget(&self, made: Self::Made);
}

/// Those of the node, which are the second part of a backup.
struct OfNode<'a> {
    session: &'a Session,
    first: &'a Stored<StreamFacts>,
}

impl Restless for OfNode<'_> {
    type Made = Stored<Files>;

    async fn read(&self) -> Result<Vec<Entry>, Failure> {
        read(&self.session.config, &self.session.run).await
    }

    async fn store(&self, files: Vec<Entry>) -> Result<Stored<Files>, Failure> {
        stored(self.session, self.first, files).await
    }

    async fn forget(&self, made: Stored<Files>) {
        forget(self.session, made.summary.snapshot_id).await;
    }
}

/// What was stored of files that were the same before and after; what was made of others is forgotten.
///
/// The certificates of a node are renewed once in a while, and then all within
/// a moment: the second reading finds them settled.
async fn settled<F: Restless>(files: &F) -> Result<F::Made, Failure> {
    let mut attempt = 1;
    loop {
        let before = files.read().await?;
        let stored = files.store(before.clone()).await;
        let after = files.read().await?;
        let Some(path) = first_difference(&before, &after) else { return stored };
        if attempt == ATTEMPTS {
            return Err(changed(path));
        }
        tracing::warn!(path, "changed while it was read: reading all files again");
        if let Ok(made) = stored {
            files.forget(made).await;
        }
        attempt += 1;
    }
}

/// Keys that may not delete must still be able to back up.
async fn forget(session: &Session, snapshot: SnapshotId) {
    if let Err(failure) = session.repository.restic.forget(&[snapshot]).await {
        tracing::warn!(reason = %failure.reason, "a snapshot of changing files stays: {}", failure.message);
    }
}

fn changed(path: &str) -> Failure {
    let message = format!("{path:?} changed while it was read, {ATTEMPTS} times in a row");
    Failure::new(Reason::FileUnreadable, message).at(path)
}

async fn read(config: &BackupConfig, run: &Run) -> Result<Vec<Entry>, Failure> {
    let roots = mounted(config, &[CERTIFICATES_MOUNT, HOST_MOUNT]);
    let files = blocking(run, move || walk(&roots, MOST)).await?;
    has_certificates(config, &files).map(|()| files)
}

/// Reads files on a thread that may wait for them.
async fn blocking<Read: Send + 'static>(
    run: &Run,
    read: impl FnOnce() -> Result<Read, Failure> + Send + 'static,
) -> Result<Read, Failure> {
    let reading = tokio::task::spawn_blocking(read);
    run.unless_stopped(async { reading.await.unwrap_or_else(|error| Err(broke(&error))) }).await
}

fn broke(error: &tokio::task::JoinError) -> Failure {
    Failure::new(Reason::Bug, format!("reading the files failed unexpectedly: {error}"))
}

/// What the backup lacks, with these files.
async fn judged(
    session: &Session,
    first: &Stored<StreamFacts>,
    files: &[Entry],
) -> Result<Completeness, Failure> {
    let tally = first.captured.tally();
    let keys = if tally.is_ok_and(|tally| !tally.encryption.is_empty()) {
        let files = files.to_vec();
        blocking(&session.run, move || Ok(encryption_keys(&files))).await?
    } else {
        BTreeMap::new()
    };
    let backup = completeness::Backup {
        snapshot: &first.summary.snapshot_id,
        suspect: session.source.choice.suspect,
        tally,
        keys: &keys,
    };
    let completeness = completeness::judge(&backup, session.shrink_guard());
    if let Some(lack) = &completeness.lack {
        tracing::warn!(reason = %lack.reason, "{}", lack.message);
    }
    Ok(completeness)
}

async fn stored(
    session: &Session,
    first: &Stored<StreamFacts>,
    files: Vec<Entry>,
) -> Result<Stored<Files>, Failure> {
    let completeness = judged(session, first, &files).await?;
    let count = regular_files(&files);
    let evidence = session.evidence(&first.captured, &completeness, files);
    evidence.write(&session.config.place.mounts.at(EVIDENCE_FILE))?;
    let request = FilesBackup {
        host: &session.config.host,
        tags: &session.identity.tags(Some(session.second(first, &completeness))),
        paths: &mounted(&session.config, &[CERTIFICATES_MOUNT, HOST_MOUNT, EVIDENCE_FILE]),
    };
    let summary = session.repository.restic.backup_files(request).await?;
    Ok(Stored { summary, captured: Files { count, completeness } })
}

/// Those of the pod's paths that are there.
fn mounted(config: &BackupConfig, paths: &[&str]) -> Vec<PathBuf> {
    let mounts = &config.place.mounts;
    paths.iter().map(|path| mounts.at(path)).filter(|path| fs::symlink_metadata(path).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use rstest::rstest;

    use super::*;
    use crate::{backup::source::tests::config, config::Mounts};

    /// One file whose permissions are these, one reading after the other.
    struct Renewed<'a> {
        modes: &'a [&'a str],
        read: Cell<usize>,
        forgotten: RefCell<Vec<String>>,
    }

    impl Restless for Renewed<'_> {
        type Made = String;

        async fn read(&self) -> Result<Vec<Entry>, Failure> {
            let mode = self.modes[self.read.replace(self.read.get() + 1)].to_owned();
            let path = "/data/certificates/ca.key".to_owned();
            Ok(vec![Entry { path, size: Some(1), sha256: None, mode, uid: 0, gid: 0, link: None }])
        }

        async fn store(&self, files: Vec<Entry>) -> Result<String, Failure> {
            Ok(files[0].mode.clone())
        }

        async fn forget(&self, made: String) {
            self.forgotten.borrow_mut().push(made);
        }
    }

    #[rstest]
    #[case::did_not_change(&["0600"; 2], Ok("0600"), &[])]
    #[case::changed_once(&["0600", "0640", "0640", "0640"], Ok("0640"), &["0600"])]
    #[case::change_all_the_time(&["0600", "0640", "0600", "0640"], Err(Reason::FileUnreadable), &["0600"])]
    #[tokio::test]
    async fn files_that(
        #[case] modes: &[&str],
        #[case] expected: Result<&str, Reason>,
        #[case] expected_to_go: &[&str],
    ) {
        let files = Renewed { modes, read: Cell::default(), forgotten: RefCell::default() };
        let stored = settled(&files).await;
        assert_eq!(stored.map_err(|failure| failure.reason), expected.map(str::to_owned));
        assert_eq!(files.read.get(), modes.len());
        assert_eq!(files.forgotten.into_inner(), expected_to_go);
    }

    #[rstest]
    #[case::of_the_folder_with_certificates(
        "/pod/data/certificates/e/enc.yaml",
        Some("/etc/kubernetes/pki/e/enc.yaml")
    )]
    #[case::of_another_path("/pod/data/host/var/lib/enc.yaml", Some("/var/lib/enc.yaml"))]
    #[case::that_is_the_pods_own("/pod/data/kubedr.json", None)]
    fn where_a_file_is_on_the_node(#[case] captured: &str, #[case] expected: Option<&str>) {
        let mut config = config();
        config.place.mounts = Mounts::new("/pod".into());
        config.certs_dir = Some("/etc/kubernetes/pki".to_owned());
        assert_eq!(on_node(&config, captured).as_deref(), expected);
    }

    #[test]
    fn a_host_path_that_is_not_mounted_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = config();
        config.place.mounts = Mounts::new(folder.path().to_owned());
        are_mounted(&config).expect("none is named");
        config.certs_dir = Some("/etc/kubernetes/pki".to_owned());
        let failure = are_mounted(&config).expect_err("not mounted");
        assert_eq!(
            (failure.reason, failure.field.as_deref()),
            (Reason::HostPathMissing, Some("spec.certsDir"))
        );
        fs::create_dir_all(folder.path().join("data/certificates")).expect("a folder");
        are_mounted(&config).expect("mounted");
        config.extra_host_paths = vec!["/etc/kubernetes/enc.yaml".to_owned()];
        let failure = are_mounted(&config).expect_err("not mounted");
        assert_eq!(failure.field.as_deref(), Some("spec.extraHostPaths"));
        fs::create_dir_all(folder.path().join("data/host/etc/kubernetes")).expect("a folder");
        fs::write(folder.path().join("data/host/etc/kubernetes/enc.yaml"), "").expect("a file");
        are_mounted(&config).expect("mounted");
    }

    #[tokio::test]
    async fn certificates_that_are_not_there_are_missed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = Run::start(std::time::Duration::from_hours(1), || jiff::Timestamp::UNIX_EPOCH);
        let mut config = config();
        config.place.mounts = Mounts::new(folder.path().to_owned());
        present(&config, &run).await.expect("none is named");
        config.certs_dir = Some("/etc/kubernetes/pki".to_owned());
        fs::create_dir_all(folder.path().join("data/certificates/etcd")).expect("a folder");
        std::os::unix::fs::symlink("ca.crt", folder.path().join("data/certificates/old")).expect("a link");
        let failure = present(&config, &run).await.expect_err("empty");
        assert_eq!(
            (failure.reason, failure.field.as_deref()),
            (Reason::HostPathMissing, Some("spec.certsDir"))
        );
        fs::write(folder.path().join("data/certificates/etcd/ca.crt"), "").expect("a file");
        present(&config, &run).await.expect("one file");
        assert_eq!(regular_files(&read(&config, &run).await.expect("readable")), 1, "without the link");
    }
}
