//! `kubedr.json`: what a backup consists of, stored beside it.
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use model::{
    BackupId, Reason,
    result::{EtcdFacts, Failure},
};
use serde::{Deserialize, Serialize};
use snapshot::{Contents, Encrypted};

use crate::files::Entry;

/// What was backed up, by what, and what it lacks.
///
/// What is not known is absent, never zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Version of this format.
    pub version: u32,
    /// uid of the namespace `kube-system`.
    pub cluster_uid: String,
    /// The history that the backup belongs to.
    pub lineage: BackupId,
    /// Node that the agent ran on.
    pub node: String,
    /// `<namespace>/<name>` of the policy.
    pub policy: String,
    /// The member that the snapshot came from.
    pub etcd: EtcdFacts,
    /// What the member's database holds; absent where it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// Kubernetes' objects by resource, as `kubectl get` takes it: `pods`, `certificates.cert-manager.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<BTreeMap<String, u64>>,
    /// What encrypts objects at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Vec<Encrypted>>,
    /// Every file beside it.
    pub files: Vec<Entry>,
    /// What it was made with.
    pub tools: Tools,
    /// `yes`, or the reason for which a restore would lack something.
    pub complete: String,
}

/// The database in the snapshot: a file of bbolt's that holds etcd's changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages in use or free.
    pub pages: u64,
    /// Changes that are stored, those of keys that were changed again too.
    pub changes: u64,
    /// Where the history begins; absent if it was never compacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compacted_revision: Option<u64>,
    /// Index of the last entry of the raft log that was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raft_index: Option<u64>,
}

impl Database {
    /// What a walk found of it.
    pub fn of(contents: &Contents) -> Self {
        let Contents { page_size, pages, changes, compacted, raft_index, .. } = *contents;
        Self { page_size, pages, changes, compacted_revision: compacted, raft_index }
    }
}

/// Versions of the programs that made a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    /// Ours.
    pub kubedr: String,
    /// restic's.
    pub restic: String,
}

impl Evidence {
    /// The version that this code writes.
    pub const VERSION: u32 = 1;

    /// Writes it to `path`, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(self).expect("evidence holds only text and numbers");
        text.push(b'\n');
        replace(path, &text).map_err(|error| unwritable(path, &error))
    }
}

fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let reason = if full { Reason::NoSpace } else { Reason::Bug };
    Failure::new(reason, format!("failed to write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use model::lineage::Position;

    use super::*;

    fn evidence() -> Evidence {
        Evidence {
            version: Evidence::VERSION,
            cluster_uid: "11111111-2222-3333-4444-555555555555".to_owned(),
            lineage: "0123456789abcdef".parse().expect("an id"),
            node: "control-1".to_owned(),
            policy: "kubedr-system/test-backup".to_owned(),
            etcd: EtcdFacts {
                version: "3.6.16".to_owned(),
                position: Position { cluster_id: "cd".to_owned(), revision: 7, raft_index: 9, raft_term: 2 },
                member_id: "8e".to_owned(),
                keys: Some(5),
                db_size_bytes: 1056,
                sha256: "ab".repeat(32),
            },
            database: Some(Database {
                page_size: 4096,
                pages: 30,
                changes: 7,
                compacted_revision: None,
                raft_index: Some(9),
            }),
            objects: Some([("pods".to_owned(), 4)].into()),
            encryption: Some(vec![Encrypted {
                provider: "aescbc".to_owned(),
                key: "key1".to_owned(),
                values: 2,
            }]),
            files: Vec::new(),
            tools: Tools { kubedr: "0.1.0".to_owned(), restic: "0.19.1".to_owned() },
            complete: "yes".to_owned(),
        }
    }

    #[test]
    fn it_has_the_spelling_of_the_contract() {
        let found = serde_json::to_value(evidence()).expect("JSON");
        let expected = serde_json::json!({
            "version": 1, "clusterUid": "11111111-2222-3333-4444-555555555555", "lineage": "0123456789abcdef",
            "node": "control-1", "policy": "kubedr-system/test-backup",
            "etcd": {
                "version": "3.6.16", "clusterId": "cd", "memberId": "8e", "revision": 7, "raftIndex": 9,
                "raftTerm": 2, "keys": 5, "dbSizeBytes": 1056, "sha256": "ab".repeat(32)
            },
            "database": { "pageSize": 4096, "pages": 30, "changes": 7, "raftIndex": 9 },
            "objects": { "pods": 4 }, "encryption": [{ "provider": "aescbc", "key": "key1", "values": 2 }],
            "files": [], "tools": { "kubedr": "0.1.0", "restic": "0.19.1" }, "complete": "yes"
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn it_replaces_what_a_run_before_left_behind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("kubedr.json");
        fs::write(&path, "old and much longer than nothing").expect("a file");
        evidence().write(&path).expect("written");
        let found: Evidence = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        assert_eq!(found, evidence());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_bug_of_the_pod() {
        let failure = evidence().write(Path::new("/nowhere/kubedr.json")).expect_err("no folder");
        assert_eq!(failure.reason, Reason::Bug);
    }
}
