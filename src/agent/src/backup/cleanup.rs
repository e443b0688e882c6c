//! Forgets what is no backup: what this run made in vain, and what one before it left.
use std::time::Duration;

use model::{BackupId, Reason, SnapshotId, result::Failure, tags::Tags};
use repository::{Listing, Restic};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Session,
    history::{Over, unfinished},
};

/// Time for it; then restic is stopped, for which it may take 30 s more. Both
/// together are less than what a stopped run has to end.
const LONGEST: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 15 });

/// Tidies up behind a backup that is proven, or that failed.
pub async fn tidy(session: Session, is_proven: bool) {
    if is_proven {
        forget_unfinished(&session).await;
    } else {
        undo(&session).await;
    }
}

/// Forgets the second snapshot of this backup, whose failure is reported all the same.
///
/// It is looked for by its tag: a restic that failed or was stopped may have
/// made one and not have said so. The first stays, as it may be whole and the
/// best there is; a later run forgets it.
async fn undo(session: &Session) {
    let restic = &session.repository.finisher;
    let forgetting = async |restic: Restic| {
        let seconds = seconds_of(&session.identity.backup, &listing(session).await?);
        restic.forget(&seconds).await.map(|()| seconds.len())
    };
    bounded(restic, forgetting, "made in vain").await;
}

/// A fresh listing, in no more time than all of it may take.
async fn listing(session: &Session) -> Result<Listing, Failure> {
    let listing = timeout(LONGEST, session.opened.listing(&session.repository.bucket)).await;
    listing.unwrap_or_else(|_| Err(Failure::new(Reason::DeadlineExceeded, "the listing took too long")))
}

fn seconds_of(backup: &BackupId, listing: &Listing) -> Vec<SnapshotId> {
    let is_ours = |tags: &[String]| {
        Tags::parse(tags).is_some_and(|tags| tags.common.backup == *backup && tags.second.is_some())
    };
    let ours = listing.snapshots.iter().filter(|snapshot| is_ours(&snapshot.tags));
    ours.map(|snapshot| snapshot.id.clone()).collect()
}

/// Forgets first snapshots of this policy whose second never came.
///
/// Only after this backup is stored and seen: until then, half a backup may be
/// the best there is. The listing is a fresh one, because what lacked its
/// second when this run began may be a whole backup by now.
async fn forget_unfinished(session: &Session) {
    let forgetting = async |restic: Restic| {
        let over = Over { now: session.run.now(), job: session.config.job.as_deref() };
        let unfinished = unfinished(&listing(session).await?, session.config.owner(), &over);
        restic.forget(&unfinished).await.map(|()| unfinished.len())
    };
    bounded(&session.repository.finisher, forgetting, "left unfinished by a run before").await;
}

/// Lets restic work for a while and then stops it, so that it takes its lock away.
///
/// Dropping the work instead would leave an exclusive lock, which holds up
/// every backup until it is old enough to be removed.
async fn bounded(
    restic: &Restic,
    forgetting: impl AsyncFnOnce(Restic) -> Result<usize, Failure>,
    which: &str,
) {
    let (stopping, stop) = watch::channel(None);
    let work = forgetting(restic.clone().stopped_by(stop));
    tokio::pin!(work);
    let outcome = tokio::select! {
        outcome = &mut work => outcome,
        () = sleep(LONGEST) => {
            stopping.send_replace(Some(Reason::DeadlineExceeded));
            work.await
        }
    };
    match outcome {
        Ok(0) => {}
        Ok(snapshots) => tracing::info!(snapshots, which, "snapshots are forgotten"),
        Err(failure) => {
            tracing::warn!(reason = %failure.reason, which, "not forgotten: {}", failure.message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use model::Secret;
    use repository::{Access, Credentials};

    use super::*;
    use crate::backup::{history::tests::snapshots_of, source::tests::config};

    #[test]
    fn only_the_second_snapshot_of_the_backup_goes() {
        let [first, second] = snapshots_of('1');
        let listing = Listing {
            snapshots: [snapshots_of('2'), [first, second.clone()]].concat(),
            ..Listing::default()
        };
        let backup = "1".repeat(16).parse().expect("an id");
        assert_eq!(seconds_of(&backup, &listing), [second.id]);
    }

    fn restic(folder: &Path, script: &str) -> Restic {
        let program = folder.join("restic");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a mode");
        let credentials = Credentials {
            access_key: Secret::new("a".to_owned()),
            secret_key: Secret::new("s".to_owned()),
            password: Secret::new("p".to_owned()),
            password_file: folder.join("password"),
        };
        let access = Access { store: config().place.store, credentials, ca_file: None };
        Restic::new(&access, folder).program(program)
    }

    #[tokio::test]
    async fn a_restic_that_takes_too_long_is_stopped_and_waited_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let slow = "trap 'kill $!; sleep 0.2; echo > unlocked; exit 130' INT; cd \"$HOME\"; sleep 60 & wait";
        let restic = restic(folder.path(), slow);
        bounded(&restic, async |restic: Restic| restic.version().await.map(|_| 1), "slow").await;
        assert!(folder.path().join("unlocked").exists(), "it was dropped before it took its lock away");
    }
}
