//! The S3 servers of a cluster: two products, each plain and with TLS, all on the node.
//!
//! Servers differ in what they answer and in when, and a private authority is how most people run one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Cluster, configuration};
use crate::programs::{MINIO, ProgramSet, VERSITYGW_BEHIND};

/// One server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// versitygw, http.
    Versitygw,
    /// versitygw, https.
    VersitygwTls,
    /// versitygw, http, with a clock that is far behind: all it says is that.
    VersitygwBehind,
    /// `MinIO`, http.
    Minio,
    /// `MinIO`, https.
    MinioTls,
}

impl Server {
    /// Its name: of its log, of the folder of its data, on the command line and in the facts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Versitygw => "versitygw",
            Self::VersitygwTls => "versitygw-tls",
            Self::VersitygwBehind => "versitygw-behind",
            Self::Minio => "minio",
            Self::MinioTls => "minio-tls",
        }
    }

    /// Its port on the node.
    pub fn port(self) -> u16 {
        match self {
            Self::Versitygw => 7070,
            Self::VersitygwTls => 7071,
            Self::VersitygwBehind => 7072,
            Self::Minio => 7080,
            Self::MinioTls => 7081,
        }
    }

    /// The programs that are only built for clusters that ask for this server.
    pub fn programs(self) -> Option<&'static ProgramSet> {
        match self {
            Self::Versitygw | Self::VersitygwTls => None,
            Self::VersitygwBehind => Some(&VERSITYGW_BEHIND),
            Self::Minio | Self::MinioTls => Some(&MINIO),
        }
    }

    /// Its URL, reachable from this machine, from the node and from pods.
    pub fn url(self, cluster: &Cluster) -> String {
        let scheme = if self.has_tls() { "https" } else { "http" };
        format!("{scheme}://{}:{}", cluster.network.node_ip(), self.port())
    }

    /// The folder in which it keeps its buckets, as this machine sees it: memory is mounted on the node only.
    pub fn folder(self, cluster: &Cluster, node_process: i32) -> PathBuf {
        let folder = self.folder_on_node(cluster);
        if cluster.options.s3_in_memory.is_none() {
            return folder;
        }
        let root = PathBuf::from(format!("/proc/{node_process}/root"));
        root.join(folder.strip_prefix("/").unwrap_or(&folder))
    }

    /// The same folder as the node sees it.
    pub fn folder_on_node(self, cluster: &Cluster) -> PathBuf {
        // All versitygws serve one folder: they keep nothing in memory.
        cluster.folder.join(match self {
            Self::Versitygw | Self::VersitygwTls | Self::VersitygwBehind => "s3",
            Self::Minio | Self::MinioTls => self.name(),
        })
    }

    /// Whether it is reached by https only.
    fn has_tls(self) -> bool {
        matches!(self, Self::VersitygwTls | Self::MinioTls)
    }

    /// The command that runs it, with its keys in the environment: arguments can be read by everyone.
    pub fn command(self, cluster: &Cluster) -> Result<Command> {
        fs::create_dir_all(self.folder_on_node(cluster)).context("cannot make the S3 server's folder")?;
        let read = |file: PathBuf| {
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        let keys =
            (read(configuration::access_key_file(cluster))?, read(configuration::secret_key_file(cluster))?);
        let address = format!("{}:{}", cluster.network.node_ip(), self.port());
        Ok(match self {
            Self::Minio | Self::MinioTls => self.minio(cluster, &address, keys),
            Self::Versitygw | Self::VersitygwTls => self.versitygw("versitygw", cluster, &address, keys),
            Self::VersitygwBehind => self.versitygw("versitygw-behind", cluster, &address, keys),
        })
    }

    fn versitygw(
        self,
        program: &str,
        cluster: &Cluster,
        address: &str,
        (access, secret): (String, String),
    ) -> Command {
        let mut command = Command::new(program);
        command.args(["--port", address, "--region", "us-east-1"]);
        if self.has_tls() {
            command
                .arg("--cert")
                .arg(certificate_file(&cluster.folder))
                .arg("--key")
                .arg(key_file(&cluster.folder));
        }
        command.arg("--iam-dir").arg(configuration::users_folder(cluster));
        command.arg("posix").arg(self.folder_on_node(cluster));
        command.env("ROOT_ACCESS_KEY", access).env("ROOT_SECRET_KEY", secret);
        command
    }

    fn minio(self, cluster: &Cluster, address: &str, (access, secret): (String, String)) -> Command {
        let mut command = Command::new("minio");
        command.args(["server", "--address", address, "--certs-dir"]);
        // Where there is a certificate it serves https, so that the plain one is shown an empty folder.
        let certificates = if self.has_tls() { "s3-certificates" } else { "s3-no-certificates" };
        command.arg(cluster.folder.join(certificates)).arg(self.folder_on_node(cluster));
        command.env("MINIO_ROOT_USER", access).env("MINIO_ROOT_PASSWORD", secret);
        // It asks the internet for a newer one otherwise, and serves pages that nobody looks at.
        command.env("MINIO_UPDATE", "off").env("MINIO_BROWSER", "off");
        command
    }
}

/// The certificate of the servers with TLS, where MinIO looks for it.
pub fn certificate_file(folder: &Path) -> PathBuf {
    folder.join("s3-certificates/public.crt")
}

/// Its key.
pub fn key_file(folder: &Path) -> PathBuf {
    folder.join("s3-certificates/private.key")
}

/// The private authority that signed it.
pub fn authority_file(folder: &Path) -> PathBuf {
    folder.join("s3-authority/ca.crt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_has_its_keys_in_its_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = configuration::tests::example(folder.path(), 1);
        configuration::write(&cluster).unwrap();
        let secret = fs::read_to_string(configuration::secret_key_file(&cluster)).unwrap();
        for server in Server::value_variants() {
            let command = server.command(&cluster).unwrap();
            let arguments = format!("{:?}", command.get_args().collect::<Vec<_>>());
            assert!(!arguments.contains(&secret), "{arguments}");
            assert_eq!(arguments.contains("s3-certificates"), server.url(&cluster).starts_with("https:"));
        }
    }
}
