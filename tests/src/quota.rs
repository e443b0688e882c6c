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

    /// Forbids to delete what is stored and will be, as an administrator who fears ransomware does; versitygw does so
    /// without versions.
    pub async fn lock_objects(&self) -> Result<()> {
        self.object_lock(
            "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>",
        )
        .await
    }

    /// Allows it again.
    pub async fn unlock_objects(&self) -> Result<()> {
        self.object_lock("").await
    }

    async fn object_lock(&self, rule: &str) -> Result<()> {
        let Self { endpoint, name, .. } = self;
        let body = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        );
        self.put(&format!("{endpoint}/{name}?object-lock="), &body).await
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
