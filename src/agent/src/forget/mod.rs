//! `agent forget`: backups go, once those that stay were seen.
mod check;

use check::{Permit, check};
use jiff::SignedDuration;
use model::result::{Forgotten, Outcome};

use crate::{config::ForgetConfig, repository_access::Repository, run::Run};

/// Within this time a lineage may turn out to be the one that is wanted back.
const YOUNG: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Removes the snapshots of the backups that go.
///
/// # Guarantees
///
/// Nothing is removed unless every backup that must stay was found whole, the
/// newest of them with all its packs, and everything that goes belongs to this
/// policy and cluster. The newest good backup is never removed, whatever the
/// list says. Success means that a listing after the removal does not show
/// what went.
pub async fn forget(config: ForgetConfig, run: Run) -> Outcome<Forgotten> {
    let repository = Repository::new(&config.place, &run)?;
    let opened = repository.open_pinned(&config.pinned, &run).await?;
    let listing = repository.restic.snapshots().await?;
    let since = run.now().saturating_sub(YOUNG).unwrap_or(jiff::Timestamp::MIN);
    let Permit { going, survivor } = check(&config.list, &listing, config.owner(), since)?;
    let pair = [&survivor.etcd, &survivor.files];
    run.unless_stopped(opened.prove_presence(&repository.bucket, &pair)).await?;
    repository.restic.forget(&going).await?;
    let backups = config.list.go.len();
    tracing::info!(backups, snapshots = going.len(), "forgotten");
    Ok(Forgotten { forgotten: u32::try_from(backups).unwrap_or(u32::MAX) })
}
