//! Buckets that take no more, or give nothing back, as each S3 server knows them.
use anyhow::{Context, Result};
use serde_json::json;

use crate::{Bucket, Program};

/// What a bucket has room for when it has enough, bytes.
const ENOUGH: u64 = 1 << 30;

impl Bucket {
    /// Leaves room for so many bytes in all, what is there included. The bucket must be there.
    ///
    /// MinIO is given a quota; versitygw has none of its own, so its bucket becomes a disk of that size.
    pub async fn limit(&self, bytes: u64) -> Result<()> {
        if self.is_minio() { self.quota(bytes).await } else { self.become_a_disk(bytes).await }
    }

    /// Makes room again after [`Bucket::limit`].
    pub async fn make_room(&self) -> Result<()> {
        if self.is_minio() {
            return self.quota(ENOUGH).await;
        }
        let folder = self.folder();
        let folder = folder.to_str().context("the folder's name is no text")?;
        self.on_the_node(&format!("mount -o remount,size={ENOUGH} '{folder}'")).await
    }

    /// Forbids to delete the snapshots that are there, or allows it again; versitygw does so without versions.
    pub async fn hold_snapshots(&self, holds: bool) -> Result<()> {
        let Self { endpoint, name, .. } = self;
        let lock = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
        self.put(&format!("{endpoint}/{name}?object-lock="), lock).await?;
        let status = if holds { "ON" } else { "OFF" };
        let hold = format!("<LegalHold><Status>{status}</Status></LegalHold>");
        for entry in std::fs::read_dir(self.folder().join("snapshots")).context("no snapshots")? {
            let snapshot = entry?.file_name().to_string_lossy().into_owned();
            self.put(&format!("{endpoint}/{name}/snapshots/{snapshot}?legal-hold="), &hold).await?;
        }
        Ok(())
    }

    fn is_minio(&self) -> bool {
        self.server.starts_with("minio")
    }

    async fn quota(&self, bytes: u64) -> Result<()> {
        let Self { endpoint, name, .. } = self;
        let body = json!({ "quota": bytes, "quotatype": "hard" });
        self.put(&format!("{endpoint}/minio/admin/v3/set-bucket-quota?bucket={name}"), &body.to_string())
            .await
    }

    async fn put(&self, url: &str, body: &str) -> Result<()> {
        let Self { access_key, secret_key, .. } = self;
        // Arguments can be read by everyone.
        let keys = format!("user = \"{access_key}:{secret_key}\"\n");
        let curl =
            Program::new("curl").args(["--silent", "--show-error", "--fail-with-body", "--max-time", "20"]);
        let curl = curl.args(["--config", "-", "--aws-sigv4", "aws:amz:us-east-1:s3", "--request", "PUT"]);
        // Older curls sign without saying of what.
        let curl = curl.args(["--header", "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD"]);
        let authority =
            self.authority.iter().flat_map(|file| ["--cacert".into(), file.clone().into_os_string()]);
        let sum = Program::new("sh").args(["-c", "openssl dgst -md5 -binary | openssl base64"]);
        let sum = sum.input(body).succeed().await?;
        let curl = curl.args(["--header", &format!("Content-MD5: {}", sum.trim())]);
        let curl = curl.args(authority).args(["--data-binary", body, url]);
        curl.input(keys).succeed().await.map(drop)
    }

    async fn become_a_disk(&self, bytes: u64) -> Result<()> {
        let folder = self.folder();
        let folder = folder.to_str().context("the folder's name is no text")?;
        // The server keeps what it knows of a bucket in extended attributes, which `cp -a` copies.
        self.on_the_node(&format!(
            "disk=$(mktemp -d -p /run); mount -t tmpfs -o size={bytes} tmpfs $disk; cp -a '{folder}/.' $disk/; \
             mount --bind $disk '{folder}'; umount $disk; rmdir $disk"
        ))
        .await
    }

    /// Runs a line of shell where the S3 servers see what it mounts; it goes away with the node.
    async fn on_the_node(&self, line: &str) -> Result<()> {
        let process = self.node_process.context("the server runs on no node")?.to_string();
        let shell = ["--target", &process, "--mount", "--", "sh", "-ec", line];
        Program::new("nsenter").args(shell).succeed().await.map(drop)
    }
}
