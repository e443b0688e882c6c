//! Certificates of our own: what every replica reads, and the next step of whoever comes first.
//!
//! ```text
//! stored, carried, now ─▶ decide ─▶ Step ─▶ after ─▶ stored
//!
//!            ca.crt  tls  next
//! anew:      A1      P1         there is nothing that could be shown
//! begin:     A2 A1   P1   P2    a third of its life is left; both configurations get the bundle, and time
//! promote:   A2 A1   P2         from now on this one is shown
//! trim:      A2      P2         A1 has ended, and whoever showed P1 has had the time to look
//! ```
//!
//! No I/O, no clock, no memory: what was read decides, so that whoever dies between two writes is continued by the
//! next look of any replica. Each authority signs one pair, and its key is gone before anybody hears of it: nothing
//! that could sign another one lies around, and there is one way to renew instead of two.
mod bundle;
mod issue;
mod stored;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use bundle::Bundle;
pub use issue::{Issued, LIFETIME, NotMade, issue};
pub use stored::{Fault, Pem, Stored};

use super::pair::{Flaw, Pair};

/// How long everything must have been as it is before another pair is shown: there may be several API servers, and
/// each hears of a changed configuration in its own time.
pub const SETTLED: Duration = Duration::from_mins(5);
/// The same where nobody accepts the pair that is shown: unless it is our clock that is wrong, so not at once.
pub const HASTE: Duration = Duration::from_mins(1);

/// How long the next pair may wait to be shown: it has been hours since any API server heard of it.
const WAIT: SignedDuration = SignedDuration::from_hours(24);
/// A lifetime that clocks can be compared by.
const LIFE: SignedDuration = SignedDuration::from_secs(LIFETIME.as_secs().cast_signed());

/// Everything that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// What the Secret holds.
    pub stored: &'a Stored,
    /// What each webhook of the installed configurations carries, in PEM. Read before `stored`: what is stored is then
    /// never older than what is carried.
    pub carried: &'a [Vec<u8>],
    /// For how long both have been as they are, by a clock that nobody sets.
    pub unchanged: Duration,
    /// For how long the pair that follows has been there, by the same clock.
    pub awaited: Duration,
    /// The operator's namespace: the pair is for the service there.
    pub namespace: &'a str,
    /// What time it is.
    pub now: Timestamp,
}

/// What is to be done with what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nothing, or nothing yet.
    Rest,
    /// A pair is made, and shown at once.
    Anew,
    /// A pair is made that follows the one that is shown.
    Begin,
    /// The pair that follows is shown.
    Promote,
    /// The pair that follows is thrown away: it is of no use.
    Withdraw,
    /// Authorities go that nobody needs.
    Trim,
}

/// A step, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is to be done.
    pub step: Step,
    /// Why, for the log. Nothing of what is stored is in it.
    pub why: String,
    /// Whether it should not have come to this: something is lost or damaged, or a clock is wrong.
    pub is_mishap: bool,
    /// Whether what follows should long have been shown: something is in its way that does not pass by itself.
    pub is_overdue: bool,
}

/// A pair that could be shown, were it the time for it.
struct Sound {
    pair: Pair,
    /// That it is not, and why.
    untimely: Option<Flaw>,
}

/// What is stored, once it has been read.
struct Judge<'a> {
    world: &'a World<'a>,
    bundle: Bundle,
}

/// The next step.
pub fn decide(world: &World) -> Decision {
    let judge = Judge::of(world);
    let served = judge.judged(world.stored.served.as_ref());
    let next = judge.judged(world.stored.next.as_ref());
    match (served, next) {
        (Err(fault), Ok(next)) if next.untimely.is_none() => mishap(Step::Promote, &fault),
        (Err(fault), _) => Decision { is_mishap: !world.stored.is_empty(), ..mishap(Step::Anew, &fault) },
        (Ok(served), Ok(next)) if next.untimely.is_none() => judge.promotion(&served, &next),
        (Ok(served), next) => judge.beginning(&served).unwrap_or_else(|| judge.leftovers(&served, next)),
    }
}

