//! What replicas would do, by the very code that decides it; everything that is stored, carried or shown has a number.
use std::{collections::HashMap, ops::Range};

use controllers::certificates::authority::{
    Bundle, Issued, Pem, SETTLED, Step, Stored, World, after, decide, issue, shown, shown_once_told,
};
use jiff::Timestamp;

use super::state::{Doing, Replica, State};
use crate::scene::{NAMESPACE, day};

/// Moments that pass until patience is at its end.
const PATIENT: u8 = 1;
/// Pairs of one clock that may be there at once: one that was made in vain is made again.
const PAIRS: usize = 6;

/// What a careless replica would do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Nothing of it.
    Full,
    /// Read the Secret before the configurations.
    ReadsTheSecretFirst,
    /// Write over what has changed since it was read.
    WritesOverOthers,
    /// Not wait for API servers to hear.
    Hurries,
}

/// Number of something in a [`Laboratory`].
pub type Id = usize;

/// What a replica takes for the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// The first pair is young.
    Early,
    /// A third of its life is left.
    Due,
    /// It has ended. By any other, what is made now holds for more than two years.
    Ahead,
}

/// What a replica finds: the Secret, what is carried, for how long it has been so, and a pair follows, at what time, and
/// what it shows.
type Found = (Id, [Id; 2], [u8; 2], Clock, Option<Id>);

/// Everything that is stored, carried or shown in any state, by number.
pub struct Laboratory {
    pub care: Care,
    pub patient: u8,
    /// By each clock, one after the other.
    made: Vec<Issued>,
    stored: Vec<Stored>,
    bundles: Vec<Vec<u8>>,
    pairs: Vec<Pem>,
    /// Which of the pairs are in what is stored.
    held: HashMap<Id, Vec<Id>>,
    written: HashMap<(Id, Step, Clock, usize), Id>,
    /// What was decided before: certificates are slow to judge.
    looked: HashMap<Found, (Step, Option<Id>)>,
    /// What is shown once it is told of, by what was shown.
    told: HashMap<(Id, Option<Id>), Option<Id>>,
    trusts: HashMap<(Id, Id), bool>,
}

impl Clock {
    const ALL: [Self; 3] = [Self::Early, Self::Due, Self::Ahead];

    fn now(self) -> Timestamp {
        day(match self {
            Self::Early => 100,
            Self::Due => 300,
            Self::Ahead => 500,
        })
    }

    /// The numbers of the pairs that are made by it.
    fn pairs(self) -> Range<Id> {
        let first = self as usize * PAIRS;
        first..first + PAIRS
    }
}

