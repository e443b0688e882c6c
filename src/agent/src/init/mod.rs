//! `agent init`: a repository, made once and attached ever after.
mod decide;

use std::time::Duration;

use decide::{Step, accept, decide};
use model::{
    Reason,
    result::{Failure, Initialization, Outcome},
};
use repository::{Opened, attach};
use tokio::time::sleep;

use crate::{config::InitConfig, repository_access::Repository, run::Run};

/// Within this time after a repository was made, others that began before it
/// was there have left their key too.
const SETTLING: Duration = Duration::from_secs(3);

/// Makes the bucket and the repository where there are none, else attaches what is there.
///
/// # Guarantees
///
/// Nothing is made where something of a repository is. Where one was pinned,
/// not even the bucket is made unless an administrator allowed that.
pub async fn init(config: InitConfig, run: Run) -> Outcome<Initialization> {
    let repository = Repository::new(&config.place, &run)?;
    let attaching = attached(&config, &repository, &run).await;
    let (opened, created) = attaching.map_err(|failure| repository.named(failure))?;
    tracing::info!(repository = %opened.id(), created, "the repository is attached");
    Ok(Initialization { repository_id: opened.id().clone(), created })
}

/// The repository, and whether it was made just now.
async fn attached(
    config: &InitConfig,
    repository: &Repository,
    run: &Run,
) -> Result<(Opened, bool), Failure> {
    let created = run.unless_stopped(next(config, repository)).await? == Step::Make;
    if created {
        make(repository).await?;
    }
    let opened = run.unless_stopped(open(repository)).await?;
    if !created {
        accept(opened.id(), config.pinned.as_ref(), config.replace.as_ref())?;
    }
    Ok((opened, created))
}

/// Opens the repository that is there.
async fn open(repository: &Repository) -> Result<Opened, Failure> {
    match attach(&repository.restic, &repository.bucket).await {
        // With the key of another init the config cannot be read, for as long as both are there.
        Err(damaged) if damaged.reason == Reason::RepositoryDamaged => {
            let is_used = repository.bucket.contents().await?.snapshots;
            let keys = keys(repository).await?;
            Err(if is_used { damaged } else { made_alone(keys).err().unwrap_or(damaged) })
        }
        opened => opened,
    }
}

async fn keys(repository: &Repository) -> Result<usize, Failure> {
    let mut keys = 0;
    repository.bucket.list("keys/", |page| keys += page.objects.len()).await?;
    Ok(keys)
}

async fn next(config: &InitConfig, repository: &Repository) -> Result<Step, Failure> {
    let decided = |found| decide(found, config.pinned.as_ref(), config.replace.as_ref());
    let step = decided(repository.look().await?)?;
    if step == Step::Attach {
        return Ok(step);
    }
    if repository.bucket.ensure().await? {
        tracing::info!("the bucket was made");
    }
    // Another init may have been quicker.
    decided(repository.look().await?)
}

/// Makes the repository.
///
/// Not stopped by a signal: it takes a moment, and half a repository is worse
/// than a late exit.
async fn make(repository: &Repository) -> Result<(), Failure> {
    repository.finisher.init().await?;
    sleep(SETTLING).await;
    made_alone(keys(repository).await?)
}

/// Whether only one restic made the repository: each leaves a key, and all but
/// one of them fit no config.
///
/// Nothing is removed here. Deleting by name may hit what another init made
/// since, and the folder is a person's to empty.
fn made_alone(keys: usize) -> Result<(), Failure> {
    if keys <= 1 {
        return Ok(());
    }
    let message = format!(
        "{keys} inits made this repository at once and it holds no backup: \
         empty the folder, or give each location its own prefix"
    );
    Err(Failure::new(Reason::RepositoryHalfMade, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_that_several_made_at_once_is_named_and_left_alone() {
        assert_eq!(made_alone(1), Ok(()));
        let failure = made_alone(2).expect_err("two");
        assert_eq!(failure.reason, Reason::RepositoryHalfMade);
        assert!(failure.message.starts_with("2 inits made this repository at once"), "{failure}");
    }
}
