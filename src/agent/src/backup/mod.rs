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
mod completeness;
pub mod history;
mod identity;
pub mod source;

use std::collections::BTreeSet;

use capture::{Database, Evidence, Tools, etcd::StreamFacts, files::Entry};
use capture_files::Files;
use completeness::{Completeness, ShrinkGuard};
use history::{History, policies};
use identity::Identity;
use model::{
    Reason,
    environment::{ETCD_SNAPSHOT_FILE, EVIDENCE_FILE},
    lineage::Position,
    result::{Backup, EtcdFacts, Failure, Outcome},
    tags::Second,
};
use repository::{Expected, Opened, Summary};
use source::Source;

use crate::{config::BackupConfig, report::Ended, repository_access::Repository, run::Run};

/// Most policies that are named where another was meant.
const NAMED: usize = 10;

/// The file that is always captured.
const ETCD_SNAPSHOT: u64 = 1;

/// What every step of a backup works with.
struct Session {
    config: BackupConfig,
    run: Run,
    repository: Repository,
    opened: Opened,
    source: Source,
    identity: Identity,
    /// Objects that the backup is measured by.
    objects_before: Option<u64>,
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
pub async fn backup(config: BackupConfig, run: Run) -> Ended<Backup> {
    let session = match Session::open(config, run).await {
        Ok(session) => session,
        Err(failure) => return Err(failure).into(),
    };
    let outcome = session.store().await;
    let is_proven = outcome.is_ok();
    Ended { outcome, tidying: Box::pin(cleanup::tidy(session, is_proven)) }
}

impl Session {
    async fn open(config: BackupConfig, run: Run) -> Result<Self, Failure> {
        let repository = Repository::new(&config.place, &run)?;
        capture_files::present(&config, &run).await?;
        let restic_version = repository.restic.version().await?;
        let opened = repository.open(config.pinned.as_ref(), &run).await?;
        let source = run.unless_stopped(source::choose(&config, &run)).await?;
        let listing = run.unless_stopped(opened.listing(&repository.bucket)).await?;
        let history = History::read(&listing.snapshots, config.owner());
        if history.is_empty() {
            may_be_first(&config, &policies(&listing.snapshots, &config.cluster_uid))?;
        }
        let identity = Identity::new(&history, &config, &source, run.until())?;
        let objects_before = history.objects_before(&identity.lineage, config.accept_shrink.as_ref());
        Ok(Self { config, run, repository, opened, source, identity, objects_before, restic_version })
    }

    async fn store(&self) -> Outcome<Backup> {
        let first = capture_stream::store(self).await?;
        let second = capture_files::store(self, &first).await?;
        let stream = [(ETCD_SNAPSHOT_FILE, Some(first.captured.bytes))];
        let evidence = self.config.place.mounts.at(EVIDENCE_FILE);
        let evidence = [(&*evidence.to_string_lossy(), None)];
        let expected = [
            Expected { snapshot: &first.summary.snapshot_id, files: &stream },
            Expected { snapshot: &second.summary.snapshot_id, files: &evidence },
        ];
        let proving = self.opened.prove_presence(&self.repository.bucket, &expected);
        let presence = self.run.unless_stopped(proving).await?;
        tracing::info!(packs = presence.packs, bytes = presence.bytes, "every pack is in the bucket");
        Ok(self.result(&first, &second))
    }

    fn result(&self, first: &Stored<StreamFacts>, second: &Stored<Files>) -> Backup {
        let Stored { summary: first, captured: facts } = first;
        let Stored { summary: second, captured: Files { count, completeness } } = second;
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
            // Every file is read anew and compared with none before, so none is said to have changed.
            files_new: ETCD_SNAPSHOT + count,
            files_changed: 0,
            data_added: first.data_added + second.data_added,
            total_bytes_processed: first.total_bytes_processed + second.total_bytes_processed,
            total_duration_secs: self.run.seconds(),
            objects: completeness.objects,
            incomplete: completeness.lack.clone(),
            encryption_configs: self.encryption_configs(completeness),
        }
    }

    /// None of them where there is no room for all: that some are left out would not show.
    fn encryption_configs(&self, completeness: &Completeness) -> Vec<String> {
        let files = completeness.keys_in.iter();
        let files: Vec<_> = files.filter_map(|file| capture_files::on_node(&self.config, file)).collect();
        if Backup::can_tell(&files) {
            return files;
        }
        tracing::warn!(?files, "the result has no room for the files with the keys of encrypted objects");
        Vec::new()
    }

