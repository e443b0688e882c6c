//! Forgets what is no backup: what this run made in vain, and what one before it left.
use std::time::Duration;

use jiff::SignedDuration;
use model::{SnapshotId, result::Failure, tags::Tags};
use tokio::time::timeout;

use super::{Session, history::History};

/// Time for it; a pod that was told to end has not much more.
const LONGEST: Duration = Duration::from_secs(30);

/// Forgets the snapshots of this backup, whose failure is reported all the same.
///
/// They are looked for by their tag: a restic that failed or was stopped may
/// have made one and not have said so.
pub async fn undo(session: &Session) {
    let undoing = async {
        let listing = session.repository.finisher.listing().await?.snapshots;
        let is_ours = |tags: &[String]| {
            Tags::parse(tags).is_some_and(|tags| tags.common.backup == session.identity.backup)
        };
        let made: Vec<SnapshotId> =
            listing.into_iter().filter(|found| is_ours(&found.tags)).map(|found| found.id).collect();
        session.repository.finisher.forget(&made).await.map(|()| made.len())
    };
    done(undoing, "made in vain").await;
}

/// Forgets first snapshots of this policy whose second never came, once no run
/// can be at work on them any more.
///
/// Only after this backup is stored and seen: until then, half a backup may be
/// the best there is.
pub async fn forget_unfinished(session: &Session, history: &History) {
    let deadline = SignedDuration::try_from(session.config.deadline).unwrap_or(SignedDuration::MAX);
    let Ok(then) = session.run.now().checked_sub(deadline) else { return };
    let unfinished = history.unfinished_before(then);
    let forgetting = async { session.repository.restic.forget(&unfinished).await.map(|()| unfinished.len()) };
    done(forgetting, "left unfinished by a run before").await;
}

async fn done(forgetting: impl Future<Output = Result<usize, Failure>>, which: &str) {
    match timeout(LONGEST, forgetting).await {
        Ok(Ok(0)) => {}
        Ok(Ok(snapshots)) => tracing::info!(snapshots, which, "snapshots are forgotten"),
        Ok(Err(failure)) => {
            tracing::warn!(reason = %failure.reason, which, "not forgotten: {}", failure.message);
        }
        Err(_) => tracing::warn!(which, "not forgotten: it took longer than {} s", LONGEST.as_secs()),
    }
}
