//! Waiting for what the cluster will do, never longer than a deadline.
use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long anything in these tests may take before it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// How often the question is asked. State is asked for, not events, so nothing is missed between.
const INTERVAL: Duration = Duration::from_millis(250);

/// Asks until the answer is `Ok`, and returns it.
///
/// # Errors
///
/// After [`PATIENCE`], with the last answer that was not what was waited for.
pub async fn until<T, Seen: Debug>(
    what: &str,
    ask: impl AsyncFnMut() -> Result<std::result::Result<T, Seen>>,
) -> Result<T> {
    until_within(PATIENCE, what, ask).await
}

/// As [`until`], for what may take longer or must not take as long.
pub async fn until_within<T, Seen: Debug>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<std::result::Result<T, Seen>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        match ask().await? {
            Ok(found) => return Ok(found),
            Err(seen) if started.elapsed() > patience => {
                bail!("waited {patience:?} for {what}; last seen: {seen:#?}")
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// Waits for what is promised to be told within a minute, and not a moment longer.
pub async fn within_a_minute<T>(telling: impl Future<Output = Result<T>>) -> Result<T> {
    let told = tokio::time::timeout(Duration::from_mins(1), telling).await;
    told.context("it took longer than a minute")?
}
