//! A folder of the node for one test, where kubedr may read.
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::Cluster;

/// What the node calls the folder in which its certificates lie.
const KUBERNETES: &str = "/etc/kubernetes";

/// A folder below the node's `/etc/kubernetes`, which goes away with this value.
pub struct HostFolder {
    path: PathBuf,
    on_node: String,
}

impl HostFolder {
    /// Makes an empty one, beside the certificates: what other tests back up must not change under them.
    pub fn make(cluster: &Cluster, name: &str) -> Result<Self> {
        let path = cluster.certificates.with_file_name(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => result.context("failed to remove what an earlier run left")?,
        }
        fs::create_dir(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self { path, on_node: format!("{KUBERNETES}/{name}") })
    }

    /// It, as this machine sees it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it, as the node and its policies call it.
    pub fn on_node(&self, name: &str) -> String {
        format!("{}/{name}", self.on_node)
    }
}

impl Drop for HostFolder {
    fn drop(&mut self) {
        // Whatever stays goes before it is made again, or with the cluster.
        let _ = fs::remove_dir_all(&self.path);
    }
}