/// What is stored once a step is done; `issue` makes a pair.
pub fn after(
    world: &World,
    step: Step,
    issue: impl FnOnce(&str, Timestamp) -> Result<Issued, NotMade>,
) -> Result<Stored, NotMade> {
    let judge = Judge::of(world);
    let Stored { served, next, .. } = world.stored.clone();
    Ok(match step {
        Step::Rest => world.stored.clone(),
        Step::Anew => {
            let Issued { authority, pair } = issue(world.namespace, world.now)?;
            let bundle = judge.kept(&[], next.as_ref()).led_by(authority);
            Stored::new(&bundle, Some(pair), None)
        }
        Step::Begin => {
            let Issued { authority, pair } = issue(world.namespace, world.now)?;
            let bundle = judge.kept(&[served.as_ref()], next.as_ref()).led_by(authority);
            Stored::new(&bundle, served, Some(pair))
        }
        Step::Promote => Stored::new(&judge.kept(&[next.as_ref(), served.as_ref()], None), next, None),
        Step::Withdraw => Stored::new(&judge.kept(&[served.as_ref()], next.as_ref()), served, None),
        Step::Trim => Stored::new(&judge.kept(&[served.as_ref()], None), served, None),
    })
}

/// The pair to show from now on; none where that is the one that is shown already, or nothing better.
///
/// One that an API server would refuse is held back, as long as there is another to show; and one that all would refuse
/// where that has ended.
pub fn shown(world: &World, in_use: Option<&Pair>) -> Option<Pair> {
    let pair = world.stored.served.as_ref()?.pair().ok()?;
    let is_better = match in_use {
        None => true,
        Some(in_use) if in_use.untimely(world.now).is_some() => world.is_trusted_by_some(&pair),
        Some(_) => world.is_trusted(&pair),
    };
    is_better.then_some(pair)
}

/// The pair to show as soon as API servers have been told of what is stored; none where they accept the one in use then.
///
/// After data was lost nobody vouches for it any more: each moment in which it is shown still, requests fail.
pub fn shown_once_told(stored: &Stored, namespace: &str, in_use: Option<&Pair>) -> Option<Pair> {
    let bundle = told(stored, namespace);
    let is_accepted = in_use.is_some_and(|pair| bundle.vouches(pair, namespace).is_ok());
    let pair = stored.served.as_ref().filter(|_| !bundle.is_empty() && !is_accepted)?;
    pair.pair().ok()
}

/// The authorities to tell API servers of; none where those that are stored do not vouch for what is shown.
///
/// Somebody's damage stays in the Secret, if it cannot be put right, and is not carried on.
pub fn told(stored: &Stored, namespace: &str) -> Bundle {
    let bundle = stored.bundle();
    let pair = stored.served.as_ref().and_then(|pem| pem.pair().ok());
    let is_sound = pair.is_some_and(|pair| bundle.vouches(&pair, namespace).is_ok());
    if is_sound { bundle } else { Bundle::default() }
}

impl World<'_> {
    /// Whether whoever goes by what is carried trusts a pair.
    fn is_trusted(&self, pair: &Pair) -> bool {
        self.carried.iter().all(|pem| self.vouches(pem, pair))
    }

    /// The same of anybody at all.
    fn is_trusted_by_some(&self, pair: &Pair) -> bool {
        self.carried.iter().any(|pem| self.vouches(pem, pair))
    }

    fn vouches(&self, carried: &[u8], pair: &Pair) -> bool {
        Bundle::read(carried).vouches(pair, self.namespace).is_ok()
    }
}

impl<'a> Judge<'a> {
    fn of(world: &'a World<'a>) -> Self {
        Self { world, bundle: world.stored.bundle() }
    }

    /// The pair, if a clock is all that can be said against it.
    fn judged(&self, stored: Option<&Pem>) -> Result<Sound, Fault> {
        let pair = stored.ok_or(Fault::Missing)?.pair()?;
        self.bundle.vouches(&pair, self.world.namespace).map_err(Fault::Untrusted)?;
        let untimely = pair.untimely(self.world.now);
        Ok(Sound { pair, untimely })
    }

