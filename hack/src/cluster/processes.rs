//! Finds and ends the processes of a cluster.
//!
//! They are known by their arguments, not by a file of process ids: such a file is missing or wrong after a crash. Only
//! PID 1 of the cluster's namespaces and its parent must be found; everything else dies with it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Name of the hidden subcommand that PID 1 runs.
pub const NODE_COMMAND: &str = "node";

/// PID 1 of the cluster's namespaces, as this machine numbers it.
pub fn node_process(folder: &Path) -> Result<Option<i32>> {
    Ok(belonging_to(folder)?.into_iter().find(|process| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        is_first_of_its_namespace(&status)
    }))
}

/// Kills the cluster's PID 1, and waits until the kernel has ended all that ran below it.
pub fn kill_all(folder: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let processes = belonging_to(folder)?;
    for process in &processes {
        // One that ended meanwhile is no error; one that cannot be killed is seen below.
        let _ = kill(Pid::from_raw(*process), Signal::SIGKILL);
    }
    while processes.iter().any(|process| is_alive(*process)) {
        if Instant::now() > deadline {
            bail!("processes {processes:?} of {} do not end", folder.display());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The first process of the cluster's namespaces, and the `unshare` that waits for it.
fn belonging_to(folder: &Path) -> Result<Vec<i32>> {
    let entries = fs::read_dir("/proc").context("cannot list processes")?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(numbers
        .filter(|process| is_ours(&fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default(), folder))
        .collect())
}

/// Whether a command line ends in `cluster node <folder>`.
fn is_ours(command_line: &[u8], folder: &Path) -> bool {
    let mut last =
        command_line.trim_ascii_end().split(|byte| *byte == 0).rev().skip_while(|word| word.is_empty());
    let words = [last.next(), last.next(), last.next()];
    words == [Some(folder.as_os_str().as_bytes()), Some(NODE_COMMAND.as_bytes()), Some(b"cluster".as_slice())]
}

fn is_first_of_its_namespace(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let numbers: Vec<_> = numbers.split_whitespace().collect();
    numbers.len() > 1 && numbers.last() == Some(&"1")
}

/// A process that has ended may wait for its parent to take notice: that one holds nothing any more.
fn is_alive(process: i32) -> bool {
    !matches!(stat(process, 3).as_deref(), Some("Z" | "X") | None)
}

/// Clock ticks since this machine was started. One is a hundredth of a second (`USER_HZ`), as `/proc/uptime` counts.
pub fn now() -> Option<u64> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    uptime.split_whitespace().next()?.replace('.', "").parse().ok()
}

/// The tick in which a process began; none if it is gone.
pub fn beginning(process: i32) -> Option<u64> {
    stat(process, 22)?.parse().ok()
}

/// A field of what the kernel tells of a process, from the third on, by the number that it has in
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>; none if the process is gone.
fn stat(process: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second, the name in parentheses, may contain anything.
    stat.rsplit(") ").next()?.split(' ').nth(field - 3).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_is_known_by_its_last_arguments() {
        let folder = Path::new("/c/clusters/a");
        assert!(is_ours(b"/t/xtask\0cluster\0node\0/c/clusters/a\0", folder));
        assert!(is_ours(b"unshare\0--pid\0/t/xtask\0cluster\0node\0/c/clusters/a\0", folder));
        assert!(!is_ours(b"/t/xtask\0cluster\0node\0/c/clusters/ab\0", folder));
        assert!(!is_ours(b"vi\0/c/clusters/a\0", folder));
        assert!(!is_ours(b"", folder));
    }

    #[test]
    fn first_process_of_a_namespace_has_two_numbers() {
        assert!(is_first_of_its_namespace("Name:\txtask\nNSpid:\t4711\t1\n"));
        assert!(!is_first_of_its_namespace("NSpid:\t1\n"));
        assert!(!is_first_of_its_namespace("NSpid:\t4711\t12\n"));
    }

    #[test]
    fn a_process_began_before_now_and_not_long_after_the_one_that_started_it() {
        let before = now().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let began = beginning(i32::try_from(child.id()).unwrap()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!((before..=now().unwrap()).contains(&began), "{began} is not after {before}");
        assert!(beginning(i32::try_from(std::process::id()).unwrap()).unwrap() <= before);
    }

    #[test]
    fn this_process_is_alive() {
        assert!(is_alive(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_alive(i32::MAX));
    }
}
