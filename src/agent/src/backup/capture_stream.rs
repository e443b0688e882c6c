//! The first snapshot: etcd's stream, through restic's hands into the bucket.
use std::path::PathBuf;

use capture::etcd::StreamFacts;
use model::{Reason, environment::ETCD_SNAPSHOT_FILE, result::Failure};
use repository::{StreamBackup, Summary};

use super::{Session, Stored, is_own_end};
use crate::{arguments::StreamRequest, handover::Handover};

/// Has restic run `agent stream`, and checks that both say the same.
pub async fn store(session: &Session) -> Result<Stored<StreamFacts>, Failure> {
    let handover =
        session.config.place.mounts.work().join(format!("{}.stream.json", session.identity.backup));
    let request = StreamBackup {
        host: &session.config.host,
        tags: &session.identity.tags(None),
        file: ETCD_SNAPSHOT_FILE,
        command: &command(session, handover.clone())?,
    };
    let stored = session.repository.restic.backup_stream(request).await;
    // A stopped restic kills its command: what that left says nothing.
    if let Err(failure) = &stored
        && is_own_end(&session.run, failure)
    {
        return Err(failure.clone());
    }
    let facts = agreed(&stored, Handover::take(&handover))?;
    let summary = stored?;
    tracing::info!(snapshot = summary.snapshot_id.short(), bytes = facts.bytes, "etcd is stored");
    Ok(Stored { summary, captured: facts })
}

fn command(session: &Session, handover: PathBuf) -> Result<Vec<String>, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Reason::Bug, format!("the agent does not find itself: {error}")))?;
    let endpoint = session.source.choice.endpoint.clone();
    let revision = session.source.choice.member.position.revision.max(0).cast_unsigned();
    let request = StreamRequest { endpoint, handover, revision, max_rate: session.config.max_rate };
    let root = session.config.place.mounts.root().display().to_string();
    let mut command = vec![program.display().to_string(), "--root".to_owned(), root];
    command.extend(request.render());
    Ok(command)
}

/// What was streamed, if restic and the stream agree that all of it was.
fn agreed(stored: &Result<Summary, Failure>, handover: Option<Handover>) -> Result<StreamFacts, Failure> {
    match (stored, handover.map(Handover::into_outcome)) {
        // restic knows only that its command failed.
        (_, Some(Err(failure))) => Err(failure),
        (Err(failure), _) => Err(failure.clone()),
        (Ok(_), None) => Err(Failure::new(Reason::Bug, "the stream ended well but did not say what it was")),
        (Ok(summary), Some(Ok(facts))) if summary.total_bytes_processed != facts.bytes => {
            let message = format!(
                "restic stored {} of the {} bytes that were streamed",
                summary.total_bytes_processed, facts.bytes
            );
            Err(Failure::new(Reason::SnapshotTruncated, message))
        }
        (Ok(_), Some(Ok(facts))) => Ok(facts),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn stored(bytes: u64) -> Summary {
        let snapshot_id = "ab".repeat(32).parse().expect("an id");
        Summary {
            snapshot_id,
            files_new: 1,
            files_changed: 0,
            data_added: 0,
            total_bytes_processed: bytes,
            total_duration: 0.0,
        }
    }

    fn failed(reason: Reason) -> Failure {
        Failure::new(reason, "")
    }

    fn whole() -> Handover {
        let contents = Err("too much".to_owned());
        Handover::Whole(StreamFacts { bytes: 1056, sha256: String::new(), contents })
    }

    #[rstest]
    #[case::both_agree(Ok(stored(1056)), Some(whole()), None)]
    #[case::restic_stored_less(Ok(stored(1024)), Some(whole()), Some(Reason::SnapshotTruncated))]
    #[case::stream_says_nothing(Ok(stored(1056)), None, Some(Reason::Bug))]
    #[case::stream_failed(
        Err(failed(Reason::SnapshotTruncated)),
        Some(Handover::failed(failed(Reason::SnapshotDamaged))),
        Some(Reason::SnapshotDamaged)
    )]
    #[case::stream_failed_and_restic_did_not_notice(
        Ok(stored(1056)),
        Some(Handover::failed(failed(Reason::SnapshotDamaged))),
        Some(Reason::SnapshotDamaged)
    )]
    #[case::restic_failed(Err(failed(Reason::AccessDenied)), None, Some(Reason::AccessDenied))]
    #[case::restic_failed_after_the_stream(
        Err(failed(Reason::QuotaExceeded)),
        Some(whole()),
        Some(Reason::QuotaExceeded)
    )]
    fn stream_and_restic_must_agree(
        #[case] stored: Result<Summary, Failure>,
        #[case] handover: Option<Handover>,
        #[case] reason: Option<Reason>,
    ) {
        assert_eq!(agreed(&stored, handover).err().map(|failure| failure.reason), reason);
    }
}
