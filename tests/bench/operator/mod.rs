//! `cargo xtask bench operator`: what the operator's process takes with many policies, and what it does at rest.
//!
//! ```text
//! scene: a node, a location, policies ─▶ API server ◀─ process: the operator, with its account's rights
//!                             alone: its writes ─▶ ┘ └─ audit log ─┬─ /proc ┘
//!                                                                  └▶ watch ─▶ rows
//! ```
//! The policies are suspended: each has its CronJob, and no Job is ever due, so that nothing but the operator is
//! measured.
mod alone;
mod audit;
mod scene;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kubedr_tests::{Cluster, Installation, OperatorProcess};
use serde::Serialize;

use self::{audit::AuditLog, scene::Scene, watch::Settled};
use crate::{Request, mebibytes, report::short, say};

/// How many policies come while the operator runs.
const NEW: u64 = 1_000;
/// How long it is watched with nothing to do and no policies.
const IDLE: Duration = Duration::from_secs(20);
/// How often memory is looked at while something goes on.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long anything may take before it counts as not happening.
const DEADLINE: Duration = Duration::from_mins(15);

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How many policies there were.
    pub policies: u64,
    /// What was measured.
    pub work: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What was found.
    pub found: f64,
    /// What it is not to be above.
    pub aim: Option<f64>,
}

/// Measures each size, and returns the rows.
pub async fn run(kubedr: &Installation, request: &Request) -> Result<Vec<Row>> {
    let bench = Bench { cluster: &kubedr.cluster, scene: Scene::set(kubedr).await?, request };
    let mut rows = bench.idle(false, "idle").await?;
    rows.extend(bench.idle(true, "idle, webhooks").await?);
    rows.push(bench.newcomers().await?);
    let mut sizes = request.policies.clone();
    sizes.sort_unstable();
    let (mut there, mut new) = (NEW, 0);
    for size in sizes {
        if size > there {
            (there, new) = (size, size - there);
        }
        rows.extend(bench.with(size).await?);
    }
    if new > 0 {
        say(&format!("writing for {new} policies without an operator"));
        let found = alone::writes(kubedr, &bench.scene, new).await?.as_secs_f64();
        rows.push(Row { policies: new, work: "their writes alone", unit: "s", found, aim: None });
    }
    Ok(rows)
}

struct Bench<'a> {
    cluster: &'a Cluster,
    scene: Scene<'a>,
    request: &'a Request,
}

impl Bench<'_> {
    async fn idle(&self, webhooks: bool, work: &'static str) -> Result<Vec<Row>> {
        let mut operator = self.start(webhooks).await?;
        self.settle(&mut operator, 0).await?;
        tokio::time::sleep(IDLE).await;
        let memory =
            Row { policies: 0, work, unit: "MiB", found: mebibytes(operator.memory()?), aim: Some(8.0) };
        operator.stop().await?;
        Ok(vec![memory])
    }

    /// How long it takes until policies that come while it runs all have their `CronJob`s.
    async fn newcomers(&self) -> Result<Row> {
        let mut operator = self.start(true).await?;
        self.settle(&mut operator, 0).await?;
        let mut audit = AuditLog::from_now_on(self.cluster)?;
        let begun = Instant::now();
        let (made, applied) = tokio::join!(audit.cronjobs(NEW), self.scene.have(NEW));
        applied?;
        let found = made?.duration_since(begun).as_secs_f64();
        say(&format!("{NEW} new policies had their CronJobs after {found:.1} s"));
        operator.stop().await?;
        Ok(Row { policies: NEW, work: "new CronJobs", unit: "s", found, aim: Some(30.0) })
    }

    /// Starts it with policies that nobody has looked at, then once more, and watches it at rest.
    async fn with(&self, policies: u64) -> Result<Vec<Row>> {
        let row = |work, unit, found, aim| Row { policies, work, unit, found, aim };
        let start = |work, Settled { after, peak, requests }: Settled| {
            let after = row(work, "s", after.as_secs_f64(), Some(60.0));
            [
                after,
                row("its peak", "MiB", mebibytes(peak), None),
                row("its requests", "", count(requests), None),
            ]
        };
        let mut rows = Vec::new();
        if self.scene.count().await? < policies {
            say(&format!("making {policies} policies"));
            self.scene.have(policies).await?;
            let mut operator = self.start(true).await?;
            rows.extend(start("first start", self.settle(&mut operator, policies).await?));
            operator.stop().await?;
        }
        let mut operator = self.start(true).await?;
        rows.extend(start("next start", self.settle(&mut operator, policies).await?));
        rows.extend(self.at_rest(&operator, row).await?);
        let page = operator.scrape().await?;
        rows.push(row("metrics", "MiB", mebibytes(page), None));
        rows.push(row("after a scrape", "MiB", mebibytes(operator.memory()?), Some(60.0)));
        operator.stop().await?;
        Ok(rows)
    }

    async fn at_rest(
        &self,
        operator: &OperatorProcess,
        row: impl Fn(&'static str, &'static str, f64, Option<f64>) -> Row,
    ) -> Result<Vec<Row>> {
        let mut audit = AuditLog::from_now_on(self.cluster)?;
        let (begun, before) = (Instant::now(), operator.processor()?);
        tokio::time::sleep(Duration::from_secs(self.request.quiet_seconds)).await;
        let cores =
            operator.processor()?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
        let done = audit.news()?;
        let writes = done
            .iter()
            .filter(|deed| audit::is_write(deed))
            .inspect(|deed| say(&format!("written at rest: {deed:?}")));
        Ok(vec![
            row("memory at rest", "MiB", mebibytes(operator.memory()?), Some(60.0)),
            row("core at rest", "", cores, Some(0.01)),
            row("writes at rest", "", count(writes.count()), Some(0.0)),
            row("requests at rest", "", count(done.len()), None),
        ])
    }

    async fn start(&self, webhooks: bool) -> Result<OperatorProcess> {
        self.scene.operator(&self.request.program, webhooks).await
    }

    /// Waits until the operator has nothing to do, and everything is as it should be.
    async fn settle(&self, operator: &mut OperatorProcess, policies: u64) -> Result<Settled> {
        let audit = AuditLog::from_now_on(self.cluster)?;
        operator.wait_until_it_leads().await?;
        let mut watch = watch::Watch::of(operator, audit)?;
        loop {
            let settled = watch.until_it_rests().await?;
            match self.scene.unsettled(policies).await? {
                None => {
                    say(&format!("{policies} policies: settled after {:.1} s", settled.after.as_secs_f64()));
                    return Ok(settled);
                }
                Some(why) => {
                    say(&format!("the operator rests although {why}"));
                    ensure!(!watch.is_over(), "the operator rests although {why}");
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no more than millions are counted")]
fn count(number: usize) -> f64 {
    number as f64
}

/// Up to four digits behind the point.
fn exact(found: f64) -> String {
    ((found * 1e4).round() / 1e4).to_string()
}

/// For people.
pub fn table(rows: &[Row]) -> String {
    let head = format!("{:>8} {:<18} {:>12} {:>12}\n", "policies", "what", "found", "at most");
    let lines = rows.iter().map(|Row { policies, work, unit, found, aim }| {
        let aim = aim.map(|aim| format!("{aim} {unit}")).unwrap_or_default();
        let found = if unit.is_empty() { exact(*found) } else { format!("{} {unit}", short(*found)) };
        format!("{policies:>8} {work:<18} {found:>12} {aim:>12}\n")
    });
    head + &lines.collect::<String>()
}
