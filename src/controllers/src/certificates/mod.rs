//! The webhooks' certificates: in use, and kept by others or by us. Our own are made, renewed and shown by every replica,
//! and none needs the lease.
//!
//! ```text
//! configurations, then the Secret ─▶ decide ─▶ Secret, at the version that was read ─▶ configurations, likewise
//!                                      └─▶ in use, if the configurations carry its authority
//! folder, which others write ──────────────▶ in use
//! ```
//!
//! The configurations are read first: an authority that another replica has written since is then among what is
//! stored, and cannot be taken away from them by what was read before.
pub mod authority;
mod build;
mod in_use;
mod observe;
mod pair;
mod patience;

use std::time::Duration;

use api::{names, rbac::Rule};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use model::Reason;
use runtime::{Context, Outcome, amend, put_back};
use tokio::time::sleep;

use self::{
    authority::{Bundle, Decision, NotMade, Step, Stored, World},
    observe::Configuration,
    patience::Patience,
};
pub use self::{
    in_use::{Certificates, PERIOD, State},
    pair::{Flaw, Pair},
};

/// Name of the controller, to the API server and in the log.
pub const MANAGER: &str = "kubedr-operator/certificates";

/// What the controller may do, where nobody else keeps the certificates: no part of [`RBAC`](crate::RBAC).
///
/// The Secret is installed without data and the configurations without an authority, so that neither has to be
/// made. No other Secret, and no webhook of anyone else, can be read or changed with this.
pub const RBAC: &[Rule] = &[
    Rule::in_namespace(&[""], &["secrets"], &["get", "update"]).named(&[names::WEBHOOK_AUTHORITY]),
    Rule::in_cluster(
        &["admissionregistration.k8s.io"],
        &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        &["get", "patch"],
    )
    .named(&[names::DEFAULT_WEBHOOKS]),
];

/// Pause after something was written, by us or by another.
const SOON: Duration = Duration::from_secs(1);

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The API server did not do what it was asked.
    #[error(transparent)]
    Call(runtime::Error),
    /// There is no new pair.
    #[error(transparent)]
    Make(NotMade),
}

impl Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Call(error) => error.reason(),
            Self::Make(_) => Reason::Bug,
        }
    }
}

/// Keeps certificates in use, stored and trusted. Does not return, and may be dropped at any time.
pub async fn keep(ctx: &Context, certificates: &Certificates) {
    let mut keeper = Keeper::new(ctx, certificates);
    loop {
        let looked = keeper.look().await;
        if let Err(error) = &looked {
            certificates.refuse(format!("{}: {}", error.reason(), model::chain(error)));
        }
        sleep(looked.unwrap_or(PERIOD)).await;
    }
}

/// One replica.
struct Keeper<'a> {
    ctx: &'a Context,
    certificates: &'a Certificates,
    patience: Patience,
    /// Why it rested, if it did.
    rested: Option<String>,
}

impl<'a> Keeper<'a> {
    fn new(ctx: &'a Context, certificates: &'a Certificates) -> Self {
        Self { ctx, certificates, patience: Patience::default(), rested: None }
    }

    /// Looks, does one step, and says when to look again.
    async fn look(&mut self) -> Result<Duration, Error> {
        let configurations = observe::configurations(self.ctx).await;
        let secret = observe::secret(self.ctx).await.map_err(Error::Call)?;
        let stored = Stored::read(secret.data.as_ref());
        let carried = configurations.iter().flatten().flat_map(|seen| &seen.webhooks);
        let carried: Vec<Vec<u8>> = carried.map(|(_, bundle)| bundle.clone()).collect();
        let awaited = self.patience.awaited(&stored);
        // What could not be read has not changed for that.
        let unchanged =
            configurations.as_ref().map_or(Duration::ZERO, |seen| self.patience.with(&stored, seen));
        let (namespace, now) = (self.ctx.namespace.as_str(), self.ctx.now());
        let world = World { stored: &stored, carried: &carried, unchanged, awaited, namespace, now };
        let decision = authority::decide(&world);
        self.rests(&decision);
        let before = self.certificates.in_use();
        let shown = authority::shown(&world, before.as_ref());
        // Any pair is better than none, or than one that has ended, whatever comes of the rest.
        let is_useless = |pair: &Pair| pair.untimely(now).is_some() && shown.as_ref() != Some(pair);
        self.show(shown.as_ref().filter(|_| before.as_ref().is_none_or(is_useless)), None, now);
        let told = self.write(&secret, (&world, &decision), &configurations.map_err(Error::Call)?).await?;
        let in_use = self.certificates.in_use();
        let at_once =
            told.as_ref().and_then(|told| authority::shown_once_told(told, namespace, in_use.as_ref()));
        self.show(at_once.or(shown).as_ref(), overdue(&decision), now);
        Ok(if told.as_ref() == Some(&stored) { PERIOD } else { SOON })
    }

