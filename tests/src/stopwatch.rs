//! What one run of a few programs took, measured beside them in their own pod.
//!
//! ```text
//! stopwatch ─▶ command ─▶ next command ─▶ one line of JSON
//!     └── every 20 ms: anonymous memory of each process, and of the container
//! ```
use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::resource::{UsageWho, getrusage},
    time::ClockId,
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// How often memory is looked at: often enough for peaks, seldom enough to cost under one percent of a core.
const INTERVAL: Duration = Duration::from_millis(20);

/// What the commands took together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lap {
    /// When the first one was started.
    pub begin: SystemTime,
    /// From the first start to the last exit, seconds.
    pub wall: f64,
    /// Processor time of all processes, seconds.
    pub cpu: f64,
    /// What each command took, seconds.
    pub walls: Vec<f64>,
    /// Bytes that were written to file systems of the node and not deleted again before they reached them.
    pub written: u64,
    /// Peak of the anonymous memory of all processes of one name together, bytes.
    pub memory: BTreeMap<String, u64>,
    /// Peak of the anonymous memory of all processes together, bytes.
    pub all_memory: u64,
    /// Peak of what the container's cgroup calls `total_rss`, bytes; 0 where it has none.
    pub total_rss: u64,
    /// Processes of the container that the kernel ended for want of memory.
    pub oom_kills: u64,
}

impl Lap {
    /// Sum of the peaks of all programs but one, bytes.
    pub fn memory_but_of(&self, program: &str) -> u64 {
        self.memory.iter().filter(|(name, _)| *name != program).map(|(_, bytes)| bytes).sum()
    }
}

/// Runs the commands one after the other, up to the first that fails.
pub fn measure(commands: &[Vec<String>]) -> Result<Lap> {
    ensure!(!commands.is_empty(), "no command");
    let is_over = AtomicBool::new(false);
    let written_before = written()?;
    let (begin, started) = (SystemTime::now(), Instant::now());
    let (walls, wall, peaks) = thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&is_over));
        let walls = commands.iter().map(|command| run(command)).collect::<Result<Vec<_>>>();
        let wall = started.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        (walls, wall, sampler.join())
    });
    let peaks = peaks.map_err(|_| anyhow::anyhow!("the sampler panicked"))?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("no usage of children")?;
    let seconds = |time: nix::sys::time::TimeVal| {
        Duration::new(time.tv_sec().unsigned_abs(), u32::try_from(time.tv_usec()).unwrap_or(0) * 1000)
    };
    Ok(Lap {
        begin,
        wall,
        cpu: (seconds(usage.user_time()) + seconds(usage.system_time())).as_secs_f64(),
        walls: walls?,
        written: written()?.saturating_sub(written_before),
        memory: peaks.of,
        all_memory: peaks.all,
        total_rss: peaks.total_rss,
        oom_kills: cgroup_figure(&OOM_KILLS).unwrap_or_default(),
    })
}

fn run(command: &[String]) -> Result<f64> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let started = Instant::now();
    let status = Command::new(program).args(arguments).status();
    let status = status.with_context(|| format!("failed to start {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(started.elapsed().as_secs_f64())
}

#[derive(Default)]
struct Peaks {
    of: BTreeMap<String, u64>,
    all: u64,
    total_rss: u64,
}

fn sample(is_over: &AtomicBool) -> Peaks {
    let mut peaks = Peaks::default();
    let own = std::process::id();
    while !is_over.load(Ordering::Relaxed) {
        let mut now = BTreeMap::<String, u64>::new();
        for (name, bytes) in processes().filter(|id| *id != own).filter_map(anonymous) {
            *now.entry(name).or_default() += bytes;
        }
        peaks.all = peaks.all.max(now.values().sum());
        for (name, bytes) in now {
            let peak = peaks.of.entry(name).or_default();
            *peak = bytes.max(*peak);
        }
        peaks.total_rss = peaks.total_rss.max(cgroup_figure(&TOTAL_RSS).unwrap_or_default());
        thread::sleep(INTERVAL);
    }
    peaks
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Name and anonymous memory of a process; none of one that has just ended.
pub fn anonymous(process: u32) -> Option<(String, u64)> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let kibibytes: u64 = field("RssAnon:")?.strip_suffix(" kB")?.parse().ok()?;
    Some((field("Name:")?.to_owned(), kibibytes << 10))
}

/// Processor time that a process has taken so far, with all its threads, in its own code and in the kernel's. Not as
/// `/proc` tells it, in hundredths of a second.
pub fn processor_time(process: u32) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(process.try_into()?));
    let time = clock.and_then(ClockId::now).context("failed to read the process's clock")?;
    Ok(time.into())
}

/// Bytes that this process and its ended children made the kernel write, as proc(5) counts them.
fn written() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io").context("failed to read /proc/self/io")?;
    let field = |name: &str| figure(&text, name).with_context(|| format!("no {name} in /proc/self/io"));
    // What was deleted while it was still only in memory never reached a disk.
    Ok(field("write_bytes:")?.saturating_sub(field("cancelled_write_bytes:")?))
}

/// A file of the container's cgroup, version 1 or 2, and the name of a line in it.
type Figure = [(&'static str, &'static str); 2];
const TOTAL_RSS: Figure =
    [("/sys/fs/cgroup/memory/memory.stat", "total_rss"), ("/sys/fs/cgroup/memory.stat", "anon")];
const OOM_KILLS: Figure =
    [("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"), ("/sys/fs/cgroup/memory.events", "oom_kill")];

fn cgroup_figure(places: &Figure) -> Option<u64> {
    places.iter().find_map(|(file, name)| figure(&fs::read_to_string(file).ok()?, name))
}

/// The number behind a name, in lines of a name and a number.
fn figure(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (found, number) = line.split_once(' ')?;
        number.parse().ok().filter(|_| found == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_that_of_the_whole_name() {
        let text = "rss 1\ntotal_rss_huge 2\ntotal_rss 3\n";
        assert_eq!(figure(text, "total_rss"), Some(3));
        assert_eq!(figure(text, "anon"), None);
    }

    #[test]
    fn processor_time_is_that_of_one_process_while_it_is_there() {
        let before = processor_time(std::process::id()).expect("this one runs");
        let mut idle = Command::new("sleep").arg("60").spawn().expect("sleep");
        let of_idle = processor_time(idle.id());
        idle.kill().and_then(|()| idle.wait()).expect("it ends");
        assert!(of_idle.expect("it ran") < Duration::from_secs(1));
        assert!(processor_time(idle.id()).is_err(), "it is gone");
        assert!(processor_time(std::process::id()).expect("this one runs") > before);
    }

    #[test]
    fn what_commands_take_is_measured() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file").display().to_string();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let write = words(&["dd", "if=/dev/zero", &format!("of={file}"), "bs=1M", "count=8", "status=none"]);
        let lap = measure(&[write, words(&["sleep", "0.2"])]).expect("both succeed");
        assert!(lap.walls[1] >= 0.2 && lap.wall >= lap.walls[0] + lap.walls[1], "{lap:?}");
        // Some pages may be counted for whoever lets go of them.
        assert!(lap.written >= 7 << 20 && lap.cpu > 0.0, "{lap:?}");
        assert!(lap.all_memory > 0 && lap.memory.contains_key("sleep"), "{lap:?}");
        let failed = measure(&[words(&["false"])]).expect_err("false fails");
        assert_eq!(failed.to_string(), "false ended with exit status: 1");
    }
}
