//! `cargo xtask bench admission`: our operator beside cert-manager's webhook, as those who ask see them.
//!
//! ```text
//! pairs ─▶ each number of connections ─▶ ours, theirs: started, asked for some seconds, ended ─▶ rows
//! ```
//! Both have the same certificate, the same API server and reviews of the same length, and whoever asks shares the
//! processors with them. Ours is the whole operator, which leads and watches; theirs does nothing else.
mod answerer;
mod asker;
mod gauge;
mod review;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::samples;
use kubedr_tests::Installation;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::{
    Request, both, mebibytes,
    report::{Row, percentile},
    say,
};
use answerer::{Answerer, Place};
use asker::{Asker, Span};
use review::Review;

/// How long is asked before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// Processor time of the process for one review.
const CPU: &str = "cpu a review";

/// What one turn showed.
struct Turn {
    per_second: f64,
    /// Milliseconds from a question to its answer.
    p50: f64,
    p99: f64,
    /// Most anonymous memory, bytes.
    memory: u64,
    /// Processor time of the process for one review, milliseconds.
    cpu: f64,
}

/// All pairs of one number of connections.
struct Level {
    connections: usize,
    turns: Vec<(Turn, Turn)>,
}

/// Measures each number of connections, and returns the rows.
pub async fn run(kubedr: &Installation, request: &Request) -> Result<Vec<Row>> {
    kubedr.install("rbac").await?;
    let mut location = json!(samples::location());
    location["metadata"]["namespace"] = json!(kubedr.namespace);
    // A policy that goes nowhere would be warned of.
    kubedr.apply(location).await?;
    let bench = Bench::new(kubedr, request).await?;
    let level = |connections: &usize| Level { connections: *connections, turns: Vec::new() };
    let mut levels: Vec<_> = request.connections.iter().map(level).collect();
    for number in 1..=request.pairs {
        for level in &mut levels {
            let (ours, theirs) = bench.pair(level.connections, number.is_multiple_of(2)).await?;
            let what = format!("pair {number} of {}, {}", request.pairs, level.name());
            say(&format!("{what}: {} | {}", ours.told(), theirs.told()));
            level.turns.push((ours, theirs));
        }
    }
    let rows: Result<Vec<_>> = levels.iter().map(Level::rows).collect();
    Ok([rows?.concat(), vec![together(&levels)?]].concat())
}

/// What a review takes where as many are asked for at each level.
fn together(levels: &[Level]) -> Result<Row> {
    let pairs = levels.iter().map(|level| level.turns.len()).min().unwrap_or_default();
    let of_pair = |number: usize| {
        let turns = || levels.iter().map(|level| &level.turns[number]);
        (mean(turns().map(|(ours, _)| ours)), mean(turns().map(|(_, theirs)| theirs)))
    };
    Row::of("as many of each", CPU, "µs", &(0..pairs).map(of_pair).collect::<Vec<_>>())
}

/// Processor time of a review in these turns, microseconds. Not by how many each did: whoever is quick where a review is
/// cheap would have fewer of the others.
fn mean<'a>(turns: impl Iterator<Item = &'a Turn>) -> f64 {
    let (cpu, count) = turns.fold((0.0, 0.0), |(cpu, count), turn| (cpu + turn.cpu, count + 1.0));
    cpu * 1e3 / count
}

/// Everything that is the same for all turns.
struct Bench<'a> {
    place: Place<'a>,
    length: Duration,
    ours: Review,
    theirs: Review,
}

impl<'a> Bench<'a> {
    async fn new(kubedr: &'a Installation, request: &'a Request) -> Result<Self> {
        let (ours, theirs) = (review::ours(&kubedr.namespace)?, review::theirs()?);
        let place = Place::new(kubedr, &request.program).await?;
        Ok(Self { place, length: Duration::from_secs(request.seconds), ours, theirs })
    }

    async fn pair(&self, connections: usize, is_ours_first: bool) -> Result<(Turn, Turn)> {
        let ours = async { self.turn(self.place.ours().await?, &self.ours, connections).await };
        let theirs = async { self.turn(self.place.theirs().await?, &self.theirs, connections).await };
        both(is_ours_first, ours, theirs).await
    }

    async fn turn(&self, answerer: Answerer, review: &Review, connections: usize) -> Result<Turn> {
        let turn = self.asked(&answerer, review, connections).await;
        let said = answerer.end().await?;
        turn.with_context(|| format!("the last that it said is: {said}"))
    }

    async fn asked(&self, answerer: &Answerer, review: &Review, connections: usize) -> Result<Turn> {
        let asker = Asker::new(answerer.address(), self.place.authority(), review).await?;
        let connected = asker.connected(connections).await?;
        let begin = Instant::now() + WARM_UP;
        let span = Span { begin, end: begin + self.length };
        let process = answerer.process()?;
        let watching = spawn_blocking(move || gauge::watch(process, span));
        let mut took = asker.ask(connected, span).await?;
        let taken = watching.await??;
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let count = took.len() as f64;
        let mut of_hundred = |part| percentile(&mut took, part).context("nothing was answered");
        Ok(Turn {
            per_second: count / self.length.as_secs_f64(),
            p50: of_hundred(50)?,
            p99: of_hundred(99)?,
            memory: taken.memory,
            cpu: taken.cpu.as_secs_f64() * 1e3 / count,
        })
    }
}

impl Turn {
    fn told(&self) -> String {
        let Self { per_second, p50, p99, memory, cpu } = self;
        let memory = mebibytes(*memory);
        format!("{per_second:.0} a second, {p50:.2} and {p99:.2} ms, {memory:.1} MiB, {cpu:.3} ms of cpu")
    }
}

impl Level {
    fn name(&self) -> String {
        let plural = if self.connections == 1 { "" } else { "s" };
        format!("{} connection{plural}", self.connections)
    }

    fn rows(&self) -> Result<Vec<Row>> {
        let size = self.name();
        let row = |work, unit, figure: fn(&Turn) -> f64| {
            let figures = self.turns.iter().map(|(ours, theirs)| (figure(ours), figure(theirs)));
            Row::of(&size, work, unit, &figures.collect::<Vec<_>>())
        };
        Ok(vec![
            row("reviews", "/s", |turn| turn.per_second)?,
            row("p50", "ms", |turn| turn.p50)?,
            row("p99", "ms", |turn| turn.p99)?,
            row("memory", "MiB", |turn| mebibytes(turn.memory))?,
            row(CPU, "µs", |turn| turn.cpu * 1e3)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(per_second: f64, cpu: f64) -> Turn {
        Turn { per_second, p50: 1.0, p99: 1.0, memory: 0, cpu }
    }

    #[test]
    fn whoever_is_quick_where_a_review_is_cheap_has_as_many_of_the_others() {
        let level = |connections, ours: (f64, f64), theirs: (f64, f64)| Level {
            connections,
            turns: vec![(turn(ours.0, ours.1), turn(theirs.0, theirs.1))],
        };
        let levels = [level(1, (100.0, 0.06), (50.0, 0.2)), level(16, (300.0, 0.02), (50.0, 0.1))];
        let row = together(&levels).expect("pairs");
        assert!((row.ours - 40.0).abs() < 1e-9 && (row.theirs - 150.0).abs() < 1e-9, "{row:?}");
    }
}
