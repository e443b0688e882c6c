//! `agent init`: a repository, made once and attached ever after.
mod decide;

use decide::{Step, accept, decide};
use model::{
    Reason,
    result::{Failure, Initialization, Outcome},
};
use repository::{Bucket, attach};

use crate::{config::InitConfig, repository_access::Repository, run::Run};

/// Makes the bucket and the repository where there are none, else attaches what is there.
///
/// # Guarantees
///
/// Nothing is made where something of a repository is. Where one was pinned,
/// not even the bucket is made unless an administrator allowed that.
pub async fn init(config: InitConfig, run: Run) -> Outcome<Initialization> {
    let repository = Repository::new(&config.place, &run)?;
    let step = run.unless_stopped(next(&config, &repository)).await?;
    let created = step == Step::Make && make(&config, &repository).await?;
    let opened = run.unless_stopped(attach(&repository.restic, &repository.bucket)).await?;
    if !created {
        accept(opened.id(), config.pinned.as_ref(), config.replace.as_ref())?;
    }
    tracing::info!(repository = %opened.id(), created, "the repository is attached");
    Ok(Initialization { repository_id: opened.id().clone(), created })
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

/// Makes the repository; false where another init was quicker after all.
///
/// Not stopped by a signal: it takes a moment, and half a repository is worse
/// than a late exit.
async fn make(config: &InitConfig, repository: &Repository) -> Result<bool, Failure> {
    if let Err(failure) = repository.finisher.init().await {
        let found = repository.look().await?;
        return match decide(found, config.pinned.as_ref(), config.replace.as_ref()) {
            Ok(Step::Attach) => Ok(false),
            Ok(Step::Make) | Err(_) => Err(failure),
        };
    }
    match keys(&repository.bucket).await? {
        1 => Ok(true),
        keys => {
            let message = format!(
                "{keys} keys are in the new repository: others were making it too; empty it and try again"
            );
            Err(Failure::new(Reason::RepositoryHalfMade, message))
        }
    }
}

/// Each restic that makes a repository leaves a key; only one fits the config that was written last.
async fn keys(bucket: &Bucket) -> Result<usize, Failure> {
    let mut count = 0;
    bucket.list("keys/", |page| count += page.objects.len()).await?;
    Ok(count)
}
