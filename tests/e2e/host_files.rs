//! Files of the node: odd ones come back as they were, and one that cannot be read as it is ends the backup.
use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use api::MetadataBackupRecord;
use kubedr_tests::{HostFolder, Installation, condition, differing_files, message, pair, with_kubedr};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Folders of small files, and files in each: a hundred times what a folder of certificates has.
const MANY: (usize, usize) = (30, 100);

/// Symbolic links, and where they point to: inside, nowhere, and at what is not to be stored.
const LINKS: [(&str, &str); 5] = [
    ("relative", "inner/ca.crt"),
    ("dangling", "not-there"),
    ("to-a-file", "/etc/kubernetes/pki/ca.key"),
    ("to-a-folder", "/etc/kubernetes/pki"),
    ("above", "../outside"),
];

const NOTHING: Vec<PathBuf> = Vec::new();

#[tokio::test]
async fn links_are_stored_and_not_followed_and_thousands_of_files_come_back() {
    with_kubedr("host-files", async |kubedr| {
        let host = HostFolder::make(&kubedr.cluster, "host-files")?;
        let [linked, many] = ["linked", "many"].map(|name| host.path().join(name));
        make_links(&linked)?;
        make_many(&many)?;
        let extra = json!([{ "path": host.on_node("many"), "type": "Directory" }]);
        let spec = json!({ "certsDir": host.on_node("linked"), "extraHostPaths": extra });
        kubedr.ready_policy(&spec).await?;
        let record = kubedr.successful_backup("etcd").await?;
        let status = kubedr.policy_is("etcd", ("True", "Ready")).await?.status.unwrap_or_default();
        // etcd's snapshot, and a file with two names.
        assert_eq!(status.files_new, Some((MANY.0 * MANY.1 + 3).try_into()?));
        let target = restored(kubedr, &record).await?;
        let certificates = target.path().join("data/certificates");
        assert_eq!(differing_files(&certificates, &linked)?, NOTHING);
        let inode = |name: &str| certificates.join(name).metadata().map(|file| file.ino());
        assert_eq!(inode("ca.crt")?, inode("inner/ca.crt")?, "one file with two names");
        links_are_described(target.path())?;
        let others = target.path().join(format!("data/host{}", host.on_node("many")));
        assert_eq!(differing_files(&others, &many)?, NOTHING);
        Ok(())
    })
    .await;
}

fn make_links(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("inner"))?;
    fs::write(folder.with_file_name("outside"), "not to be stored")?;
    fs::write(folder.join("ca.crt"), "a certificate")?;
    fs::hard_link(folder.join("ca.crt"), folder.join("inner/ca.crt"))?;
    LINKS.iter().try_for_each(|(name, target)| symlink(target, folder.join(name)))?;
    Ok(())
}

fn make_many(folder: &Path) -> Result<()> {
    for group in 0..MANY.0 {
        let group = folder.join(format!("group-{group}"));
        fs::create_dir_all(&group)?;
        for number in 0..MANY.1 {
            let path = group.join(format!("{number}.crt"));
            fs::write(&path, format!("{} ", path.display()).repeat(number))?;
        }
    }
    Ok(())
}

/// `kubedr.json` says where each link points to, and gives none the hash of what is there.
fn links_are_described(target: &Path) -> Result<()> {
    let description: Value = serde_json::from_slice(&fs::read(target.join("data/kubedr.json"))?)?;
    let files = description["files"].as_array().context("no list of files")?;
    let mut links: Vec<_> = LINKS
        .map(|(name, target)| (json!(format!("/data/certificates/{name}")), json!(target), Value::Null))
        .to_vec();
    links.sort_by_key(|(path, ..)| path.to_string());
    let described = files.iter().filter(|file| !file["link"].is_null());
    let described =
        described.map(|file| (file["path"].clone(), file["link"].clone(), file["sha256"].clone()));
    assert_eq!(described.collect::<Vec<_>>(), links);
    Ok(())
}

