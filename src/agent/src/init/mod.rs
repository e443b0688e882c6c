//! `agent init`: a repository, made once and attached ever after.
mod decide;

use std::time::Duration;

use aws_lc_rs::rand;
use decide::{Step, accept, decide};
use model::{
    Reason,
    result::{Failure, Initialization, Outcome},
};
use repository::attach;
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
const PAUSE: Duration = Duration::from_secs(10);

/// Makes the bucket and the repository where there are none, else attaches what is there.
///
/// # Guarantees
///
/// Nothing is made where something of a repository is. Where one was pinned,
/// not even the bucket is made unless an administrator allowed that.
pub async fn init(config: InitConfig, run: Run) -> Outcome<Initialization> {
    let repository = Repository::new(&config.place, &run)?;
    let mut outcome = attempt(&config, &repository, &run).await;
    for _ in 1..ATTEMPTS {
        let Err(failure) = &outcome else { break };
        if !is_perhaps_a_race(failure, &config, &repository).await {
            break;
        }
        tracing::warn!(reason = %failure.reason, "others may be making this repository: looking again");
        run.unless_stopped(pause()).await?;
        outcome = attempt(&config, &repository, &run).await;
    }
    let Initialization { repository_id, created } = outcome?;
    tracing::info!(repository = %repository_id, created, "the repository is attached");
    Ok(Initialization { repository_id, created })
}

/// Attaches what is there, and makes it first where there is nothing.
async fn attempt(config: &InitConfig, repository: &Repository, run: &Run) -> Outcome<Initialization> {
    let created = run.unless_stopped(next(config, repository)).await? == Step::Make;
    if created {
        make(repository).await?;
    } else if may_be_made(config) {
        run.unless_stopped(settled(repository)).await?;
    }
    let opened = run.unless_stopped(attach(&repository.restic, &repository.bucket)).await?;
    if !created {
        accept(opened.id(), config.pinned.as_ref(), config.replace.as_ref())?;
    }
    Ok(Initialization { repository_id: opened.id().clone(), created })
}

/// Whether the failure can come from other inits at work on the same empty folder.
///
/// For a moment each of them leaves parts that fit nothing.
async fn is_perhaps_a_race(failure: &Failure, config: &InitConfig, repository: &Repository) -> bool {
    let passes = matches!(
        failure.reason,
        Reason::RepositoryGone | Reason::RepositoryHalfMade | Reason::RepositoryDamaged
    );
    passes && may_be_made(config) && repository.look().await.is_ok_and(is_unused)
}

fn may_be_made(config: &InitConfig) -> bool {
    config.pinned.is_none() || config.pinned == config.replace
}

/// Waits until a repository that was perhaps made just now is the only one.
///
/// What is attached here is pinned for good, so it must not be one that those
/// who made it are about to remove again.
async fn settled(repository: &Repository) -> Result<(), Failure> {
    let found = repository.look().await?;
    if !is_unused(found) {
        return Ok(());
    }
    sleep(SETTLING).await;
    let (keys, settled) = (keys(repository).await?, repository.look().await?);
    if keys.len() > 1 || settled != found { Err(raced("it is not settled yet")) } else { Ok(()) }
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
    if let Err(failure) = repository.finisher.init().await {
        return match repository.look().await? {
            Found::Bucket(contents) if contents.config => Err(raced("another init was quicker")),
            Found::Bucket(_) | Found::NoBucket => Err(failure),
        };
    }
    sleep(SETTLING).await;
    let keys = keys(repository).await?;
    match keys.len() {
        // Another one stepped back, and may have made it anew: nothing here is ours to remove.
        0 => Err(raced("it was removed again")),
        1 => Ok(()),
        _ => step_back(repository, keys).await,
    }
}

fn raced(what: &str) -> Failure {
    Failure::new(Reason::RepositoryHalfMade, format!("several inits made the repository at once: {what}"))
}

/// Whether nothing was ever stored.
fn is_unused(found: Found) -> bool {
    match found {
        Found::NoBucket => true,
        Found::Bucket(contents) => !contents.data && !contents.index && !contents.snapshots,
    }
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
    if !is_unused(repository.look().await?) {
        return Err(raced(&format!("it is in use already, and has {} keys", keys.len())));
    }
    // The config first: what a crash leaves then is called half made, not damaged.
    repository.bucket.delete("config").await?;
    for key in &keys {
        repository.bucket.delete(key).await?;
    }
    Err(raced(&format!("{} keys were left; all of it was removed again", keys.len())))
}

async fn pause() -> Result<(), Failure> {
    let mut random = [0; 1];
    rand::fill(&mut random).map_err(|_| Failure::new(Reason::Bug, "the system gives no random numbers"))?;
    sleep(PAUSE * u32::from(random[0]) / u32::from(u8::MAX)).await;
    Ok(())
}
