//! restic tags of a backup's two snapshots, so that a listing alone tells all.
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{BackupId, Reason, SnapshotId, lineage::Position, result::Objects};

/// Marks every snapshot that kubedr made.
pub const MARK: &str = "kubedr";

/// Marks a second snapshot whose first has far fewer objects than the backup before.
const SHRUNK: &str = "shrunk:yes";

/// Tags that both snapshots of a backup carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// Ties the two together.
    pub backup: BackupId,
    /// uid of the namespace `kube-system`.
    pub cluster: String,
    /// `<namespace>/<name>` of the policy.
    pub policy: String,
    /// The history that the backup belongs to.
    pub lineage: BackupId,
    /// uid of the Job that made it, where one did. Of a Job's pods only one is at work at a time.
    pub job: Option<String>,
    /// When its run has ended at the latest, by the clock of its node; absent in what earlier versions made.
    pub until: Option<Timestamp>,
}

/// Tags that only the second snapshot carries: its first, and the figures a listing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Second {
    /// Full id of the first snapshot.
    pub of: SnapshotId,
    /// etcd's cluster id and history when the stream began. A restored or cloned cluster
    /// shares the uid of [`Common::cluster`], but not etcd's own id.
    pub position: Position,
    /// Objects in the snapshot, where they were counted.
    pub objects: Option<Objects>,
    /// What a restore would lack.
    pub incomplete: Option<Reason>,
}

/// What the tags of one snapshot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// What both snapshots say.
    pub common: Common,
    /// What only the second says; absent on a first.
    pub second: Option<Second>,
}

impl Tags {
    /// The tags as restic stores them.
    pub fn render(&self) -> Vec<String> {
        let Common { backup, cluster, policy, lineage, job, until } = &self.common;
        let mut tags = vec![
            MARK.to_owned(),
            format!("backup:{backup}"),
            format!("cluster:{cluster}"),
            format!("policy:{policy}"),
            format!("lineage:{lineage}"),
        ];
        tags.extend(job.iter().map(|uid| format!("job:{uid}")));
        tags.extend(until.iter().map(|time| format!("until:{}", time.as_second())));
        if let Some(second) = &self.second {
            tags.push(format!("of:{}", second.of));
            let Position { cluster_id, revision, raft_index, raft_term } = &second.position;
            tags.push(format!("etcd:{cluster_id}"));
            tags.push(format!("revision:{revision}"));
            tags.push(format!("raft:{raft_index}.{raft_term}"));
            if let Some(Objects { count, shrunk }) = second.objects {
                tags.push(format!("objects:{count}"));
                tags.extend(shrunk.then(|| SHRUNK.to_owned()));
            }
            tags.push(format!("complete:{}", second.incomplete.map_or("yes", Reason::as_str)));
        }
        tags
    }

    /// Reads the tags of a snapshot; none for one that kubedr did not make.
    ///
    /// Whoever may write to the repository may write tags, so anything
    /// malformed makes the snapshot a foreign one, which is never touched.
    pub fn parse(tags: &[String]) -> Option<Self> {
        if !tags.iter().any(|tag| tag == MARK) {
            return None;
        }
        let pairs: BTreeMap<&str, &str> = tags.iter().filter_map(|tag| tag.split_once(':')).collect();
        let common = Common {
            backup: pairs.get("backup")?.parse().ok()?,
            cluster: (*pairs.get("cluster")?).to_owned(),
            policy: (*pairs.get("policy")?).to_owned(),
            lineage: pairs.get("lineage")?.parse().ok()?,
            job: pairs.get("job").map(|uid| (*uid).to_owned()),
            until: pairs.get("until").and_then(|text| Timestamp::from_second(text.parse().ok()?).ok()),
        };
        let second = match pairs.get("of") {
            Some(of) => Some(second(of, &pairs)?),
            None => None,
        };
        Some(Self { common, second })
    }
}

fn second(of: &str, pairs: &BTreeMap<&str, &str>) -> Option<Second> {
    let shrunk = pairs.get("shrunk") == Some(&"yes");
    let objects = |count| Objects { count, shrunk };
    let (raft_index, raft_term) = pairs.get("raft")?.split_once('.')?;
    Some(Second {
        of: of.parse().ok()?,
        position: Position {
            cluster_id: (*pairs.get("etcd")?).to_owned(),
            revision: pairs.get("revision")?.parse().ok()?,
            raft_index: raft_index.parse().ok()?,
            raft_term: raft_term.parse().ok()?,
        },
        objects: pairs.get("objects").and_then(|text| text.parse().ok()).map(objects),
        incomplete: match *pairs.get("complete")? {
            "yes" => None,
            word => Some(word.parse().ok()?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags() -> Tags {
        Tags {
            common: Common {
                backup: "0123456789abcdef".parse().expect("an id"),
                cluster: "11111111-2222-3333-4444-555555555555".to_owned(),
                policy: "kubedr-system/test-backup".to_owned(),
                lineage: "fedcba9876543210".parse().expect("an id"),
                job: Some("99999999-8888-7777-6666-555555555555".to_owned()),
                until: Some(Timestamp::from_second(1_893_456_000).expect("a time")),
            },
            second: Some(Second {
                of: "ab".repeat(32).parse().expect("an id"),
                position: Position {
                    cluster_id: "8e4dc83ccd60bc22".to_owned(),
                    revision: 1234,
                    raft_index: 5678,
                    raft_term: 9,
                },
                objects: Some(Objects { count: 42, shrunk: true }),
                incomplete: Some(Reason::EncryptionKeyMissing),
            }),
        }
    }

    #[test]
    fn tags_are_read_as_they_were_written() {
        assert_eq!(Tags::parse(&tags().render()), Some(tags()));
        let first = Tags { second: None, ..tags() };
        assert_eq!(Tags::parse(&first.render()), Some(first));
    }

    #[test]
    fn tags_have_the_spelling_of_the_contract() {
        let expected = [
            "kubedr",
            "backup:0123456789abcdef",
            "cluster:11111111-2222-3333-4444-555555555555",
            "policy:kubedr-system/test-backup",
            "lineage:fedcba9876543210",
            "job:99999999-8888-7777-6666-555555555555",
            "until:1893456000",
            &format!("of:{}", "ab".repeat(32)),
            "etcd:8e4dc83ccd60bc22",
            "revision:1234",
            "raft:5678.9",
            "objects:42",
            "shrunk:yes",
            "complete:EncryptionKeyMissing",
        ];
        assert_eq!(tags().render(), expected);
    }

    #[test]
    fn a_snapshot_with_a_missing_or_malformed_tag_is_foreign() {
        for left_out in 0..tags().render().len() {
            let mut rendered = tags().render();
            let removed = rendered.remove(left_out);
            let still_ours =
                ["job:", "until:", "objects:", "shrunk:", "of:"].iter().any(|tag| removed.starts_with(tag));
            assert_eq!(Tags::parse(&rendered).is_some(), still_ours, "without {removed}");
        }
        let mut rendered = tags().render();
        rendered[1] = "backup:../../etc".to_owned();
        assert_eq!(Tags::parse(&rendered), None);
    }
}
