//! A bucket as a user sees it: by restic, without kubedr.
use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{Program, until};

/// Age at which nobody holds a lock any more.
const LONG_DEAD: Duration = Duration::from_hours(1);

/// One bucket and the keys to it.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Name of the S3 server, as `cargo xtask cluster up --s3` has it.
    pub server: String,
    /// URL of the S3 server.
    pub endpoint: String,
    /// File of the private authority that signed the server's certificate, where there is one.
    pub authority: Option<PathBuf>,
    /// Folder in which the S3 server keeps its buckets.
    pub server_folder: PathBuf,
    /// PID 1 of the node on which the server runs, if it runs on one.
    pub node_process: Option<i32>,
    /// Name of the bucket.
    pub name: String,
    /// Folder of the repository in the bucket; empty for its root.
    pub prefix: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// The repository's password.
    pub password: String,
}

/// One snapshot as `restic snapshots --json` prints it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Snapshot {
    /// Full id.
    pub id: String,
    /// First eight digits.
    pub short_id: String,
    /// What it holds.
    pub paths: Vec<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl Bucket {
    /// The entries of a credentials Secret.
    pub fn credentials(&self) -> [(&'static str, String); 3] {
        [
            ("access_key", self.access_key.clone()),
            ("secret_key", self.secret_key.clone()),
            ("restic_repo_password", self.password.clone()),
        ]
    }

    /// The same bucket, with the repository in a folder of it.
    #[must_use]
    pub fn at(&self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self.clone() }
    }

    /// Where the S3 server keeps the bucket.
    pub fn folder(&self) -> PathBuf {
        self.server_folder.join(&self.name)
    }

    /// Removes the bucket with all that is in it, if there is one.
    pub fn clear(&self) -> Result<()> {
        match std::fs::remove_dir_all(self.folder()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| format!("failed to remove {}", self.folder().display())),
        }
    }

    /// Leaves a lock behind as a restic that is killed does, `age` ago by the server's clock.
    ///
    /// The age is set in the S3 server's folder: the product has no clock for tests.
    pub async fn leave_a_lock(&self, age: Duration) -> Result<PathBuf> {
        let locks = self.folder().join(&self.prefix).join("locks");
        let mut child = tokio::process::Command::new("restic");
        child.envs(self.environment());
        let slow = ["backup", "--no-cache", "--stdin-from-command", "--", "sleep", "60"];
        let mut child = child.args(slow).kill_on_drop(true).stdout(std::process::Stdio::null()).spawn()?;
        let lock = until("restic to lock", async || {
            let first = std::fs::read_dir(&locks).ok().and_then(|mut entries| entries.next());
            Ok(first.transpose()?.ok_or("no lock"))
        });
        let lock = lock.await?.path();
        child.kill().await.context("failed to kill restic")?;
        std::fs::File::open(&lock)?.set_modified(SystemTime::now() - age)?;
        Ok(lock)
    }

    /// Lets every lock be as old by the server's clock as none is that a restic still holds, and says how many there are.
    pub fn age_the_locks(&self) -> Result<usize> {
        let locks = match std::fs::read_dir(self.folder().join(&self.prefix).join("locks")) {
            // The server removes folders that became empty.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            locks => locks?,
        };
        let aged = locks.map(|lock| {
            std::fs::File::open(lock?.path())?
                .set_modified(SystemTime::now() - LONG_DEAD)
                .context("failed to age it")
        });
        aged.collect::<Result<Vec<()>>>().map(|aged| aged.len())
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let authority = self.authority.iter().map(|file| ("RESTIC_CACERT", file.display().to_string()));
        let own = [
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
            ("RESTIC_PASSWORD", self.password.clone()),
            ("RESTIC_REPOSITORY", format!("s3:{}/{}/{}", self.endpoint, self.name, self.prefix)),
        ];
        own.into_iter().chain(authority).collect()
    }

    /// The server as `host:port`.
    pub fn address(&self) -> &str {
        self.endpoint.split_once("://").map_or(&*self.endpoint, |(_, address)| address)
    }

    /// restic on the bucket's repository, as the README tells a user to run it.
    pub fn restic(&self) -> Program {
        let restic = Program::new("restic");
        let restic =
            self.environment().into_iter().fold(restic, |restic, (name, value)| restic.env(name, value));
        restic.args(["--no-cache"])
    }

    /// Every snapshot in the repository.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let text = self.restic().args(["snapshots", "--json"]).succeed().await?;
        serde_json::from_str(&text).context("failed to read restic's listing")
    }

    /// Where the S3 server keeps the pack with the contents of a file of a snapshot.
    pub async fn pack_of(&self, snapshot: &str, folder: &str, file: &str) -> Result<PathBuf> {
        let tree = self.restic().args(["cat", "tree", &format!("{snapshot}:{folder}")]).succeed().await?;
        let tree: serde_json::Value = serde_json::from_str(&tree)?;
        let mut nodes = tree["nodes"].as_array().into_iter().flatten();
        let blob = nodes.find(|node| node["name"] == file).and_then(|node| node["content"][0].as_str());
        let blob = blob.with_context(|| format!("{file} has no contents in {tree}"))?;
        let said = self.restic().args(["find", "--show-pack-id", "--blob", blob]).succeed().await?;
        let pack = said.lines().find_map(|line| line.strip_prefix("Object belongs to pack "));
        let pack = pack.with_context(|| format!("restic names no pack: {said}"))?;
        Ok(self.folder().join(&self.prefix).join("data").join(&pack[..2]).join(pack))
    }

    /// Restores the two snapshots of a backup into one folder.
    pub async fn restore(&self, snapshots: [&str; 2], target: &Path) -> Result<()> {
        for snapshot in snapshots {
            self.restic().args(["restore", snapshot, "--target"]).arg(target).succeed().await?;
        }
        Ok(())
    }
}