    /// Whether the pair that follows is shown.
    fn promotion(&self, served: &Sound, next: &Sound) -> Decision {
        let has_ended = served.untimely.is_some();
        // Nobody accepts the one that is shown: who accepts the next is one more, whatever keeps others from it.
        if has_ended && self.world.awaited >= SETTLED && self.world.is_trusted_by_some(&next.pair) {
            return usual(Step::Promote, "the one before has ended, and some carry its authority");
        }
        let settled = if has_ended { HASTE } else { SETTLED };
        let awaits = |why| Decision { is_overdue: self.is_overdue(next), ..usual(Step::Rest, why) };
        if !self.world.is_trusted(&next.pair) {
            return awaits("a configuration of webhooks does not carry its authority");
        }
        if self.world.unchanged < settled {
            return awaits("the Secret or a configuration has changed within minutes");
        }
        usual(Step::Promote, "the configurations have carried its authority for long enough")
    }

    /// By when it ends: what is made holds for a lifetime.
    fn is_overdue(&self, next: &Sound) -> bool {
        next.pair.not_after().duration_since(self.world.now) < LIFE - WAIT
    }

    /// Whether another pair is needed.
    fn beginning(&self, served: &Sound) -> Option<Decision> {
        if let Some(flaw) = &served.untimely {
            return Some(mishap(Step::Begin, flaw));
        }
        let left = served.pair.not_after().duration_since(self.world.now);
        // By a clock that is more than a lifetime ahead, what we would make has ended, and is withdrawn at once.
        if left > LIFE * 2 && self.is_settled() {
            return Some(usual(Step::Begin, "it would hold for years: a clock was ahead, or others made it"));
        }
        (left <= LIFE / 3).then(|| usual(Step::Begin, "a third of a lifetime is left"))
    }

    /// What is there that nobody needs.
    fn leftovers(&self, served: &Sound, next: Result<Sound, Fault>) -> Decision {
        match next {
            Err(Fault::Missing) => {}
            Err(fault) => return mishap(Step::Withdraw, &fault),
            Ok(Sound { untimely: Some(flaw), .. }) => return mishap(Step::Withdraw, &Fault::Unusable(flaw)),
            Ok(_) => return usual(Step::Rest, "the pair that follows is awaited"),
        }
        let kept = self.bundle.kept(&[&served.pair], None, self.world);
        if self.world.stored.is_bundle(&kept) {
            return usual(Step::Rest, "all is well");
        }
        if kept == self.bundle {
            return usual(Step::Trim, "something else is beside the authorities");
        }
        // By our clock: another replica may show its pair until it has looked again.
        let step = if self.is_settled() { Step::Trim } else { Step::Rest };
        usual(step, "an authority has ended")
    }

    /// Whether API servers and other replicas have had the time to hear of what is stored.
    fn is_settled(&self) -> bool {
        self.world.unchanged >= SETTLED
    }

    /// The bundle for the pairs that stay, without the authority of the one that goes.
    ///
    /// An authority of neither stays until it has ended: a replica that cannot read may still show its pair.
    fn kept(&self, staying: &[Option<&Pem>], going: Option<&Pem>) -> Bundle {
        let pair = |pem: &Pem| pem.pair().ok();
        let staying: Vec<Pair> = staying.iter().copied().flatten().filter_map(pair).collect();
        let staying: Vec<&Pair> = staying.iter().collect();
        self.bundle.kept(&staying, going.and_then(pair).as_ref(), self.world)
    }
}

fn usual(step: Step, why: &str) -> Decision {
    Decision { step, why: why.to_owned(), is_mishap: false, is_overdue: false }
}

fn mishap(step: Step, why: &dyn std::error::Error) -> Decision {
    Decision { step, why: model::chain(why), is_mishap: true, is_overdue: false }
}
