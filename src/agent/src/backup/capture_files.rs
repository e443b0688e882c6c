//! The second snapshot: the node's files and the evidence.
use std::{fs, path::PathBuf};

use capture::{
    etcd::StreamFacts,
    files::{Entry, MOST, first_difference, walk},
};
use model::{
    Reason,
    environment::{CERTIFICATES_MOUNT, DATA_MOUNT, HOST_MOUNT},
    result::Failure,
};
use repository::{FilesBackup, Summary};

use super::{Session, Stored};
use crate::config::BackupConfig;

/// How often the files are read anew where they change under our hands.
const ATTEMPTS: u32 = 2;

/// Shows that every host path that the policy names is mounted.
pub fn present(config: &BackupConfig) -> Result<(), Failure> {
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

fn host_mount(path: &str) -> String {
    format!("{HOST_MOUNT}/{}", path.trim_start_matches('/'))
}

/// Stores files and evidence; once more where a file changed meanwhile.
///
/// The certificates of a node are renewed once in a while, and then all within
/// a moment: the second reading finds them settled.
pub async fn store(session: &Session, first: &Stored<StreamFacts>) -> Result<Stored<()>, Failure> {
    let mut attempt = 1;
    loop {
        let before = read(session).await?;
        let summary = stored(session, first, before.clone()).await?;
        let after = read(session).await?;
        let Some(path) = first_difference(&before, &after) else {
            tracing::info!(snapshot = summary.snapshot_id.short(), files = before.len(), "files are stored");
            return Ok(Stored { summary, captured: () });
        };
        if attempt == ATTEMPTS {
            return Err(changed(path));
        }
        tracing::warn!(path, "changed while it was read: reading all files again");
        session.repository.restic.forget(std::slice::from_ref(&summary.snapshot_id)).await?;
        attempt += 1;
    }
}

fn changed(path: &str) -> Failure {
    let message = format!("{path:?} changed while it was read, {ATTEMPTS} times in a row");
    Failure::new(Reason::FileUnreadable, message).at(path)
}

async fn read(session: &Session) -> Result<Vec<Entry>, Failure> {
    let roots = mounted(session, &[CERTIFICATES_MOUNT, HOST_MOUNT]);
    let reading = tokio::task::spawn_blocking(move || walk(&roots, MOST));
    session.run.unless_stopped(async { reading.await.unwrap_or_else(|error| Err(broke(&error))) }).await
}

fn broke(error: &tokio::task::JoinError) -> Failure {
    Failure::new(Reason::Bug, format!("reading the files failed unexpectedly: {error}"))
}

async fn stored(
    session: &Session,
    first: &Stored<StreamFacts>,
    files: Vec<Entry>,
) -> Result<Summary, Failure> {
    let evidence_file = format!("{DATA_MOUNT}/kubedr.json");
    session.evidence(&first.captured, files).write(&session.config.place.mounts.at(&evidence_file))?;
    let request = FilesBackup {
        host: &session.config.host,
        tags: &session.identity.tags(Some(session.second(&first.summary.snapshot_id))),
        paths: &mounted(session, &[CERTIFICATES_MOUNT, HOST_MOUNT, &evidence_file]),
    };
    session.repository.restic.backup_files(request).await
}

/// Those of the pod's paths that are there.
fn mounted(session: &Session, paths: &[&str]) -> Vec<PathBuf> {
    let mounts = &session.config.place.mounts;
    paths.iter().map(|path| mounts.at(path)).filter(|path| fs::symlink_metadata(path).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backup::source::tests::config, config::Mounts};

    #[test]
    fn a_host_path_that_is_not_mounted_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = config();
        config.place.mounts = Mounts::new(folder.path().to_owned());
        present(&config).expect("none is named");
        config.certs_dir = Some("/etc/kubernetes/pki".to_owned());
        let failure = present(&config).expect_err("not mounted");
        assert_eq!(
            (failure.reason, failure.field.as_deref()),
            (Reason::HostPathMissing, Some("spec.certsDir"))
        );
        fs::create_dir_all(folder.path().join("data/certificates")).expect("a folder");
        present(&config).expect("mounted");
        config.extra_host_paths = vec!["/etc/kubernetes/enc.yaml".to_owned()];
        let failure = present(&config).expect_err("not mounted");
        assert_eq!(failure.field.as_deref(), Some("spec.extraHostPaths"));
        fs::create_dir_all(folder.path().join("data/host/etc/kubernetes")).expect("a folder");
        fs::write(folder.path().join("data/host/etc/kubernetes/enc.yaml"), "").expect("a file");
        present(&config).expect("mounted");
    }
}
