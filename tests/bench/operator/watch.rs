//! When the operator has nothing to do any more.
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use kubedr_tests::OperatorProcess;

use super::{
    DEADLINE, INTERVAL,
    audit::{self, AuditLog},
};

/// How long it must have nothing to do: longer than its writes take to come back to it.
const REST: Duration = Duration::from_secs(5);
/// What a process that has nothing to do takes of an [`INTERVAL`]: a tenth.
const LITTLE: Duration = Duration::from_millis(25);

/// How it came to rest.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// How long after its start it had nothing to do any more.
    pub after: Duration,
    /// The most anonymous memory that it was seen with, bytes.
    pub peak: u64,
    /// How often it asked the API server for something.
    pub requests: usize,
}

/// An operator that is looked at again and again.
pub struct Watch<'a> {
    operator: &'a OperatorProcess,
    audit: AuditLog,
    processor: Duration,
    peak: u64,
    requests: usize,
    /// Since when it has done nothing.
    rests: Instant,
}

impl<'a> Watch<'a> {
    /// One that was just started.
    pub fn of(operator: &'a OperatorProcess, audit: AuditLog) -> Result<Self> {
        let processor = operator.processor()?;
        Ok(Self { operator, audit, processor, peak: 0, requests: 0, rests: Instant::now() })
    }

    /// Waits until it has written nothing and hardly worked for a while.
    pub async fn until_it_rests(&mut self) -> Result<Settled> {
        self.rests = Instant::now();
        loop {
            ensure!(!self.is_over(), "the operator does not come to rest");
            tokio::time::sleep(INTERVAL).await;
            let processor = self.operator.processor()?;
            let worked = processor.saturating_sub(self.processor) > LITTLE;
            let news = self.audit.news()?;
            let wrote = news.iter().any(audit::is_write);
            self.requests += news.len();
            self.processor = processor;
            self.peak = self.peak.max(self.operator.memory()?);
            if worked || wrote {
                self.rests = Instant::now();
            }
            if self.rests.elapsed() >= REST {
                let after = self.rests.duration_since(self.operator.started);
                return Ok(Settled { after, peak: self.peak, requests: self.requests });
            }
        }
    }

    /// Whether it has taken too long.
    pub fn is_over(&self) -> bool {
        self.operator.started.elapsed() > DEADLINE
    }
}
