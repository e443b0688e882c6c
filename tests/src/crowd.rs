//! People who ask the API server for policies all the time: whether admission turns one of them away that it should not.
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use api::MetadataBackupPolicy;
use futures::future::join_all;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{Installation, note, until};

/// How many ask at once.
const PEOPLE: usize = 8;
/// Pause of each between two requests: other tests go on meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one waits: more than the API server waits for both of its questions.
const LONGEST: Duration = Duration::from_secs(15);
/// The policy that is changed all the time, and never is.
const CHANGED: &str = "changed";

/// Those who ask, and how they fare.
pub struct Crowd {
    begun: Instant,
    answered: AtomicUsize,
    turned_away: Mutex<Vec<TurnedAway>>,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub struct TurnedAway {
    /// When it had failed, after the first request.
    pub after: Duration,
    /// Why.
    pub why: String,
}

impl Crowd {
    /// Runs a test while they ask. All that they ask for is right, and is a dry run.
    pub async fn during<T>(
        kubedr: &Installation,
        test: impl AsyncFnOnce(&Self) -> Result<T>,
    ) -> Result<(T, Vec<TurnedAway>)> {
        kubedr.apply(kubedr.policy(CHANGED, "s3", &json!({ "suspend": true }))).await?;
        let crowd =
            Self { begun: Instant::now(), answered: AtomicUsize::new(0), turned_away: Mutex::default() };
        let people = join_all((0..PEOPLE).map(|person| crowd.ask(kubedr, person)));
        let done = tokio::select! {
            _ = people => bail!("they ask no more"),
            done = test(&crowd) => done,
        }?;
        let turned_away = crowd.turned_away.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (answered, begun) = (crowd.answered.into_inner(), crowd.begun);
        let seconds = begun.elapsed().as_secs();
        note(&format!(
            "of requests in {seconds} s {answered} were answered, and {} failed",
            turned_away.len()
        ));
        Ok((done, turned_away))
    }

    /// The same where each of them must be answered.
    pub async fn served<T>(kubedr: &Installation, test: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        let (done, turned_away) = Self::during(kubedr, test).await?;
        ensure!(turned_away.is_empty(), "requests failed: {turned_away:#?}");
        Ok(done)
    }

    /// Since when they ask.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Waits until so many more of their requests were answered.
    pub async fn is_answered(&self, times: usize) -> Result<()> {
        let before = self.answered.load(Ordering::Relaxed);
        until(&format!("{times} more answers"), async || {
            let more = self.answered.load(Ordering::Relaxed) - before;
            Ok(if more >= times { Ok(()) } else { Err(more) })
        })
        .await
    }

    /// Makes and changes a policy again and again. Does not return.
    async fn ask(&self, kubedr: &Installation, person: usize) {
        let policies = kubedr.api::<MetadataBackupPolicy>();
        let policy = kubedr.policy(&format!("made-{person}"), "s3", &json!({ "suspend": true }));
        let policy = serde_json::from_value(policy).expect("a policy");
        let (create, update) =
            (PostParams { dry_run: true, ..PostParams::default() }, PatchParams::default().dry_run());
        // What asks for nothing else than before, nobody is asked about.
        let change = Patch::Merge(json!({ "spec": { "retainNumBackups": 7 } }));
        loop {
            self.count(policies.create(&create, &policy)).await;
            sleep(PAUSE).await;
            self.count(policies.patch(CHANGED, &update, &change)).await;
            sleep(PAUSE).await;
        }
    }

    async fn count<T>(&self, request: impl Future<Output = kube::Result<T>>) {
        let why = match timeout(LONGEST, request).await {
            Ok(Ok(_)) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
            Err(_elapsed) => format!("no answer in {LONGEST:?}"),
        };
        let failed = TurnedAway { after: self.begun.elapsed(), why };
        eprintln!("{failed:?}");
        self.turned_away.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
    }
}
