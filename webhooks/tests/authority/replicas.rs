//! Two replicas in every order of what they read and write, with a death at any moment.
//!
//! ```text
//! replica: read one configuration, the other, the Secret ─▶ show, decide ─▶ write ─▶ tell one, the other ─▶ show
//! time:    what API servers may still go by is forgotten; patience grows
//! ```
//!
//! Every state that can come about is visited. In each of them, whatever a replica shows is trusted by all that an API
//! server may go by, and from each of them the end can be reached. Where clocks are too far apart for an end, it is some
//! moments that are visited, in each of which both look and little is written.
use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use rstest::rstest;
use webhooks::certificates::authority::{
    Bundle, Issued, Pem, SETTLED, Step, Stored, World, after, decide, issue, shown, shown_once_told,
};

use crate::scene::{NAMESPACE, Scene, day};

/// Moments that pass until patience is at its end.
const PATIENT: u8 = 1;
/// The same where a moment is no longer than it takes to look.
const PATIENT_LOOKS: u8 = 2;
/// How often the Secret may be written in a moment.
const CALM: u8 = 2;
/// Moments for which an API server may go by what was carried before.
const LATE: u8 = 1;
/// Pairs of one clock that may be there at once: one that was made in vain is made again.
const PAIRS: usize = 6;