fn number<T: PartialEq>(all: &mut Vec<T>, one: T) -> Id {
    all.iter().position(|other| *other == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}

impl Laboratory {
    /// The pairs that are made have the first numbers.
    pub fn new(care: Care) -> Self {
        let made = |clock: Clock| (0..PAIRS).map(move |_| issue(NAMESPACE, clock.now()).expect("a pair"));
        let made: Vec<Issued> = Clock::ALL.into_iter().flat_map(made).collect();
        let pairs = made.iter().map(|made| made.pair.clone()).collect();
        Self {
            care,
            patient: PATIENT,
            made,
            stored: Vec::new(),
            bundles: Vec::new(),
            pairs,
            held: HashMap::new(),
            written: HashMap::new(),
            looked: HashMap::new(),
            told: HashMap::new(),
            trusts: HashMap::new(),
        }
    }

    /// The numbers of what is stored, and of what is carried.
    pub fn numbers(&mut self, stored: Stored, carried: Vec<u8>) -> (Id, Id) {
        (number(&mut self.stored, stored), number(&mut self.bundles, carried))
    }

    fn world<'a>(
        &'a self,
        secret: Id,
        carried: &'a [Vec<u8>],
        [patience, awaited]: [u8; 2],
        clock: Clock,
    ) -> World<'a> {
        let patience = if self.care == Care::Hurries { self.patient } else { patience };
        let passed = |moments: u8| SETTLED * u32::from(moments) / u32::from(self.patient);
        let (unchanged, awaited, now) = (passed(patience), passed(awaited), clock.now());
        World { stored: &self.stored[secret], carried, unchanged, awaited, namespace: NAMESPACE, now }
    }

    fn carried(&self, seen: [Id; 2]) -> Vec<Vec<u8>> {
        seen.map(|id| self.bundles[id].clone()).to_vec()
    }

    /// What a look decides, and the pair that it shows.
    pub fn look(
        &mut self,
        secret: Id,
        seen: [Id; 2],
        (patience, clock): ([u8; 2], Clock),
        held: Option<Id>,
    ) -> (Step, Option<Id>) {
        let key = (secret, seen, patience, clock, held);
        if let Some(known) = self.looked.get(&key) {
            return *known;
        }
        let carried = self.carried(seen);
        let world = self.world(secret, &carried, patience, clock);
        let in_use = held.map(|held| self.pairs[held].pair().expect("what is shown is a pair"));
        let (step, is_shown) = (decide(&world).step, shown(&world, in_use.as_ref()).is_some());
        let served = self.stored[secret].served.clone().filter(|_| is_shown);
        let shown = served.map(|pem| number(&mut self.pairs, pem)).or(held);
        self.looked.insert(key, (step, shown));
        (step, shown)
    }

    /// What is shown once API servers have been told of what is stored.
    pub fn once_told(&mut self, stored: Id, held: Option<Id>) -> Option<Id> {
        if let Some(known) = self.told.get(&(stored, held)) {
            return *known;
        }
        let in_use = held.map(|held| self.pairs[held].pair().expect("what is shown is a pair"));
        let is_shown = shown_once_told(&self.stored[stored], NAMESPACE, in_use.as_ref()).is_some();
        let served = self.stored[stored].served.clone().filter(|_| is_shown);
        let shown = served.map(|pem| number(&mut self.pairs, pem)).or(held);
        self.told.insert((stored, held), shown);
        shown
    }

    /// What is stored after a step. A pair that it takes is none that is there already.
    pub fn after(&mut self, secret: Id, step: Step, clock: Clock, state: &State) -> Id {
        let held = self.held_in(state);
        let new = clock.pairs().find(|new| !held.contains(new)).expect("one is free");
        let key = (secret, step, clock, new);
        if let Some(known) = self.written.get(&key) {
            return *known;
        }
        let pair = self.made[new].clone();
        let stored = after(&self.world(secret, &[], [0; 2], clock), step, |_, _| Ok(pair)).expect("a pair");
        let stored = number(&mut self.stored, stored);
        self.written.insert(key, stored);
        stored
    }

    /// The pairs that somebody has, or may store.
    fn held_in(&mut self, state: &State) -> Vec<Id> {
        let mut held = Vec::new();
        for Replica { doing, memory, shown, .. } in &state.replicas {
            let written = match doing {
                Doing::Writing(stored) | Doing::Telling(stored, ..) => Some(*stored),
                Doing::Reading => None,
            };
            let stored = written.into_iter().chain(memory.secret.map(|(id, _)| id)).chain([state.secret.0]);
            held.extend(stored.flat_map(|id| self.pairs_of(id)).chain(*shown));
        }
        held
    }

    fn pairs_of(&mut self, stored: Id) -> Vec<Id> {
        let Stored { served, next, .. } = &self.stored[stored];
        let pairs = &mut self.pairs;
        let numbers = || [served, next].into_iter().flatten().map(|pem| number(pairs, pem.clone())).collect();
        self.held.entry(stored).or_insert_with(numbers).clone()
    }

    pub fn next(&mut self, secret: Id) -> Option<Id> {
        let next = self.stored[secret].next.clone();
        next.map(|pem| number(&mut self.pairs, pem))
    }

    pub fn bundle(&mut self, secret: Id) -> Id {
        let bundle = self.stored[secret].bundle().to_pem().into_bytes();
        number(&mut self.bundles, bundle)
    }

    fn is_trusted(&mut self, bundle: Id, pair: Id) -> bool {
        let (pem, authorities) = (&self.pairs[pair], &self.bundles[bundle]);
        *self.trusts.entry((bundle, pair)).or_insert_with(|| {
            let pair = pem.pair().expect("what is shown is a pair");
            Bundle::read(authorities).vouches(&pair, NAMESPACE).is_ok()
        })
    }

    /// Whether nobody is refused: by each configuration, and by what it was before.
    pub fn is_safe(&mut self, state: &State) -> bool {
        let shown: Vec<Id> = state.replicas.iter().filter_map(|replica| replica.shown).collect();
        let may_be_used: Vec<Id> = state
            .configurations
            .iter()
            .flat_map(|one| one.before.iter().map(|(id, _)| *id).chain([one.carried]))
            // Whoever was told nothing yet is refused in any case.
            .filter(|bundle| !self.bundles[*bundle].is_empty())
            .collect();
        shown.iter().all(|pair| may_be_used.iter().all(|bundle| self.is_trusted(*bundle, *pair)))
    }

    /// Both replicas show the one pair that is stored, it is trusted, and nothing is left to do.
    pub fn is_done(&mut self, state: &State) -> bool {
        let secret = state.secret.0;
        let carried = [state.configurations[0].carried, state.configurations[1].carried];
        let (step, _) = self.look(secret, carried, ([self.patient; 2], Clock::Due), None);
        let served = self.stored[secret].served.clone().map(|pem| number(&mut self.pairs, pem));
        let is_shown = state.replicas.iter().all(|replica| replica.shown == served && served.is_some());
        state.clocks == [Clock::Due; 2] && step == Step::Rest && is_shown && self.is_safe(state)
    }
}
