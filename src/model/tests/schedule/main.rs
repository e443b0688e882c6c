//! Holds [`Schedule`] to what Kubernetes' own code says.
//!
//! `answers.jsonl` was written by the program in `hack/programs/kubernetes/schedules`, which asks what the
//! API server asks before it stores a CronJob, and what the CronJob's controller asks. To write it again,
//! after a new version of Kubernetes or with other questions:
//!
//! ```console
//! $ cd hack/programs/kubernetes
//! $ export ZONEINFO="$(go env GOROOT)/lib/time/zoneinfo.zip"
//! $ go run ./schedules > ../../../src/model/tests/schedule/answers.jsonl
//! ```
//!
//! More than are kept here, and others with each seed:
//!
//! ```console
//! $ go run ./schedules -random 100000 -seed 7 > /tmp/answers.jsonl
//! $ SCHEDULE_ANSWERS=/tmp/answers.jsonl cargo test -p model --test schedule
//! ```
use std::{env, fmt::Debug, fs, path::PathBuf};

use jiff::Timestamp;
use model::{InvalidSchedule, Schedule};
use serde::Deserialize;

/// What one line asks, and the answer.
#[derive(Debug, Deserialize)]
struct Line {
    schedule: String,
    zone: Option<String>,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    /// The fields of a CronJob that were refused.
    Refused { refused: Vec<String> },
    /// One slot after another, up to the last word: there is none, or Kubernetes does not come back.
    Next { from: Timestamp, next: Vec<String> },
    /// The last of all slots up to now.
    Last { since: Timestamp, now: Timestamp, last: String },
}

impl Line {
    fn parse(&self) -> Result<Schedule, InvalidSchedule> {
        Schedule::parse(&self.schedule, self.zone.as_deref())
    }

    fn accepted(&self) -> Schedule {
        self.parse().expect("Kubernetes accepts it")
    }
}

fn lines() -> Vec<Line> {
    let committed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/schedule/answers.jsonl");
    let path = env::var_os("SCHEDULE_ANSWERS").map_or(committed, PathBuf::from);
    let text = fs::read_to_string(path).expect("answers");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Compares what is said of each line with its answer, and shows the first that differ.
fn compare<T: PartialEq + Debug>(judge: impl Fn(&Line) -> Option<(T, T)>) {
    let lines = lines();
    let judged: Vec<_> = lines.iter().filter_map(|line| Some((line, judge(line)?))).collect();
    let wrong: Vec<_> = judged.iter().filter(|(_, (ours, theirs))| ours != theirs).collect();
    for (line, (ours, theirs)) in wrong.iter().take(20) {
        eprintln!("{line:?}\n    here {ours:?}\n    Kubernetes {theirs:?}");
    }
    eprintln!("{} answers compared", judged.len());
    assert!(wrong.is_empty(), "{} of {} answers differ", wrong.len(), judged.len());
    assert!(!judged.is_empty(), "there are no such answers");
}

fn word(slot: Option<Timestamp>) -> String {
    slot.map_or("never".to_owned(), |slot| slot.to_string())
}

#[test]
fn what_kubernetes_refuses_is_refused_for_the_same_fields() {
    compare(|line| {
        let Answer::Refused { refused } = &line.answer else { return None };
        let flaws = Schedule::flaws(&line.schedule, line.zone.as_deref());
        let ours: Vec<_> = flaws.iter().map(|flaw| format!("spec.{}", flaw.field())).collect();
        Some((ours, refused.clone()))
    });
}

#[test]
fn what_is_refused_is_not_read() {
    compare(|line| {
        let flaws = Schedule::flaws(&line.schedule, line.zone.as_deref());
        Some((line.parse().err(), flaws.into_iter().next()))
    });
}

#[test]
fn slots_follow_one_another_as_in_kubernetes() {
    compare(|line| {
        let Answer::Next { from, next } = &line.answer else { return None };
        let (schedule, mut moment) = (line.accepted(), *from);
        let theirs: Vec<String> = next.iter().filter(|slot| *slot != "hangs").cloned().collect();
        let ours = theirs.iter().map(|_| {
            let slot = schedule.next_after(moment);
            moment = slot.unwrap_or(moment);
            word(slot)
        });
        Some((ours.collect(), theirs))
    });
}

#[test]
fn last_slot_is_that_to_which_kubernetes_steps() {
    compare(|line| {
        let Answer::Last { since, now, last } = &line.answer else { return None };
        Some((word(line.accepted().last_between(*since, *now)), last.clone()))
    });
}

#[test]
fn where_kubernetes_never_comes_back_there_is_an_answer() {
    compare(|line| {
        let Answer::Next { from, next } = &line.answer else { return None };
        let hangs = next.last().is_some_and(|word| word == "hangs");
        hangs.then(|| (line.accepted().next_after(*from).is_some_and(|slot| slot > *from), true))
    });
}
