//! A steady load on etcd, and how long each put takes.
//!
//! It is a process of its own, before all others in the scheduler's eyes: what is measured is how long etcd takes, not
//! how long its client waits for a processor, which clients on other machines do not.
use std::{
    io::{Read, Write},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use kubedr_tests::{Cluster, load::Etcd};
use serde::{Deserialize, Serialize};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::report::percentile;

/// Endpoint for the process that puts.
pub const ENDPOINT: &str = "KUBEDR_BENCH_PUTS";

/// Between the scheduled moments of two puts: a thousand a second.
const INTERVAL: Duration = Duration::from_millis(1);
/// Bytes of a value.
const VALUE: usize = 1024;
/// The puts go round over so many keys.
const KEYS: u64 = 10_000;
/// Puts on their way at once, before it is said that etcd cannot keep up.
const MOST: usize = 20_000;
/// Longest wait for the puts that are on their way at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process that puts.
pub struct Putter(Child);

/// What the puts took.
#[derive(Serialize, Deserialize)]
pub struct Latencies {
    /// The first scheduled moment.
    begin: SystemTime,
    /// From its scheduled moment to its end, for each put in turn, seconds.
    took: Vec<f64>,
}

impl Putter {
    /// Begins.
    pub fn start(endpoint: &str) -> Result<Self> {
        // A session of its own has a share of the processors of its own.
        let mut command = Command::new("setsid");
        command.args(["nice", "-n", "-20"]).arg(std::env::current_exe()?).env(ENDPOINT, endpoint);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        Ok(Self(command.spawn().context("failed to start the putter")?))
    }

    /// Ends, and says what it saw.
    pub async fn stop(mut self) -> Result<Latencies> {
        drop(self.0.stdin.take());
        let output = tokio::time::timeout(PATIENCE, self.0.wait_with_output()).await;
        let output = output.context("the putter does not end")??;
        ensure!(output.status.success(), "the putter ended with {}", output.status);
        serde_json::from_slice(&output.stdout).context("the putter says no figures")
    }
}

impl Latencies {
    /// The 99th percentile of those that were scheduled in a span of time, milliseconds.
    pub fn p99(&self, begin: SystemTime, length: Duration) -> Result<f64> {
        let first = begin.duration_since(self.begin).context("the puts began too late")?;
        let index =
            |time: Duration| usize::try_from(time.as_millis() / INTERVAL.as_millis()).unwrap_or(usize::MAX);
        let within =
            self.took.get(index(first)..index(first + length)).context("the puts ended too early")?;
        let mut took: Vec<f64> = within.iter().map(|seconds| seconds * 1000.0).collect();
        percentile(&mut took, 99).context("no put was scheduled in that time")
    }
}

/// Puts until the standard input ends, and prints what it saw.
pub async fn run(endpoint: &str) -> Result<()> {
    std::fs::write("/proc/self/autogroup", "-20").context("failed to come before other sessions")?;
    let etcd = Etcd::new(Cluster::from_environment()?.etcd(endpoint).await?);
    let is_over = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&is_over);
    std::thread::spawn(move || {
        // Whatever it reads: there is nothing but the end.
        let _ = std::io::stdin().read(&mut [0]);
        end.store(true, Ordering::Relaxed);
    });
    let seen = serde_json::to_vec(&put_steadily(etcd, &is_over).await?)?;
    std::io::stdout().write_all(&seen).context("failed to say the figures")
}

async fn put_steadily(etcd: Etcd, is_over: &AtomicBool) -> Result<Latencies> {
    let (started, begin) = (Instant::now(), SystemTime::now());
    let (mut took, mut under_way) = (Vec::new(), JoinSet::new());
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        let scheduled = started + INTERVAL * number;
        sleep_until(scheduled).await;
        let mut etcd = etcd.clone();
        under_way.spawn(async move {
            let put = etcd.put(&format!("/bench/puts/{:06}", u64::from(number) % KEYS), value(number)).await;
            // Whoever waited for one that etcd gave up waited so long.
            put.or_else(|error| if was_given_up(&error) { Ok(()) } else { Err(error) })?;
            anyhow::Ok((number, scheduled.elapsed()))
        });
        took.push(0.0);
        while let Some(put) = under_way.try_join_next() {
            note(&mut took, put??);
        }
        ensure!(under_way.len() < MOST, "etcd does not keep up: {MOST} puts wait");
        number += 1;
    }
    while let Some(put) = under_way.join_next().await {
        note(&mut took, put??);
    }
    Ok(Latencies { begin, took })
}

/// Whether etcd answered that it took too long, after 7 s.
pub fn was_given_up(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("etcdserver: request timed out")
}

fn note(all: &mut [f64], (number, took): (u32, Duration)) {
    if let Some(place) = usize::try_from(number).ok().and_then(|number| all.get_mut(number)) {
        *place = took.as_secs_f64();
    }
}

/// Hexadecimal digits without a pattern: they compress to half.
fn value(number: u32) -> Vec<u8> {
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let digits = (0..VALUE / 16).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    });
    digits.collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_puts_that_were_scheduled_in_the_span_count() {
        let begin = SystemTime::UNIX_EPOCH;
        let took =
            (0..3000_u32).map(|number| if (1000..2000).contains(&number) { 0.002 } else { 9.0 }).collect();
        let latencies = Latencies { begin, took };
        let second = Duration::from_secs(1);
        assert!(latencies.p99(begin + second, second).expect("puts") < 3.0);
        assert!(latencies.p99(begin + 3 * second, second).is_err(), "nothing is known of that time");
        assert_eq!(value(7).len(), VALUE);
    }
}
