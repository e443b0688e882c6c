//! `agent forget`: backups go, once those that stay were seen.
mod check;

use check::check;
use model::result::{Forgotten, Outcome};

use crate::{config::ForgetConfig, repository_access::Repository, run::Run};

/// Removes the snapshots of the backups that go.
///
/// # Guarantees
///
/// Nothing is removed unless every backup that must stay was found whole, and
/// everything that goes belongs to this policy. Success means that a listing
/// after the removal does not show them.
pub async fn forget(config: ForgetConfig, run: Run) -> Outcome<Forgotten> {
    let repository = Repository::new(&config.place, &run)?;
    repository.open_pinned(&config.pinned, &run).await?;
    let listing = repository.restic.snapshots().await?;
    let ids = check(&config.list, &listing, &config.policy)?;
    repository.restic.forget(&ids).await?;
    let backups = config.list.go.len();
    tracing::info!(backups, snapshots = ids.len(), "forgotten");
    Ok(Forgotten { forgotten: u32::try_from(backups).unwrap_or(u32::MAX) })
}
