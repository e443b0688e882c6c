//! What is stored, carried and known at one moment, and everything that may happen next.
use controllers::certificates::authority::Step;

use super::laboratory::{Care, Clock, Id, Laboratory};

/// How often the Secret may be written in a moment.
const CALM: u8 = 2;
/// Moments for which an API server may go by what was carried before.
const LATE: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configuration {
    pub carried: Id,
    edition: u8,
    /// What API servers may still go by, and for how many moments they have not.
    pub before: Vec<(Id, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Seen {
    carried: Id,
    edition: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    configurations: [Option<Seen>; 2],
    pub secret: Option<(Id, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// Reads, and has read this.
    Reading,
    /// Writes the Secret.
    Writing(Id),
    /// Tells API servers of what is stored, from that configuration on; and whether all carry it so far.
    Telling(Id, u8, bool),
}

/// Whether a replica has looked since the last moment passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    Owed,
    Begun,
    Done,
}

/// Of what has no end, as much as is visited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Excerpt {
    /// How many more may pass.
    pub moments: u8,
    /// How often the Secret was written in this one.
    pub writes: u8,
    pub looks: [Look; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub doing: Doing,
    pub memory: Memory,
    pub shown: Option<Id>,
    /// What it saw, and for how many moments.
    patience: Option<(Memory, u8)>,
    /// The pair that follows, and for how many moments: where one has ended by its clock, and it may matter.
    awaits: Option<(Id, u8)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub secret: (Id, u8),
    pub configurations: [Configuration; 2],
    pub replicas: [Replica; 2],
    /// They differ.
    pub clocks: [Clock; 2],
    pub deaths: u8,
    pub excerpt: Option<Excerpt>,
}

const IDLE: Replica = Replica {
    doing: Doing::Reading,
    memory: Memory { configurations: [None; 2], secret: None },
    shown: None,
    patience: None,
    awaits: None,
};

impl State {
    /// Both replicas have yet to look at what is stored, and at what both configurations carry.
    pub fn beginning(secret: Id, carried: Id) -> Self {
        let configuration = Configuration { carried, edition: 0, before: Vec::new() };
        Self {
            secret: (secret, 0),
            configurations: [configuration.clone(), configuration],
            replicas: [IDLE, IDLE],
            clocks: [Clock::Early; 2],
            deaths: 1,
            excerpt: None,
        }
    }

    /// Everything that may happen next.
    pub fn successors(&self, laboratory: &mut Laboratory) -> Vec<Self> {
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
        for Replica { patience, awaits, .. } in &mut next.replicas {
            let patience = patience.as_mut().map(|(_, moments)| moments);
            for moments in patience.into_iter().chain(awaits.as_mut().map(|(_, moments)| moments)) {
                *moments = (*moments + 1).min(patient);
            }
        }
        Some(next)
    }

    /// A replica has come so far in its look.
    fn looks(&mut self, one: usize, from: Look, to: Look) {
        let look = self.excerpt.as_mut().map(|excerpt| &mut excerpt.looks[one]);
        look.into_iter().filter(|look| **look == from).for_each(|look| *look = to);
    }

    /// Whether there is not too much to be written.
    pub fn is_calm(&self) -> bool {
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
        let (clock, (secret, _)) = (self.clocks[one], self.replicas[one].memory.secret?);
        let next = laboratory.next(secret).filter(|_| clock == Clock::Ahead);
        let Replica { memory, shown, patience, awaits, .. } = &mut self.replicas[one];
        if patience.is_none_or(|(seen, _)| seen != *memory) {
            *patience = Some((*memory, 0));
        }
        if awaits.map(|(awaited, _)| awaited) != next {
            *awaits = next.map(|next| (next, 0));
        }
        let moments = [patience.map_or(0, |(_, moments)| moments), awaits.map_or(0, |(_, moments)| moments)];
        let seen = memory.configurations.map(|seen| seen.map_or(0, |seen| seen.carried));
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