    /// Shows a pair, if there is one to show, and has it known what is in the way of the next one.
    fn show(&self, pair: Option<&Pair>, trouble: Option<String>, now: Timestamp) {
        match (pair, trouble) {
            (Some(pair), trouble) => self.certificates.offer_despite(pair.clone(), trouble, now),
            (None, Some(trouble)) => self.certificates.refuse(trouble),
            (None, None) => {}
        }
    }

    /// Tells why nothing is done, once.
    fn rests(&mut self, Decision { step, why, .. }: &Decision) {
        let rested = (*step == Step::Rest).then(|| why.clone());
        if rested.is_some() && self.rested != rested {
            tracing::info!(why, "the webhooks' certificates rest");
        }
        self.rested = rested;
    }

    /// What is stored, once API servers have been told of its authorities; none where another was faster.
    ///
    /// What cannot be stored does not keep what is stored from being trusted.
    async fn write(
        &self,
        read: &Secret,
        (world, decision): (&World<'_>, &Decision),
        configurations: &[Configuration],
    ) -> Result<Option<Stored>, Error> {
        let stored = match self.step(read, world, decision).await {
            Ok(Some(stored)) => Ok(stored),
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        let bundle = authority::told(stored.as_ref().unwrap_or(world.stored), world.namespace);
        let is_told = self.tell(configurations, &bundle).await;
        let stored = stored?;
        Ok(is_told?.then_some(stored))
    }

    /// What is stored from now on; none where another was faster.
    async fn step(
        &self,
        read: &Secret,
        world: &World<'_>,
        decision: &Decision,
    ) -> Result<Option<Stored>, Error> {
        if decision.step == Step::Rest {
            return Ok(Some(world.stored.clone()));
        }
        let stored = authority::after(world, decision.step, authority::issue).map_err(Error::Make)?;
        let outcome = put_back(self.ctx, &build::secret(read, &stored)).await.map_err(Error::Call)?;
        let is_written = outcome == Outcome::Written;
        if is_written {
            log(decision);
        }
        Ok(is_written.then_some(stored))
    }

    /// Has each configuration carry the authorities, and says whether all do. One that cannot be changed does not keep
    /// the others from it.
    async fn tell(&self, configurations: &[Configuration], bundle: &Bundle) -> Result<bool, Error> {
        let (mut first, mut is_told) = (None, true);
        for seen in configurations {
            let Some(change) = build::change(seen, bundle) else { continue };
            match amend(self.ctx, &seen.target, change).await {
                Ok(Outcome::Written) => {
                    tracing::info!(kind = seen.target.types.kind, "told API servers whom to trust");
                }
                Ok(Outcome::Overtaken) => is_told = false,
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(is_told), |error| Err(Error::Call(error)))
    }
}

/// What is told where a renewal does not come to its end.
fn overdue(Decision { is_overdue, why, .. }: &Decision) -> Option<String> {
    is_overdue.then(|| format!("the next certificate has waited for more than a day to be shown: {why}"))
}

fn log(decision: &Decision) {
    let Decision { step, why, is_mishap, .. } = decision;
    if *is_mishap {
        tracing::warn!(?step, why, "put the webhooks' certificates right");
    } else {
        tracing::info!(?step, why, "changed the webhooks' certificates");
    }
}

#[cfg(test)]
mod tests;