/// What a careless replica would do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
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
type Id = usize;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Configuration {
    carried: Id,
    edition: u8,
    /// What API servers may still go by, and for how many moments they have not.
    before: Vec<(Id, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Seen {
    carried: Id,
    edition: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Memory {
    configurations: [Option<Seen>; 2],
    secret: Option<(Id, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// Reads, and has read this.
    Reading,
    /// Writes the Secret.
    Writing(Id),
    /// Tells API servers of what is stored, from that configuration on; and whether all carry it so far.
    Telling(Id, u8, bool),
}

/// What a replica takes for the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Clock {
    /// The first pair is young.
    Early,
    /// A third of its life is left.
    Due,
    /// It has ended. By any other, what is made now holds for more than two years.
    Ahead,
}

/// Whether a replica has looked since the last moment passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Look {
    Owed,
    Begun,
    Done,
}

/// Of what has no end, as much as is visited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Excerpt {
    /// How many more may pass.
    moments: u8,
    /// How often the Secret was written in this one.
    writes: u8,
    looks: [Look; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Replica {
    doing: Doing,
    memory: Memory,
    shown: Option<Id>,
    /// What it saw, and for how many moments.
    patience: Option<(Memory, u8)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    secret: (Id, u8),
    configurations: [Configuration; 2],
    replicas: [Replica; 2],
    /// They differ.
    clocks: [Clock; 2],
    deaths: u8,
    excerpt: Option<Excerpt>,
}

const IDLE: Replica = Replica {
    doing: Doing::Reading,
    memory: Memory { configurations: [None; 2], secret: None },
    shown: None,
    patience: None,
};

/// What a replica finds: the Secret, what is carried, for how long, at what time, and what it shows.
type Found = (Id, [Id; 2], u8, Clock, Option<Id>);

/// Everything that is stored, carried or shown in any state, by number.
struct Laboratory {
    care: Care,
    patient: u8,
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
    fn pairs(self) -> std::ops::Range<Id> {
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
    fn new(care: Care) -> Self {
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

    fn world<'a>(&'a self, secret: Id, carried: &'a [Vec<u8>], patience: u8, clock: Clock) -> World<'a> {
        let patience = if self.care == Care::Hurries { self.patient } else { patience };
        let unchanged = SETTLED * u32::from(patience) / u32::from(self.patient);
        let now = clock.now();
        World { stored: &self.stored[secret], carried, unchanged, namespace: NAMESPACE, now }
    }

    fn carried(&self, seen: [Id; 2]) -> Vec<Vec<u8>> {
        seen.map(|id| self.bundles[id].clone()).to_vec()
    }

    /// What a look decides, and the pair that it shows.
    fn look(
        &mut self,
        secret: Id,
        seen: [Id; 2],
        (patience, clock): (u8, Clock),
        held: Option<Id>,
    ) -> (Step, Option<Id>) {
        let key = (secret, seen, patience, clock, held);
        if let Some(known) = self.looked.get(&key) {
            return *known;
        }
        let carried = self.carried(seen);
        let world = self.world(secret, &carried, patience, clock);
        let (step, is_shown) = (decide(&world).step, shown(&world, held.is_some()).is_some());
        let served = self.stored[secret].served.clone().filter(|_| is_shown);
        let shown = served.map(|pem| number(&mut self.pairs, pem)).or(held);
        self.looked.insert(key, (step, shown));
        (step, shown)
    }

    /// What is shown once API servers have been told of what is stored.
    fn once_told(&mut self, stored: Id, held: Option<Id>) -> Option<Id> {
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
    fn after(&mut self, secret: Id, step: Step, clock: Clock, state: &State) -> Id {
        let held = self.held_in(state);
        let new = clock.pairs().find(|new| !held.contains(new)).expect("one is free");
        let key = (secret, step, clock, new);
        if let Some(known) = self.written.get(&key) {
            return *known;
        }
        let pair = self.made[new].clone();
        let stored = after(&self.world(secret, &[], 0, clock), step, |_, _| Ok(pair)).expect("a pair");
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

    fn bundle(&mut self, secret: Id) -> Id {
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
    fn is_safe(&mut self, state: &State) -> bool {
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
    fn is_done(&mut self, state: &State) -> bool {
        let secret = state.secret.0;
        let carried = [state.configurations[0].carried, state.configurations[1].carried];
        let (step, _) = self.look(secret, carried, (self.patient, Clock::Due), None);
        let served = self.stored[secret].served.clone().map(|pem| number(&mut self.pairs, pem));
        let is_shown = state.replicas.iter().all(|replica| replica.shown == served && served.is_some());
        state.clocks == [Clock::Due; 2] && step == Step::Rest && is_shown && self.is_safe(state)
    }
}

impl State {
    /// Everything that may happen next.
    fn successors(&self, laboratory: &mut Laboratory) -> Vec<Self> {
        let mut all: Vec<Self> = (0..2).filter_map(|one| self.acts(one, laboratory)).collect();
        if self.deaths > 0 {
            all.extend((0..2).map(|one| self.dies(one)));
        }
        all.extend(self.passes(laboratory.patient));
        let are_early = (0..2).filter(|one| self.clocks[*one] == Clock::Early && self.excerpt.is_none());
        all.extend(are_early.map(|one| self.comes_due(one)));
        all
    }

    /// The clock of a replica says that the pair is old.
    fn comes_due(&self, one: usize) -> Self {
        let mut next = self.clone();
        next.clocks[one] = Clock::Due;
        next
    }

    /// A replica begins anew, and knows nothing.
    fn dies(&self, one: usize) -> Self {
        let mut next = self.clone();
        next.replicas[one] = IDLE;
        next.deaths -= 1;
        next
    }

    /// A moment passes. In an excerpt there are some only, in which everybody looks.
    fn passes(&self, patient: u8) -> Option<Self> {
        let mut next = self.clone();
        if let Some(Excerpt { moments, writes, looks }) = &mut next.excerpt {
            *moments = moments.checked_sub(1).filter(|_| *looks == [Look::Done; 2])?;
            (*writes, *looks) = (0, [Look::Owed; 2]);
        }
        for configuration in &mut next.configurations {
            configuration.before.iter_mut().for_each(|(_, moments)| *moments += 1);
            configuration.before.retain(|(_, moments)| *moments < LATE);
        }
        for (_, moments) in next.replicas.iter_mut().filter_map(|replica| replica.patience.as_mut()) {
            *moments = (*moments + 1).min(patient);
        }
        Some(next)
    }

    /// A replica has come so far in its look.
    fn looks(&mut self, one: usize, from: Look, to: Look) {
        let look = self.excerpt.as_mut().map(|excerpt| &mut excerpt.looks[one]);
        look.into_iter().filter(|look| **look == from).for_each(|look| *look = to);
    }

    /// Whether there is not too much to be written.
    fn is_calm(&self) -> bool {
        self.excerpt.as_ref().is_none_or(|excerpt| excerpt.writes <= CALM)
    }

    /// A replica does what comes next.
    fn acts(&self, one: usize, laboratory: &mut Laboratory) -> Option<Self> {
        let mut next = self.clone();
        match next.replicas[one].doing {
            Doing::Reading => next.reads(one, laboratory)?,
            Doing::Writing(stored) => next.writes(one, stored, laboratory),
            Doing::Telling(stored, which, is_told) => next.tells(one, (stored, which, is_told), laboratory),
        }
        Some(next)
    }

    fn reads(&mut self, one: usize, laboratory: &mut Laboratory) -> Option<()> {
        let seen = |configuration: &Configuration| {
            Some(Seen { carried: configuration.carried, edition: configuration.edition })
        };
        if self.replicas[one].memory == Memory::default() {
            self.looks(one, Look::Owed, Look::Begun);
        }
        let memory = &mut self.replicas[one].memory;
        let is_secret_next =
            laboratory.care == Care::ReadsTheSecretFirst || memory.configurations[1].is_some();
        if memory.secret.is_none() && is_secret_next {
            memory.secret = Some(self.secret);
        } else if let Some(which) = memory.configurations.iter().position(Option::is_none) {
            memory.configurations[which] = seen(&self.configurations[which]);
        }
        if memory.secret.is_some() && memory.configurations[1].is_some() {
            return self.decides(one, laboratory);
        }
        Some(())
    }

    fn decides(&mut self, one: usize, laboratory: &mut Laboratory) -> Option<()> {
        let Replica { memory, shown, patience, .. } = &mut self.replicas[one];
        if patience.is_none_or(|(seen, _)| seen != *memory) {
            *patience = Some((*memory, 0));
        }
        let (moments, clock) = (patience.map_or(0, |(_, moments)| moments), self.clocks[one]);
        let ((secret, _), seen) =
            (memory.secret?, memory.configurations.map(|seen| seen.map_or(0, |seen| seen.carried)));
        let (step, now_shown) = laboratory.look(secret, seen, (moments, clock), *shown);
        *shown = now_shown;
        self.replicas[one].doing = if step == Step::Rest {
            Doing::Telling(secret, 0, true)
        } else {
            Doing::Writing(laboratory.after(secret, step, clock, self))
        };
        Some(())
    }

    fn writes(&mut self, one: usize, stored: Id, laboratory: &Laboratory) {
        let is_as_read = self.replicas[one].memory.secret == Some(self.secret);
        if is_as_read || laboratory.care == Care::WritesOverOthers {
            self.secret = (stored, self.secret.1 + 1);
            self.excerpt.iter_mut().for_each(|excerpt| excerpt.writes += 1);
            self.replicas[one].doing = Doing::Telling(stored, 0, true);
        } else {
            self.rests(one);
        }
    }

    fn tells(&mut self, one: usize, (stored, which, is_told): (Id, u8, bool), laboratory: &mut Laboratory) {
        let bundle = laboratory.bundle(stored);
        let seen = self.replicas[one].memory.configurations[usize::from(which)];
        let configuration = &mut self.configurations[usize::from(which)];
        let is_as_read = seen.is_some_and(|seen| seen.edition == configuration.edition);
        let differs = seen.is_some_and(|seen| seen.carried != bundle);
        let is_written = differs && (is_as_read || laboratory.care == Care::WritesOverOthers);
        if is_written {
            configuration.before.push((configuration.carried, 0));
            configuration.carried = bundle;
            configuration.edition += 1;
        }
        let is_told = is_told && (is_written || !differs);
        self.replicas[one].doing = Doing::Telling(stored, which + 1, is_told);
        if which == 1 {
            let shown = self.replicas[one].shown;
            self.replicas[one].shown = if is_told { laboratory.once_told(stored, shown) } else { shown };
            self.rests(one);
        }
    }

    fn rests(&mut self, one: usize) {
        self.replicas[one].doing = Doing::Reading;
        self.replicas[one].memory = Memory::default();
        self.looks(one, Look::Begun, Look::Done);
    }
}

/// Every state that can come about, and which follow each; up to one in which somebody is refused, or too much written.
struct Visited {
    states: Vec<State>,
    from: Vec<Vec<usize>>,
    is_safe: bool,
    is_calm: bool,
}

fn visit(start: State, laboratory: &mut Laboratory) -> Visited {
    let mut known = HashMap::from([(start.clone(), 0)]);
    let mut visited = Visited { states: vec![start], from: vec![Vec::new()], is_safe: true, is_calm: true };
    let mut index = 0;
    while index < visited.states.len() && visited.is_safe && visited.is_calm {
        let state = visited.states[index].clone();
        visited.is_safe &= laboratory.is_safe(&state);
        visited.is_calm &= state.is_calm();
        for next in state.successors(laboratory) {
            let number = *known.entry(next).or_insert_with_key(|next| {
                visited.states.push(next.clone());
                visited.from.push(Vec::new());
                visited.states.len() - 1
            });
            visited.from[number].push(index);
        }
        index += 1;
    }
    visited
}

/// How many states there are from which no end can be reached.
fn lost(visited: &Visited, laboratory: &mut Laboratory) -> usize {
    let mut ends: VecDeque<usize> =
        (0..visited.states.len()).filter(|index| laboratory.is_done(&visited.states[*index])).collect();
    let mut reaches = vec![false; visited.states.len()];
    while let Some(index) = ends.pop_front() {
        if !std::mem::replace(&mut reaches[index], true) {
            ends.extend(&visited.from[index]);
        }
    }
    reaches.iter().filter(|reaches| !**reaches).count()
}

/// Where everything begins: what is stored, and what both configurations carry.
fn beginning(laboratory: &mut Laboratory, scene: &Scene, carried: &[u8]) -> State {
    let secret = number(&mut laboratory.stored, scene.stored.clone());
    let carried = number(&mut laboratory.bundles, carried.to_vec());
    let configuration = Configuration { carried, edition: 0, before: Vec::new() };
    State {
        secret: (secret, 0),
        configurations: [configuration.clone(), configuration],
        replicas: [IDLE, IDLE],
        clocks: [Clock::Early; 2],
        deaths: 1,
        excerpt: None,
    }
}

fn rotation(care: Care) -> (Visited, Laboratory) {
    let (mut laboratory, first) = (Laboratory::new(care), Scene::first());
    let start = beginning(&mut laboratory, &first, &first.carried[0]);
    (visit(start, &mut laboratory), laboratory)
}

#[test]
fn nobody_is_refused_in_any_order_and_both_agree_in_the_end() {
    let (visited, mut laboratory) = rotation(Care::Full);
    assert!(visited.is_safe);
    assert_eq!(lost(&visited, &mut laboratory), 0, "of {}", visited.states.len());
    assert!(visited.states.len() > 1000, "{} states are few", visited.states.len());
}

#[test]
fn two_that_make_the_first_pair_agree_in_the_end() {
    let mut laboratory = Laboratory::new(Care::Full);
    let start = beginning(&mut laboratory, &Scene::empty(), b"");
    let visited = visit(State { clocks: [Clock::Due; 2], ..start }, &mut laboratory);
    assert!(visited.is_safe);
    assert_eq!(lost(&visited, &mut laboratory), 0, "of {}", visited.states.len());
}

/// A pair of the one has ended for the other, and one of the other holds too long for the one: there is no end, but
/// nobody is refused, and there is little to do.
#[test]
fn two_whose_clocks_are_400_days_apart_refuse_nobody_and_write_little() {
    let (mut laboratory, first) = (Laboratory::new(Care::Full), Scene::first());
    laboratory.patient = PATIENT_LOOKS;
    let start = beginning(&mut laboratory, &first, &first.carried[0]);
    let excerpt = Excerpt { moments: 5, writes: 0, looks: [Look::Owed; 2] };
    let clocks = [Clock::Ahead, Clock::Early];
    let visited = visit(State { clocks, deaths: 0, excerpt: Some(excerpt), ..start }, &mut laboratory);
    assert!(visited.is_safe, "after {} states", visited.states.len());
    assert!(visited.is_calm, "after {} states", visited.states.len());
    let writes = visited.states.iter().map(|state| state.secret.1).max();
    assert!(writes > Some(4), "{writes:?}: there is an end");
}

/// The model would tell.
#[rstest]
#[case::reads_the_secret_first(Care::ReadsTheSecretFirst)]
#[case::writes_over_others(Care::WritesOverOthers)]
#[case::hurries(Care::Hurries)]
fn somebody_is_refused_where_a_replica(#[case] care: Care) {
    assert!(!rotation(care).0.is_safe);
}
