//! `agent init`: a repository, made once and attached ever after.
mod decide;

use std::time::Duration;

use aws_lc_rs::rand;
use decide::{Step, accept, decide};
use model::{
    Reason,
    result::{Failure, Initialization, Outcome},
};
use repository::{Opened, attach};
use tokio::time::sleep;

use crate::{
    config::InitConfig,
    repository_access::{Found, Repository},
    run::Run,
};

/// How often a repository is made anew where others make one at the same time.
const ATTEMPTS: u32 = 4;
/// Within this time after a repository was made, others that began before it
/// was there have left their key too.
const SETTLING: Duration = Duration::from_secs(3);
/// Longest pause before the next attempt; random, so that one of several is alone.
const PAUSE: Duration = Duration::from_secs(15);

/// Makes the bucket and the repository where there are none, else attaches what is there.
///
/// # Guarantees
///
/// Nothing is made where something of a repository is. Where one was pinned,
/// not even the bucket is made unless an administrator allowed that.
pub async fn init(config: InitConfig, run: Run) -> Outcome<Initialization> {
    let repository = Repository::new(&config.place, &run)?;
    let (opened, created) = attached(&config, &repository, &run).await?;
    tracing::info!(repository = %opened.id(), created, "the repository is attached");
    Ok(Initialization { repository_id: opened.id().clone(), created })
}

/// Attaches what is there, and makes it first where there is nothing.
async fn attached(
    config: &InitConfig,
    repository: &Repository,
    run: &Run,
) -> Result<(Opened, bool), Failure> {
    for _ in 1..ATTEMPTS {
        match run.unless_stopped(next(config, repository)).await? {
            Step::Attach => break,
            Step::Make if make(repository).await? => {
                let opened = run.unless_stopped(attach(&repository.restic, &repository.bucket)).await?;
                return Ok((opened, true));
            }
            // Others made one at the same time: all of them step back.
            Step::Make => run.unless_stopped(pause()).await?,
        }
    }
    let opened = run.unless_stopped(attach(&repository.restic, &repository.bucket)).await?;
    accept(opened.id(), config.pinned.as_ref(), config.replace.as_ref())?;
    Ok((opened, false))
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

/// Makes the repository; false where it was not made alone, and is gone again.
///
/// Not stopped by a signal: it takes a moment, and half a repository is worse
/// than a late exit.
async fn make(repository: &Repository) -> Result<bool, Failure> {
    if let Err(failure) = repository.finisher.init().await {
        // Someone else was quicker after all: there is something to look at.
        let is_there = matches!(repository.look().await?, Found::Bucket(contents) if contents.config);
        return if is_there { Ok(false) } else { Err(failure) };
    }
    sleep(SETTLING).await;
    let keys = keys(repository).await?;
    if keys.len() == 1 {
        return Ok(true);
    }
    step_back(repository, keys).await.map(|()| false)
}

/// Each restic that makes a repository leaves a key; only one fits the config that was written last.
async fn keys(repository: &Repository) -> Result<Vec<String>, Failure> {
    let mut keys = Vec::new();
    let collect = |page: repository::Page| keys.extend(page.objects.into_iter().map(|object| object.name));
    repository.bucket.list("keys/", collect).await?;
    Ok(keys)
}

/// Removes a repository that several inits made at once, and that opens for none of them.
///
/// # Guarantees
///
/// Only in the very run that found the folder empty and made it, and only
/// while nothing was ever stored in it.
async fn step_back(repository: &Repository, keys: Vec<String>) -> Result<(), Failure> {
    let is_unused = |found| matches!(found, Found::Bucket(contents) if !contents.data && !contents.index && !contents.snapshots);
    if !is_unused(repository.look().await?) {
        let message = format!("{} keys are in the repository, and it is in use already", keys.len());
        return Err(Failure::new(Reason::RepositoryHalfMade, message));
    }
    tracing::warn!(keys = keys.len(), "others made this repository at the same time: all step back");
    // The config first: what a crash leaves then is called half made, not damaged.
    repository.bucket.delete("config").await?;
    for key in keys {
        repository.bucket.delete(&key).await?;
    }
    Ok(())
}

async fn pause() -> Result<(), Failure> {
    let mut random = [0; 1];
    rand::fill(&mut random).map_err(|_| Failure::new(Reason::Bug, "the system gives no random numbers"))?;
    sleep(PAUSE * u32::from(random[0]) / u32::from(u8::MAX)).await;
    Ok(())
}
