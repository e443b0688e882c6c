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
mod laboratory;
mod state;

use std::collections::{HashMap, VecDeque};

use rstest::rstest;

use self::{
    laboratory::{Care, Clock, Laboratory},
    state::{Excerpt, Look, State},
};
use crate::scene::Scene;

/// Moments that pass until patience is at its end, where one is no longer than it takes to look.
const PATIENT_LOOKS: u8 = 2;

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
    let (secret, carried) = laboratory.numbers(scene.stored.clone(), carried.to_vec());
    State::beginning(secret, carried)
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
