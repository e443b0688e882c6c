//! `cargo xtask bench backup`: `agent backup` beside `etcdctl snapshot save` and `restic backup`.
//!
//! ```text
//! etcd of its own, filled ─▶ pairs: ours, theirs, 1 % changed, ours again, theirs again ─▶ rows
//!       ▲ 1,000 puts a second all the time
//! ```
mod member;
mod pod;
pub mod putter;
mod repository;

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use api::MetadataBackupPolicy;
use k8s_openapi::api::{batch::v1::CronJob, core::v1::Pod};
use kubedr_tests::{
    Bucket, Installation,
    load::{self, Etcd, Template},
    stopwatch::Lap,
    until,
};
use member::Member;
use pod::Side;
use putter::{Putter, was_given_up};
use serde_json::json;

use crate::{Request, both, mebibytes, report::Row, say};

/// How long etcd is watched while nobody backs it up.
const IDLE: Duration = Duration::from_secs(6);
/// How long etcd is left alone after it was changed.
const SETTLING: Duration = Duration::from_secs(5);
/// How long the puts go on before a run begins.
const WARM_UP: Duration = Duration::from_secs(1);

/// What one run took.
struct Run {
    lap: Lap,
    /// 99th percentile of a put during it, milliseconds.
    put_p99: f64,
    /// Bytes that the repository grew by.
    added: u64,
}

/// A first backup and, in some pairs, a second one after a change.
struct Runs {
    first: Run,
    second: Option<Run>,
}

/// Measures each size, and returns the rows.
pub async fn run(installation: &Installation, request: &Request) -> Result<Vec<Row>> {
    let source = installation.cluster.etcd(&installation.cluster.etcd_endpoint).await?;
    let templates = load::read_all(&installation.client, Etcd::new(source)).await?;
    let mut rows = Vec::new();
    for objects in &request.objects {
        let member = Member::start(installation).await?;
        let bench = Bench::new(installation, &templates, &member, *objects).await?;
        let pairs = bench.pairs(request.pairs, request.second_pairs).await?;
        rows.extend(bench.rows(&pairs)?);
        member.remove().await?;
    }
    Ok(rows)
}

/// Everything that is the same for all pairs of one size.
struct Bench<'a> {
    installation: &'a Installation,
    templates: &'a [Template],
    member: &'a Member,
    etcd: Etcd,
    objects: u64,
    ours: (Side, Bucket),
    theirs: (Side, Bucket),
}

impl<'a> Bench<'a> {
    async fn new(
        installation: &'a Installation,
        templates: &'a [Template],
        member: &'a Member,
        objects: u64,
    ) -> Result<Self> {
        let etcd = member.client(installation).await?;
        say(&format!("filling etcd with {objects} objects"));
        load::fill(&etcd, templates, 0..objects, |done, all, _| say(&format!("  {done} of {all}"))).await?;
        settle(&etcd).await?;
        let cronjob = cronjob(installation, &member.endpoint).await?;
        // The Secret with the keys is the same for both.
        let password = installation.bucket.password.clone();
        let theirs = Bucket { password, ..installation.cluster.bucket("bench-theirs") };
        theirs.clear()?;
        theirs.restic().args(["init", "--quiet"]).succeed().await?;
        Ok(Self {
            installation,
            templates,
            member,
            etcd,
            objects,
            ours: (Side::ours(&cronjob)?, installation.bucket.clone()),
            theirs: (Side::theirs(&cronjob, &theirs, &member.endpoint)?, theirs),
        })
    }

    /// So many pairs, the first of them with a second backup.
    async fn pairs(&self, count: usize, with_second: usize) -> Result<Vec<(Runs, Runs)>> {
        pod::remove(&self.installation.api::<Pod>()).await?;
        say("watching puts while nothing else happens");
        let idle = self.idle().await?;
        say(&format!("database of {}, p99 of a put while nothing else happens: {idle:.1} ms", self.size()?));
        let mut pairs = Vec::new();
        // The first pair fills the page cache and is not counted.
        for number in 0..=count {
            let pair = self.pair(number, (1..=with_second).contains(&number)).await?;
            let what = if number == 0 { "warm-up".to_owned() } else { format!("pair {number} of {count}") };
            say(&format!("{what}: {} | {}", told(&pair.0), told(&pair.1)));
            pairs.extend((number > 0).then_some(pair));
        }
        Ok(pairs)
    }

    /// Both sides, who goes first in turn.
    async fn pair(&self, number: usize, has_second: bool) -> Result<(Runs, Runs)> {
        let is_ours_first = number.is_multiple_of(2);
        for (_, bucket) in [&self.ours, &self.theirs] {
            repository::empty(bucket)?;
        }
        let first = self.both(is_ours_first).await?;
        let second = if has_second {
            self.change(u64::try_from(number)?).await?;
            Some(self.both(is_ours_first).await?)
        } else {
            None
        };
        settle(&self.etcd).await?;
        let (ours, theirs) = second.unzip();
        Ok((Runs { first: first.0, second: ours }, Runs { first: first.1, second: theirs }))
    }

