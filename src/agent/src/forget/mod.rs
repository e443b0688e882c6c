//! `agent forget`: backups go, once those that stay were seen.
mod check;

use check::{Permit, check};
use model::{
    Reason,
    environment::{ETCD_SNAPSHOT_FILE, EVIDENCE_FILE, Pair},
    result::{Failure, Forgotten, Outcome},
};
use repository::{Expected, Lock, remove_stale_locks};

use crate::{config::ForgetConfig, repository_access::Repository, run::Run};

/// Removes the snapshots of the backups that go.
///
/// # Guarantees
///
/// Nothing is removed unless every backup that must stay was found whole, the
/// newest of them, the newest that lacks nothing and the newest that did not shrink with all their packs and
/// with the files that make a backup, and everything that goes belongs to this
/// policy and cluster. The newest backup, the newest that lacks nothing and the newest that did not shrink are
/// never removed, whatever the list says. Success means that a listing after
/// the removal does not show what went.
pub async fn forget(config: ForgetConfig, run: Run) -> Outcome<Forgotten> {
    let repository = Repository::new(&config.place, &run)?;
    let opened = repository.open(Some(&config.pinned), &run).await?;
    let listing = run.unless_stopped(opened.snapshots(&repository.bucket)).await?;
    let Permit { going, survivors } = check(&config.list, &listing, config.owner(), run.now())?;
    let evidence = config.place.mounts.at(EVIDENCE_FILE);
    let evidence = [(&*evidence.to_string_lossy(), None)];
    let expected = expected(&survivors, &evidence);
    let presence = run.unless_stopped(opened.prove_presence(&repository.bucket, &expected)).await?;
    tracing::info!(backups = survivors.len(), packs = presence.packs, "what stays is in the bucket");
    match repository.restic.forget(&going).await {
        Err(locked) if locked.reason == Reason::RepositoryLocked => {
            let locks = run.unless_stopped(remove_stale_locks(&repository.bucket)).await?;
            return Err(held(locked, &locks));
        }
        done => done?,
    }
    let backups = config.list.go.len();
    tracing::info!(backups, snapshots = going.len(), "forgotten");
    Ok(Forgotten { forgotten: u32::try_from(backups).unwrap_or(u32::MAX) })
}

/// Both snapshots of each backup, with the file that none can be without: an empty snapshot
/// lacks no pack.
fn expected<'a>(survivors: &'a [Pair], evidence: &'a [(&'a str, Option<u64>)]) -> Vec<Expected<'a>> {
    let both = |pair: &'a Pair| {
        let etcd = Expected { snapshot: &pair.etcd, files: &[(ETCD_SNAPSHOT_FILE, None)] };
        [etcd, Expected { snapshot: &pair.files, files: evidence }]
    };
    survivors.iter().flat_map(both).collect()
}

/// The refusal of a lock's owner, with how long ago the lock was renewed.
fn held(locked: Failure, locks: &[Lock]) -> Failure {
    let Some(lock) = locks.iter().max_by_key(|lock| lock.age) else { return locked };
    let (id, age) = (lock.id.get(..8).unwrap_or_default(), lock.age.as_secs());
    let found = if lock.is_dead() {
        format!(
            "the lock {id} died {age} s ago and may not be deleted with these keys: delete locks/{}",
            lock.id
        )
    } else {
        format!("the lock {id} was renewed {age} s ago and is not broken")
    };
    let message = format!("{found}: {}", locked.message);
    Failure { message, ..locked }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lock_that_is_held_is_told_with_its_age() {
        let lock =
            |digit: char, age| Lock { id: digit.to_string().repeat(64), age: Duration::from_secs(age) };
        let refused = || Failure::new(Reason::RepositoryLocked, "restic says so");
        let told = |locks: &[Lock]| held(refused(), locks).message;
        let oldest = "the lock bbbbbbbb was renewed 90 s ago and is not broken: restic says so";
        assert_eq!(told(&[lock('a', 5), lock('b', 90)]), oldest);
        let dead = told(&[lock('a', 5), lock('b', 9000)]);
        assert!(dead.starts_with("the lock bbbbbbbb died 9000 s ago and may not be deleted"), "{dead}");
        assert_eq!(told(&[]), "restic says so", "it went meanwhile");
    }

    #[test]
    fn a_backup_that_is_proven_has_its_files() {
        let id = |name: &str| name.repeat(32).parse().expect("an id");
        let pair = |n: &str| Pair { etcd: id(&format!("1{n}")), files: id(&format!("2{n}")) };
        let (survivors, evidence) = ([pair("a"), pair("b")], [(EVIDENCE_FILE, None)]);
        let found = expected(&survivors, &evidence);
        let found = found.iter().map(|expected| (expected.snapshot.short(), expected.files[0].0));
        let [file, evidence] = ["/data/etcd-snapshot.db", "/data/kubedr.json"];
        let wanted = [("1a1a1a1a", file), ("2a2a2a2a", evidence), ("1b1b1b1b", file), ("2b2b2b2b", evidence)];
        assert_eq!(found.collect::<Vec<_>>(), wanted);
    }
}
