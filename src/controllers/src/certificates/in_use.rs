//! The certificate that the server shows: one pair at a time, changed while connections come and go.
//!
//! ```text
//! folder ─▶ read, every ten seconds ─▶ Pair ─▶ sound? ─▶ in use
//!                                               └▶ no: the pair before stays, and the state says why
//! ```
//!
//! A pair is looked for again and again, not waited for: a Secret's files are links that the kubelet swaps, which
//! watches of files see in part or not at all.
use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{sync::watch, time::sleep};

use super::{Flaw, Pair};

/// How often a folder is read: a certificate is renewed days before it ends.
pub const PERIOD: Duration = Duration::from_secs(10);

/// The pair in use, and what is wrong with the newest that was offered. Cloned, it is the same one.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Arc<watch::Sender<Held>>);

#[derive(Debug, Default)]
struct Held {
    pair: Option<Pair>,
    flaw: Option<String>,
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// When the pair in use ends; none while there is none, and nobody can connect.
    pub not_after: Option<Timestamp>,
    /// What is wrong with the newest pair that was offered, or with what follows it. The one in use is another, or has
    /// ended, or will.
    pub flaw: Option<String>,
}

impl Certificates {
    /// Takes the pair of a folder again and again: `tls.crt` and `tls.key`, as cert-manager and Kubernetes call
    /// them. Does not return.
    pub async fn follow(&self, folder: &Path, period: Duration, now: fn() -> Timestamp) {
        loop {
            self.offer(Pair::read(folder).await, now());
            sleep(period).await;
        }
    }

    /// Takes a pair, for all connections from now on, unless something is wrong with it.
    ///
    /// A pair that is expired, or none, helps nobody: the one before stays, even past its end. But where there is no
    /// better one, it may be our clock that is wrong, and others decide: then it is taken, and the state says why not.
    pub fn offer(&self, offered: Result<Pair, Flaw>, now: Timestamp) {
        match offered {
            Ok(pair) => self.offer_despite(pair, None, now),
            Err(flaw) => self.refuse(model::chain(&flaw)),
        }
    }

    /// The same with a pair of which something is to be told all the same.
    pub fn offer_despite(&self, pair: Pair, trouble: Option<String>, now: Timestamp) {
        let untimely = pair.untimely(now).map(|flaw| model::chain(&flaw));
        self.0.send_modify(|held| match untimely {
            Some(flaw) if held.is_timely(now) => held.refuse(flaw),
            flaw => held.take(pair, flaw.or(trouble)),
        });
    }

    /// No newer pair is to be had: the one in use stays, and the state says why.
    pub fn refuse(&self, why: String) {
        self.0.send_modify(|held| held.refuse(why));
    }

    /// The pair that is shown; none as long as nobody can connect.
    pub fn in_use(&self) -> Option<Pair> {
        self.0.borrow().pair.clone()
    }

    /// Returns when there is a pair, and others can connect: from then on there always is one.
    pub async fn taken(&self) {
        // It changes for as long as there is somebody who holds it, as this one does.
        drop(self.0.subscribe().wait_for(|held| held.pair.is_some()).await);
    }

    /// How it stands.
    pub fn state(&self) -> State {
        let held = self.0.borrow();
        State { not_after: held.pair.as_ref().map(Pair::not_after), flaw: held.flaw.clone() }
    }
}

impl Held {
    fn is_timely(&self, now: Timestamp) -> bool {
        self.pair.as_ref().is_some_and(|pair| pair.untimely(now).is_none())
    }

    fn take(&mut self, pair: Pair, flaw: Option<String>) {
        if self.pair.as_ref() != Some(&pair) {
            tracing::info!(not_after = %pair.not_after(), "webhooks show another certificate");
            self.pair = Some(pair);
        }
        match flaw {
            Some(flaw) => self.refuse(flaw),
            None if self.flaw.take().is_some() => tracing::info!("the webhooks' certificate is good again"),
            None => {}
        }
    }

    fn refuse(&mut self, flaw: String) {
        if self.flaw.as_ref() != Some(&flaw) {
            let is_served = self.pair.is_some();
            tracing::error!(error = flaw, is_served, "something is wrong with the webhooks' certificate");
            self.flaw = Some(flaw);
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().pair.as_ref().map(Pair::key)
    }
}