    fn evidence(&self, facts: &StreamFacts, completeness: &Completeness, files: Vec<Entry>) -> Evidence {
        let tally = facts.tally().ok();
        Evidence {
            version: Evidence::VERSION,
            cluster_uid: self.config.cluster_uid.clone(),
            lineage: self.identity.lineage.clone(),
            node: self.config.node.clone(),
            policy: self.config.policy.clone(),
            etcd: self.etcd_facts(facts),
            database: facts.contents.as_ref().ok().map(Database::of),
            objects: tally.map(|tally| tally.objects.clone()),
            encryption: tally.map(|tally| tally.encryption.clone()),
            files,
            tools: Tools {
                kubedr: env!("CARGO_PKG_VERSION").to_owned(),
                restic: self.restic_version.clone(),
            },
            complete: completeness.word().to_owned(),
        }
    }

    fn etcd_facts(&self, facts: &StreamFacts) -> EtcdFacts {
        let member = &self.source.choice.member;
        EtcdFacts {
            version: member.version.clone(),
            position: self.position(facts),
            member_id: format!("{:x}", member.id),
            keys: facts.tally().ok().map(|tally| tally.keys),
            db_size_bytes: facts.bytes,
            sha256: facts.sha256.clone(),
        }
    }

    /// Where the history stood: what a restored etcd has, where it was read.
    fn position(&self, facts: &StreamFacts) -> Position {
        let told = self.source.choice.member.position.clone();
        let read = facts.contents.as_ref().ok().and_then(|contents| i64::try_from(contents.opens_at()).ok());
        Position { revision: read.unwrap_or(told.revision), ..told }
    }

    /// What the second snapshot's tags say of its first.
    fn second(&self, first: &Stored<StreamFacts>, completeness: &Completeness) -> Second {
        Second {
            of: first.summary.snapshot_id.clone(),
            position: self.position(&first.captured),
            objects: completeness.objects,
            incomplete: completeness.reason(),
        }
    }

    fn shrink_guard(&self) -> ShrinkGuard {
        ShrinkGuard { percent: self.config.shrink_guard, before: self.objects_before }
    }
}

/// Where none is of this policy and cluster, the name of either may be mistyped.
fn may_be_first(config: &BackupConfig, others: &BTreeSet<String>) -> Result<(), Failure> {
    let BackupConfig { policy, cluster_uid, must_continue, .. } = config;
    let others: Vec<_> = others.iter().take(NAMED).map(String::as_str).collect();
    let others = if others.is_empty() {
        "none of this cluster at all".to_owned()
    } else {
        format!("of {}", others.join(", "))
    };
    let found =
        format!("the repository has no backup of policy {policy} and cluster {cluster_uid}, but {others}");
    if *must_continue {
        let message = format!("{found}: correct what is mistyped, or say with --first that it is the first");
        return Err(Failure::new(Reason::InvalidSpec, message).at("--policy"));
    }
    tracing::info!("{found}: this is the first");
    Ok(())
}

/// How a failure of an inner step is told apart from one of the run itself.
fn is_own_end(run: &Run, failure: &Failure) -> bool {
    run.stop_reason() == Some(failure.reason)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{source::tests::config, *};

    #[rstest]
    #[case::of_a_schedule(false, &[], None)]
    #[case::by_hand_in_an_empty_repository(true, &[], Some("but none of this cluster at all: correct"))]
    #[case::by_hand_beside_others(true, &["kubedr-system/daily", "kubedr-system/hourly"], Some("but of kubedr-system/daily, kubedr-system/hourly: correct"))]
    fn a_backup_that_is_the_first_is_let_be(
        #[case] must_continue: bool,
        #[case] others: &[&str],
        #[case] refused: Option<&str>,
    ) {
        let config = BackupConfig { must_continue, ..config() };
        let others = others.iter().map(|name| (*name).to_owned()).collect();
        let failure = may_be_first(&config, &others).err();
        assert_eq!(failure.is_some(), refused.is_some());
        if let Some((failure, refused)) = failure.zip(refused) {
            assert_eq!((failure.reason, failure.field.as_deref()), (Reason::InvalidSpec, Some("--policy")));
            assert!(failure.message.contains(refused), "{failure}");
        }
    }
}
