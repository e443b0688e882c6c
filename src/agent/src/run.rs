//! One run: its clock, and what ends it early.
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::{Reason, result::Failure};
use repository::Stop;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::sleep,
};

/// SIGINT and SIGTERM, as a shell counts them.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// The run of one verb.
#[derive(Clone)]
pub struct Run {
    now: fn() -> Timestamp,
    started: Instant,
    deadline: Duration,
    stop: Stop,
    signal: watch::Receiver<Option<u8>>,
}

impl Run {
    /// Starts the clock, and listens for signals from here on.
    ///
    /// Must be called in the runtime.
    pub fn start(deadline: Duration, now: fn() -> Timestamp) -> Self {
        let (stopping, stop) = watch::channel(None);
        let (signalled, received) = watch::channel(None);
        tokio::spawn(async move {
            let code = first_signal(deadline).await;
            tracing::warn!(signal = code.is_some(), "stopping");
            signalled.send_replace(code);
            stopping.send_replace(Some(if code.is_some() {
                Reason::Killed
            } else {
                Reason::DeadlineExceeded
            }));
            // The channels stay open: a closed one could not be waited for.
            std::future::pending::<()>().await;
        });
        Self { now, started: Instant::now(), deadline, stop, signal: received }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The time of day when it is told to stop, whatever happens.
    pub fn until(&self) -> Timestamp {
        self.now()
            .saturating_add(self.deadline.saturating_sub(self.started.elapsed()))
            .unwrap_or(Timestamp::MAX)
    }

    /// What tells restic to stop.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Why the run is to stop, where it is.
    pub fn stop_reason(&self) -> Option<Reason> {
        *self.stop.borrow()
    }

    /// Exit code of the signal that was received.
    pub fn signal(&self) -> Option<u8> {
        *self.signal.borrow()
    }

    /// Does something that can be dropped at any point, unless the run is to stop.
    pub async fn unless_stopped<Value>(
        &self,
        work: impl Future<Output = Result<Value, Failure>>,
    ) -> Result<Value, Failure> {
        tokio::select! {
            biased;
            reason = self.stopped() => Err(stopped_because(reason)),
            outcome = work => outcome,
        }
    }

    /// Waits until the run is to stop.
    pub async fn stopped(&self) -> Reason {
        let mut stop = self.stop.clone();
        let reason = stop.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        reason.unwrap_or(Reason::Killed)
    }
}

/// The failure of a run that was stopped.
pub fn stopped_because(reason: Reason) -> Failure {
    Failure::new(
        reason,
        if reason == Reason::Killed { "stopped by a signal" } else { "the deadline has come" },
    )
}

/// The exit code of the signal that comes first; none where the deadline does.
async fn first_signal(deadline: Duration) -> Option<u8> {
    let mut terminate = signal(SignalKind::terminate());
    let mut interrupt = signal(SignalKind::interrupt());
    tokio::select! {
        () = received(&mut terminate) => Some(TERMINATED),
        () = received(&mut interrupt) => Some(INTERRUPTED),
        () = sleep(deadline) => None,
    }
}

/// Never ends where the signal cannot be listened for.
async fn received(listener: &mut std::io::Result<Signal>) {
    match listener {
        Ok(listener) => _ = listener.recv().await,
        Err(_) => std::future::pending().await,
    }
}