async fn restored(kubedr: &Installation, record: &MetadataBackupRecord) -> Result<TempDir> {
    let target = tempfile::tempdir()?;
    kubedr.bucket.restore(pair(record)?.each_ref().map(String::as_str), target.path()).await?;
    Ok(target)
}

#[tokio::test]
async fn a_file_that_cannot_be_read_as_it_is_is_named_and_stored_once_it_can() {
    with_kubedr("unread-files", async |kubedr| {
        let host = HostFolder::make(&kubedr.cluster, "unread-files")?;
        kubedr.apply(kubedr.location("s3")).await?;
        for name in ["closed", "restless"] {
            fs::create_dir(host.path().join(name))?;
            fs::write(host.path().join(name).join("ca.key"), "a key")?;
            kubedr.make_policy(name, &json!({ "certsDir": host.on_node(name) })).await?;
        }
        closed_to_root(kubedr, &host.path().join("closed")).await?;
        restless(kubedr, &host.path().join("restless")).await
    })
    .await;
}

/// root without capabilities is one user among others.
async fn closed_to_root(kubedr: &Installation, folder: &Path) -> Result<()> {
    let key = folder.join("ca.key");
    chown(&key, Some(1234), Some(1234))?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let (_, policy) = kubedr.start_failing_backup("closed", "FileUnreadable").await?;
    names_the_key(message(&policy.status.unwrap_or_default().conditions, "Fresh"));
    assert!(kubedr.records("closed").await?.is_empty() && kubedr.bucket.snapshots().await?.is_empty());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o604))?;
    comes_back(kubedr, "closed", folder).await
}

async fn restless(kubedr: &Installation, folder: &Path) -> Result<()> {
    let writer = Writer::start(&folder.join("ca.key"))?;
    let before = files_snapshots(kubedr).await?;
    let status = kubedr.backup("restless").await?.policy.status.unwrap_or_default();
    assert_eq!(condition(&status.conditions, "Fresh"), ("False", "FileUnreadable"), "{status:#?}");
    names_the_key(message(&status.conditions, "Fresh"));
    assert!(kubedr.records("restless").await?.is_empty());
    assert_eq!(files_snapshots(kubedr).await?, before, "no pair is left of it");
    writer.stop().await?;
    comes_back(kubedr, "restless", folder).await
}

fn names_the_key(said: &str) {
    assert!(said.contains("/data/certificates/ca.key"), "the file is named: {said}");
}

/// How many backups look whole to whoever lists the bucket.
async fn files_snapshots(kubedr: &Installation) -> Result<usize> {
    let snapshots = kubedr.bucket.snapshots().await?.into_iter();
    Ok(snapshots.filter(|found| found.tags.iter().any(|tag| tag.starts_with("of:"))).count())
}

async fn comes_back(kubedr: &Installation, policy: &str, folder: &Path) -> Result<()> {
    let record = kubedr.successful_backup(policy).await?;
    let target = restored(kubedr, &record).await?;
    assert_eq!(differing_files(&target.path().join("data/certificates"), folder)?, NOTHING);
    Ok(())
}

/// Writes another number into a file all the time.
struct Writer {
    task: JoinHandle<std::io::Result<()>>,
}

impl Writer {
    fn start(path: &Path) -> Result<Self> {
        let file = fs::File::create(path).context("failed to make the file")?;
        let mut often = tokio::time::interval(Duration::from_millis(20));
        let task = tokio::spawn(async move {
            for number in 0_u64.. {
                often.tick().await;
                // In one piece: it is another file each time, and never an empty one.
                file.write_all_at(format!("{number:020}").as_bytes(), 0)?;
            }
            Ok(())
        });
        Ok(Self { task })
    }

    async fn stop(self) -> Result<()> {
        self.task.abort();
        match self.task.await {
            Err(error) if error.is_cancelled() => Ok(()),
            ended => ended?.context("the file did not change all the time"),
        }
    }
}
