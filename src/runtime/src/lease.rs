//! One lease guards all controllers.
//!
//! ```text
//! follower ─ acquire ─▶ leader ─ hold ─▶ lost: the process ends
//!                          └─ release: on a graceful stop
//! ```
//!
//! Written here because the crate at hand judges by the wall clock of both sides and
//! renews without a precondition: after a pause of one process two could lead. The
//! rule is client-go's: a record is dead when *we* have seen it unchanged for its
//! duration, by our own monotonic clock, and every write carries the resource
//! version that was read.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::CallError;

/// How long a record counts after it was last seen to change.
pub const DURATION: Duration = Duration::from_secs(10);
/// How long a leader goes on without having renewed: less than [`DURATION`], so that it
/// has stopped before another begins.
const DEADLINE: Duration = Duration::from_secs(7);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one try may take, so that there is time for another: of several API servers one may have lost its power,
/// and a request that is given up closes the connection that leads there.
const LONGEST: Duration = Duration::from_secs(3);
/// How soon another leads after a leader was killed.
const HANDOVER: Duration = Duration::from_secs(15);

/// The last record is seen a pause late. What is left is for requests that take long where a node went down.
const _: () =
    assert!(DURATION.as_secs() + PAUSE.as_secs() < HANDOVER.as_secs(), "a killed leader is soon followed");
const _: () = assert!(
    PAUSE.as_secs() + LONGEST.as_secs() < DEADLINE.as_secs(),
    "one request that hangs is followed by another"
);

/// One try to become or to stay the leader.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("failed to read the lease")]
    Read(#[source] CallError),
    #[error("failed to write the lease")]
    Write(#[source] CallError),
    #[error("the API server does not answer about the lease")]
    Hung,
}

/// The lease of one namespace, as one process sees it.
pub struct Elector {
    leases: Api<Lease>,
    name: &'static str,
    identity: String,
    now: fn() -> Timestamp,
    seen: Option<(LeaseSpec, Instant)>,
    /// The moment before the try in which it was last held.
    renewed: Instant,
}

impl Elector {
    /// An elector that has seen nothing yet.
    pub fn new(
        client: Client,
        namespace: &str,
        (name, identity): (&'static str, String),
        now: fn() -> Timestamp,
    ) -> Self {
        let leases = Api::namespaced(client, namespace);
        Self { leases, name, identity, now, seen: None, renewed: Instant::now() }
    }

    /// Waits until this process leads. May be dropped at any time.
    pub async fn acquire(&mut self) {
        let mut told = false;
        loop {
            let tried = self.attempt(Instant::now() + LONGEST).await;
            let pause = pause_after(&tried);
            match tried {
                Ok(true) => return,
                Ok(false) if !told => {
                    tracing::info!(lease = self.name, holder = self.holder(), "waiting for the lease");
                    told = true;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(error = model::chain(&error), "failed to acquire the lease"),
            }
            sleep(self.left().map_or(pause, |left| left.min(pause))).await;
        }
    }

    /// Renews the lease until it is lost. May be dropped at any time, and begun again.
    pub async fn hold(&mut self) {
        let mut pause = PAUSE;
        loop {
            let until = self.renewed + DEADLINE;
            sleep_until(until.min(Instant::now() + pause)).await;
            let begun = Instant::now();
            if begun >= until {
                return;
            }
            let tried = self.attempt(until.min(begun + LONGEST)).await;
            pause = pause_after(&tried);
            match tried {
                Ok(false) if self.holder() != self.identity => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(error = model::chain(&error), "failed to renew the lease"),
            }
        }
    }

    /// Gives the lease up, so that the next leader need not wait for its end.
    pub async fn release(&mut self) {
        if let Err(error) = self.try_release().await {
            tracing::warn!(error = model::chain(&error), "failed to release the lease");
        }
    }

    fn holder(&self) -> &str {
        let seen = self.seen.as_ref();
        seen.and_then(|(spec, _)| spec.holder_identity.as_deref()).unwrap_or_default()
    }

    /// One try, which ends by then: true where this process holds the lease now.
    async fn attempt(&mut self, until: Instant) -> Result<bool, TryError> {
        // A request may itself wait long: what counts is the moment before it.
        let begun = Instant::now();
        let is_held = timeout_at(until, self.ask()).await.map_err(|_elapsed| TryError::Hung)??;
        if is_held {
            self.renewed = begun;
        }
        Ok(is_held)
    }

    async fn ask(&mut self) -> Result<bool, TryError> {
        let found = crate::call(self.leases.get_opt(self.name)).await.map_err(TryError::Read)?;
        let Some(found) = found else { return self.make().await };
        let spec = found.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.seen = Some((spec.clone(), Instant::now()));
        }
        if !self.is_free(&spec) {
            return Ok(false);
        }
        let wanted = self.record(&spec);
        self.write(Lease { spec: Some(wanted), ..found }).await
    }

    fn is_free(&self, spec: &LeaseSpec) -> bool {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        holder.is_empty() || holder == self.identity || self.left().is_none()
    }

    /// How long the record that was seen will count if nobody renews it; none where it counts no more.
    fn left(&self) -> Option<Duration> {
        let (spec, since) = self.seen.as_ref()?;
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let left = seconds.map_or(DURATION, Duration::from_secs).saturating_sub(since.elapsed());
        Some(left).filter(|left| !left.is_zero())
    }

    fn record(&self, before: &LeaseSpec) -> LeaseSpec {
        let now = MicroTime((self.now)());
        let is_renewal = before.holder_identity.as_deref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: before.acquire_time.clone().filter(|_| is_renewal).or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if is_renewal { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }

    async fn make(&mut self) -> Result<bool, TryError> {
        let metadata = ObjectMeta { name: Some(self.name.to_owned()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(self.record(&LeaseSpec::default())) };
        let made = crate::call(self.leases.create(&PostParams::default(), &lease)).await;
        self.settle(made)
    }

    async fn write(&mut self, lease: Lease) -> Result<bool, TryError> {
        let written = crate::call(self.leases.replace(self.name, &PostParams::default(), &lease)).await;
        self.settle(written)
    }

    /// Another process that wrote in between was faster: that is no error.
    fn settle(&mut self, written: Result<Lease, CallError>) -> Result<bool, TryError> {
        match written {
            Ok(lease) => {
                self.seen = Some((lease.spec.unwrap_or_default(), Instant::now()));
                Ok(true)
            }
            Err(error) if error.is_conflict() || error.is_already_exists() => Ok(false),
            Err(error) => Err(TryError::Write(error)),
        }
    }

    async fn try_release(&mut self) -> Result<(), TryError> {
        let found = crate::call(self.leases.get(self.name)).await.map_err(TryError::Read)?;
        let before = found.spec.clone().unwrap_or_default();
        if before.holder_identity.as_deref() != Some(&self.identity) {
            return Ok(());
        }
        let spec = LeaseSpec { holder_identity: None, lease_duration_seconds: Some(1), ..before };
        self.write(Lease { spec: Some(spec), ..found }).await.map(drop)
    }
}

/// One that hung has waited already.
fn pause_after(tried: &Result<bool, TryError>) -> Duration {
    if matches!(tried, Err(TryError::Hung)) { Duration::ZERO } else { PAUSE }
}

#[cfg(test)]
mod tests;
