//! What comes back: `restic restore` of a backup's pair, without kubedr.
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, Result};
use kubedr_tests::{HostFolder, Program, file_tree, pair, with_kubedr};
use serde_json::{Value, json};

#[tokio::test]
async fn a_backup_without_certificates_is_etcds_snapshot_and_its_description() {
    with_kubedr("plain", async |kubedr| {
        kubedr.ready_policy(&json!({})).await?;
        let record = kubedr.successful_backup("etcd").await?;
        let status = kubedr.policy_is("etcd", ("True", "Ready")).await?.status.unwrap_or_default();
        assert_eq!(
            status.files_new.unwrap_or(0) + status.files_changed.unwrap_or(0),
            1,
            "upstream's meaning"
        );
        let target = tempfile::tempdir()?;
        let [first, second] = pair(&record)?;
        kubedr.bucket.restore([&first, &second], target.path()).await?;
        assert_eq!(names(target.path())?, ["data", "data/etcd-snapshot.db", "data/kubedr.json"]);
        etcd_accepts(target.path(), &record).await
    })
    .await;
}

#[tokio::test]
async fn modes_owners_and_links_come_back_as_they_were() {
    with_kubedr("owners", async |kubedr| {
        let host = HostFolder::make(&kubedr.cluster, "restore-test")?;
        let folder = host.path().join("odd");
        make_odd_files(&folder)?;
        let extra = json!([{ "path": host.on_node("odd"), "type": "Directory" }]);
        kubedr.ready_policy(&json!({ "extraHostPaths": extra })).await?;
        let [first, second] = pair(&kubedr.successful_backup("etcd").await?)?;
        let target = tempfile::tempdir()?;
        kubedr.bucket.restore([&first, &second], target.path()).await?;
        let restored = target.path().join(format!("data/host{}", host.on_node("odd")));
        assert_eq!(file_tree(&restored)?, file_tree(&folder)?);
        Ok(())
    })
    .await;
}

/// Files whose mode, owner or kind is not the usual one, all readable by a root without capabilities.
fn make_odd_files(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder.join("inner"))?;
    for (name, mode, owner) in
        [("plain", 0o644, (0, 0)), ("private", 0o400, (0, 0)), ("inner/owned", 0o644, (1234, 5678))]
    {
        let path = folder.join(name);
        std::fs::write(&path, name)?;
        std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    std::fs::set_permissions(folder.join("inner"), std::fs::Permissions::from_mode(0o751))?;
    std::os::unix::fs::symlink("inner/owned", folder.join("link"))?;
    Ok(())
}

#[tokio::test]
async fn a_backup_with_certificates_comes_back_identical_to_the_byte() {
    with_kubedr("certificates", async |kubedr| {
        let extra = json!([{ "path": "/etc/kubernetes/admin.conf" }, { "path": "/etc/kubernetes/pki/etcd", "type": "Directory" }]);
        kubedr.ready_policy(&json!({ "certsDir": "/etc/kubernetes/pki", "extraHostPaths": extra })).await?;
        let record = kubedr.successful_backup("etcd").await?;
        let target = tempfile::tempdir()?;
        let [first, second] = pair(&record)?;
        kubedr.bucket.restore([&first, &second], target.path()).await?;
        let original = file_tree(&kubedr.cluster.certificates)?;
        assert!(original.contains_key(Path::new("etcd/ca.key")), "the test cluster has kubeadm's layout: {original:?}");
        assert_eq!(file_tree(&target.path().join("data/certificates"))?, original);
        assert_eq!(
            file_tree(&target.path().join("data/host/etc/kubernetes/pki/etcd"))?,
            file_tree(&kubedr.cluster.certificates.join("etcd"))?
        );
        described(target.path()).await?;
        etcd_accepts(target.path(), &record).await
    })
    .await;
}

fn names(folder: &Path) -> Result<Vec<String>> {
    Ok(file_tree(folder)?.keys().map(|path| path.display().to_string()).collect())
}

/// `kubedr.json` describes each restored file as it is.
async fn described(target: &Path) -> Result<()> {
    let description: Value = serde_json::from_slice(&std::fs::read(target.join("data/kubedr.json"))?)?;
    let files = description["files"].as_array().context("no list of files")?;
    let certificates = target.join("data/certificates");
    let paths = file_tree(&certificates)?.into_keys().map(|path| certificates.join(path));
    for path in paths.filter(|path| path.is_file()) {
        let name = format!("/{}", path.strip_prefix(target)?.display());
        let file = files
            .iter()
            .find(|file| file["path"] == name)
            .with_context(|| format!("{name} is not described"))?;
        let metadata = path.metadata()?;
        assert_eq!(file["size"], metadata.len(), "{name}");
        assert_eq!(file["uid"], metadata.uid(), "{name}");
        assert_eq!(file["gid"], metadata.gid(), "{name}");
        assert_eq!(file["mode"], format!("{:04o}", metadata.permissions().mode() & 0o7777), "{name}");
        assert_eq!(file["sha256"], sha256(&path, None).await?, "{name}");
    }
    Ok(())
}

/// What another program says is the hash of a file, or of its first bytes.
async fn sha256(path: &Path, first: Option<u64>) -> Result<String> {
    let count = first.map_or_else(|| "+1".to_owned(), |bytes| bytes.to_string());
    let option = if first.is_some() { "head -c" } else { "tail -c" };
    let script = format!("{option} {count} \"$0\" | sha256sum");
    let printed = Program::new("sh").args(["-c", &script]).arg(path).succeed().await?;
    Ok(printed.split_whitespace().next().unwrap_or_default().to_owned())
}

/// etcd's own tool reads the snapshot and finds what the record says, and makes a data folder of it.
async fn etcd_accepts(target: &Path, record: &api::MetadataBackupRecord) -> Result<()> {
    let snapshot = target.join("data/etcd-snapshot.db");
    let status =
        Program::new("etcdutl").args(["snapshot", "status", "-w", "json"]).arg(&snapshot).succeed().await?;
    let status: Value = serde_json::from_str(&status)?;
    let recorded =
        record.status.clone().unwrap_or_default().etcd.context("the record says nothing of etcd")?;
    assert_eq!(status["revision"].as_i64(), recorded.revision, "{status} {recorded:?}");
    assert_eq!(status["totalKey"].as_i64(), recorded.keys, "{status} {recorded:?}");
    let size = snapshot.metadata()?.len();
    assert_eq!(recorded.db_size_bytes, i64::try_from(size).ok());
    // etcd's trailer is the SHA-256 of all that is before it.
    assert_eq!(recorded.sha256, Some(sha256(&snapshot, Some(size - 32)).await?));
    let folder = target.join("etcd");
    Program::new("etcdutl")
        .args(["snapshot", "restore", "--data-dir"])
        .arg(&folder)
        .arg(&snapshot)
        .succeed()
        .await?;
    assert!(folder.join("member/snap/db").exists());
    Ok(())
}
