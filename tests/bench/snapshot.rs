//! `cargo xtask bench snapshot`: what a snapshot holds, read as it passes, beside `etcdutl snapshot status`.
//!
//! ```text
//! etcd, filled ─▶ one file ─▶ pairs: ours from a pipe's reads, theirs from the file ─▶ rows
//! ```
//! Theirs maps the whole file, which must be on a disk first; ours never needs it there. Both read it out of the page
//! cache here.
use std::{fs::File, io::Read, path::Path};

use anyhow::{Context, Result, ensure};
use kubedr_tests::{
    Cluster, EtcdMember, Program,
    load::{self, Etcd, Template},
    stopwatch::Lap,
};
use snapshot::{Contents, Walk};

use crate::{Request, report::Row, say};

/// Names the file that this very program is to read, when it is started as ours.
pub const FILE: &str = "KUBEDR_BENCH_WALK";
/// Bytes that come at once, as etcd sends them.
const CHUNK: usize = 32 << 10;

/// Measures each size, and returns the rows.
pub async fn run(request: &Request) -> Result<Vec<Row>> {
    let cluster = Cluster::from_environment()?;
    let source = Etcd::new(cluster.etcd(&cluster.etcd_endpoint).await?);
    let templates = load::read_all(&cluster.client().await?, source).await?;
    let mut rows = Vec::new();
    for objects in &request.objects {
        rows.extend(of_size(&templates, *objects, request.pairs).await?);
    }
    Ok(rows)
}

async fn of_size(templates: &[Template], objects: u64, pairs: usize) -> Result<Vec<Row>> {
    let mut member = EtcdMember::start("127.0.0.1").await?;
    say(&format!("filling etcd with {objects} objects"));
    let etcd = member.etcd().await?;
    load::fill(&etcd, templates, 0..objects, |done, all, _| say(&format!("  {done} of {all}"))).await?;
    // What is in its log only comes into the database with this.
    etcd.clone().compact().await?;
    member.stop().await?;
    let file = member.database();
    let contents = walk(&file)?;
    let keys = contents.tally.as_ref().map(|tally| tally.keys);
    ensure!(keys == Some(objects), "{objects} objects were stored, {keys:?} keys are counted");
    let mut laps = Vec::new();
    for number in 1..=pairs {
        let pair = (ours(&file).await?, theirs(&file).await?);
        say(&format!("pair {number} of {pairs}: {:.1} s | {:.1} s", pair.0.wall, pair.1.wall));
        laps.push(pair);
    }
    rows(&file, &laps)
}

async fn ours(file: &Path) -> Result<Lap> {
    let program = std::env::current_exe()?;
    let read = format!("{FILE}={}", file.display());
    measured(&["env", &read, program.to_str().context("a path that is no text")?]).await
}

async fn theirs(file: &Path) -> Result<Lap> {
    let file = file.to_str().context("a path that is no text")?;
    measured(&["etcdutl", "snapshot", "status", file]).await
}

/// Runs a command where nothing else runs, so that all that is seen is its own.
async fn measured(command: &[&str]) -> Result<Lap> {
    let stopwatch = std::env::current_exe()?.with_file_name("stopwatch");
    let alone = Program::new("unshare").args(["--pid", "--fork", "--mount-proc", "--"]).arg(stopwatch);
    let printed = alone.arg("--").args(command).succeed().await?;
    let lap = printed.lines().last().context("the stopwatch says nothing")?;
    serde_json::from_str(lap).context("the stopwatch says something else")
}

fn rows(file: &Path, laps: &[(Lap, Lap)]) -> Result<Vec<Row>> {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let size = format!("{:.1} GB", file.metadata()?.len() as f64 / 1e9);
    let row = |work, unit, figure: fn(&Lap) -> f64| {
        let figures: Vec<_> = laps.iter().map(|(ours, theirs)| (figure(ours), figure(theirs))).collect();
        Row::of(&size, work, unit, &figures)
    };
    Ok(vec![
        row("wall", "s", |lap| lap.wall)?,
        row("cpu", "s", |lap| lap.cpu)?,
        row("memory", "MiB", |lap| crate::mebibytes(lap.all_memory))?,
    ])
}

/// Reads a snapshot as the agent does.
pub fn walk(file: &Path) -> Result<Contents> {
    let mut bytes = File::open(file).with_context(|| format!("no {}", file.display()))?;
    let (mut walk, mut chunk) = (Walk::new(), vec![0; CHUNK]);
    loop {
        match bytes.read(&mut chunk)? {
            0 => return Ok(walk.finish()?),
            read => walk.push(&chunk[..read]),
        }
    }
}
