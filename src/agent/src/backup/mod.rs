//! `agent backup`: etcd and the files beside it, stored and seen in the bucket.
//!
//! ```text
//! Secrets ─▶ repository ─▶ etcd member ─▶ lineage ─▶ first snapshot (stream)
//!                                                  ─▶ second snapshot (files, kubedr.json)
//!                                                  ─▶ every pack seen ─▶ result
//! ```
mod capture_files;
mod capture_stream;
mod cleanup;
pub mod history;
mod identity;
mod source;

use capture::{Evidence, Tools, etcd::StreamFacts, files::Entry};
use history::History;
use identity::Identity;
use model::{
    SnapshotId,
    result::{Backup, EtcdFacts, Failure, Outcome},
    tags::Second,
};
use repository::{Opened, Summary};
use source::Source;

use crate::{config::BackupConfig, repository_access::Repository, run::Run};

/// What every step of a backup works with.
struct Session {
    config: BackupConfig,
    run: Run,
    repository: Repository,
    opened: Opened,
    source: Source,
    identity: Identity,
    restic_version: String,
}

/// A snapshot that is stored, and what was captured in it.
struct Stored<Captured> {
    summary: Summary,
    captured: Captured,
}

/// Makes one backup.
///
/// # Guarantees
///
/// Success means: the stream was a whole and undamaged snapshot, no file
/// changed while it was read, and every pack of both snapshots is in the
/// bucket. After any failure a second snapshot that was made is forgotten again,
/// as far as the time allows, so that no pair is left that looks whole. The
/// first is left for a later run to forget: it may be the best there is.
pub async fn backup(config: BackupConfig, run: Run) -> Outcome<Backup> {
    let repository = Repository::new(&config.place, &run)?;
    capture_files::present(&config)?;
    let restic_version = repository.restic.version().await?;
    let opened = repository.open_pinned(&config.pinned, &run).await?;
    let source = run.unless_stopped(source::choose(&config, &run)).await?;
    let history = History::read(&repository.restic.listing().await?.snapshots, config.owner());
    let identity = Identity::new(&history, &config, &source)?;
    let session = Session { config, run, repository, opened, source, identity, restic_version };
    let outcome = session.store().await;
    match &outcome {
        Ok(_) => cleanup::forget_unfinished(&session).await,
        Err(_) => cleanup::undo(&session).await,
    }
    outcome
}

impl Session {
    async fn store(&self) -> Outcome<Backup> {
        let first = capture_stream::store(self).await?;
        let second = capture_files::store(self, &first).await?;
        let ids = [&first.summary.snapshot_id, &second.summary.snapshot_id];
        let proving = self.opened.prove_presence(&self.repository.bucket, &ids);
        let presence = self.run.unless_stopped(proving).await?;
        tracing::info!(packs = presence.packs, bytes = presence.bytes, "every pack is in the bucket");
        Ok(self.result(&first, &second.summary))
    }

    fn result(&self, first: &Stored<StreamFacts>, second: &Summary) -> Backup {
        let Stored { summary: first, captured: facts } = first;
        let (files_new, files_changed) = captured_files(first, second);
        Backup {
            backup_id: self.identity.backup.clone(),
            snapshot_id: first.snapshot_id.clone(),
            files_snapshot_id: second.snapshot_id.clone(),
            repository_id: self.opened.id().clone(),
            time: self.source.time,
            node: self.config.node.clone(),
            cluster_uid: self.config.cluster_uid.clone(),
            lineage: self.identity.lineage.clone(),
            etcd: self.etcd_facts(facts),
            files_new,
            files_changed,
            data_added: first.data_added + second.data_added,
            total_bytes_processed: first.total_bytes_processed + second.total_bytes_processed,
            total_duration_secs: self.run.seconds(),
            incomplete: self.source.choice.suspect,
        }
    }

    fn evidence(&self, facts: &StreamFacts, files: Vec<Entry>) -> Evidence {
        let complete = self.source.choice.suspect.map_or("yes", model::Reason::as_str);
        Evidence {
            version: Evidence::VERSION,
            cluster_uid: self.config.cluster_uid.clone(),
            lineage: self.identity.lineage.clone(),
            node: self.config.node.clone(),
            policy: self.config.policy.clone(),
            etcd: self.etcd_facts(facts),
            files,
            tools: Tools {
                kubedr: env!("CARGO_PKG_VERSION").to_owned(),
                restic: self.restic_version.clone(),
            },
            complete: complete.to_owned(),
        }
    }

    fn etcd_facts(&self, facts: &StreamFacts) -> EtcdFacts {
        let member = &self.source.choice.member;
        EtcdFacts {
            version: member.version.clone(),
            position: member.position.clone(),
            member_id: format!("{:x}", member.id),
            db_size_bytes: facts.bytes,
            sha256: facts.sha256.clone(),
        }
    }

    /// What the second snapshot's tags say of its first.
    fn second(&self, first: &SnapshotId) -> Second {
        let choice = &self.source.choice;
        Second::new(first.clone(), &choice.member.position, choice.suspect)
    }
}

/// The files that were captured, new and changed: without `kubedr.json`, which
/// is new in a policy's first backup and changed in every later one.
fn captured_files(first: &Summary, second: &Summary) -> (u64, u64) {
    let Summary { files_new, files_changed, .. } = *second;
    let (files_new, files_changed) = match files_changed {
        0 => (files_new.saturating_sub(1), 0),
        changed => (files_new, changed - 1),
    };
    (first.files_new + files_new, first.files_changed + files_changed)
}

/// How a failure of an inner step is told apart from one of the run itself.
fn is_own_end(run: &Run, failure: &Failure) -> bool {
    run.stop_reason() == Some(failure.reason)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn summary(files_new: u64, files_changed: u64) -> Summary {
        let snapshot_id = "ab".repeat(32).parse().expect("an id");
        Summary {
            snapshot_id,
            files_new,
            files_changed,
            data_added: 0,
            total_bytes_processed: 0,
            total_duration: 0.0,
        }
    }

    #[rstest]
    #[case::first_without_certificates(summary(1, 0), (1, 0))]
    #[case::later_without_certificates(summary(0, 1), (1, 0))]
    #[case::first_with_certificates(summary(13, 0), (13, 0))]
    #[case::later_with_nothing_new(summary(0, 1), (1, 0))]
    #[case::later_with_one_renewed(summary(0, 2), (1, 1))]
    #[case::later_with_one_added(summary(1, 1), (2, 0))]
    fn counts_what_was_captured(#[case] second: Summary, #[case] expected: (u64, u64)) {
        assert_eq!(captured_files(&summary(1, 0), &second), expected);
    }
}