    async fn both(&self, is_ours_first: bool) -> Result<(Run, Run)> {
        both(is_ours_first, Box::pin(self.one(&self.ours)), Box::pin(self.one(&self.theirs))).await
    }

    async fn one(&self, (side, bucket): &(Side, Bucket)) -> Result<Run> {
        let before = repository::size(bucket)?;
        let putter = Putter::start(&self.member.endpoint)?;
        tokio::time::sleep(WARM_UP).await;
        let lap = side.run(self.installation).await?;
        let put_p99 = putter.stop().await?.p99(lap.begin, Duration::from_secs_f64(lap.wall))?;
        ensure!(
            lap.oom_kills == 0,
            "{}: {} processes were killed for want of memory",
            side.name,
            lap.oom_kills
        );
        Ok(Run { lap, put_p99, added: repository::size(bucket)? - before })
    }

    async fn idle(&self) -> Result<f64> {
        let putter = Putter::start(&self.member.endpoint)?;
        tokio::time::sleep(WARM_UP).await;
        let begin = SystemTime::now();
        tokio::time::sleep(IDLE).await;
        putter.stop().await?.p99(begin, IDLE)
    }

    /// Changes every hundredth object, each time others.
    async fn change(&self, number: u64) -> Result<()> {
        let mut etcd = self.etcd.clone();
        for object in (number % 100..self.objects).step_by(100) {
            let template = &self.templates[load::which(self.templates, object)];
            let (key, changed) = (template.key(object), template.changed(object, number + 1));
            until("etcd to take a change", async || match etcd.put(&key, changed.clone()).await {
                Err(error) if was_given_up(&error) => Ok(Err(format!("{error:#}"))),
                put => put.map(Ok),
            })
            .await?;
        }
        Ok(())
    }

    fn size(&self) -> Result<String> {
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        Ok(format!("{:.1} GB", self.member.size()? as f64 / 1e9))
    }

    fn rows(&self, pairs: &[(Runs, Runs)]) -> Result<Vec<Row>> {
        let size = self.size()?;
        let row = |work, unit, figure: fn(&Runs) -> Option<f64>| {
            let both = pairs.iter().filter_map(|(ours, theirs)| figure(ours).zip(figure(theirs)));
            Row::of(&size, work, unit, &both.collect::<Vec<_>>())
        };
        let mut rows = vec![
            row("wall", "s", |runs| Some(runs.first.lap.wall))?,
            row("cpu", "s", |runs| Some(runs.first.lap.cpu))?,
            row("put p99", "ms", |runs| Some(runs.first.put_p99))?,
            row("node bytes", "MiB", |runs| Some(mebibytes(runs.first.lap.written)))?,
            row("agent memory", "MiB", |runs| Some(mebibytes(runs.first.lap.memory_but_of("restic"))))?,
            row("all memory", "MiB", |runs| Some(mebibytes(runs.first.lap.all_memory)))?,
            row("total_rss", "MiB", |runs| Some(mebibytes(runs.first.lap.total_rss)))?,
        ];
        if pairs.iter().any(|(ours, _)| ours.second.is_some()) {
            rows.push(row("second wall", "s", |runs| Some(runs.second.as_ref()?.lap.wall))?);
            rows.push(row("second bytes", "MiB", |runs| Some(mebibytes(runs.second.as_ref()?.added)))?);
        }
        Ok(rows)
    }
}

/// Installs a policy for this etcd, and returns the CronJob that the operator makes for it.
async fn cronjob(installation: &Installation, endpoint: &str) -> Result<CronJob> {
    let policy = installation.ready_policy(&json!({ "etcdEndpoint": endpoint })).await;
    let policy: MetadataBackupPolicy = policy?;
    let name = api::names::backup_cronjob(&policy.metadata.name.context("a policy without a name")?);
    until("the CronJob to be of this etcd", async || {
        let cronjob = installation.api::<CronJob>().get(&name).await.context("failed to read the CronJob")?;
        let is_of_it = serde_json::to_string(&cronjob)?.contains(endpoint);
        Ok(if is_of_it { Ok(cronjob) } else { Err(cronjob.spec) })
    })
    .await
}

/// Waits until nothing is left to do of what was done to etcd: on its disk, and on the host behind it.
async fn settle(etcd: &Etcd) -> Result<()> {
    etcd.clone().compact().await?;
    nix::unistd::sync();
    tokio::time::sleep(SETTLING).await;
    Ok(())
}

fn told(runs: &Runs) -> String {
    let Runs { first: Run { lap, put_p99, added }, second } = runs;
    let second = second
        .as_ref()
        .map(|second| format!(", then {:.1} s + {:.1} MiB", second.lap.wall, mebibytes(second.added)));
    let memory = lap.memory.iter().map(|(name, bytes)| format!("{name} {:.0}", mebibytes(*bytes)));
    format!(
        "{:.1} s, cpu {:.1} s, p99 {put_p99:.0} ms, written {:.0} MiB, stored {:.0} MiB, MiB of {}{}",
        lap.wall,
        lap.cpu,
        mebibytes(lap.written),
        mebibytes(*added),
        memory.collect::<Vec<_>>().join(" "),
        second.unwrap_or_default(),
    )
}
