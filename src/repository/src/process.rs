//! A child process whose output cannot fill the memory and that can be stopped.
//!
//! ```text
//! spawn ─▶ stdout: wanted lines ─┬─▶ Ended
//!      └─▶ stderr: last words  ──┘
//! stop ─▶ SIGINT ─▶ 30 s ─▶ SIGKILL to the process group
//! ```
use std::{
    collections::VecDeque,
    io,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

use model::Reason;
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    sync::watch,
};
use zeroize::Zeroizing;

/// Becomes a reason when the child is to stop; the failure then has that reason.
pub type Stop = watch::Receiver<Option<Reason>>;

/// Time for a child to end by itself after SIGINT: restic removes its lock.
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// How much of the standard error's end is kept, bytes.
const LAST_WORDS: usize = 8 << 10;

/// Longest line of the standard error that is logged, characters.
const LONGEST_LOGGED: usize = 500;

/// What is kept of the standard output.
#[derive(Clone, Copy)]
pub(crate) struct Keep {
    /// Which lines.
    pub(crate) wanted: fn(&[u8]) -> bool,
    /// Is told each line when it comes, wanted or not.
    pub(crate) hear: fn(&[u8]),
    /// Longest line, bytes.
    pub(crate) line: usize,
    /// All kept lines together, bytes.
    pub(crate) total: usize,
}

/// A child that ended.
pub(crate) struct Ended {
    /// How.
    pub(crate) status: ExitStatus,
    /// The wanted lines, each with a newline. It may be a key.
    pub(crate) output: Zeroizing<Vec<u8>>,
    /// Whether there was more output than may be kept.
    pub(crate) overflowed: bool,
    /// The end of its standard error.
    pub(crate) last_words: String,
    /// Why it was stopped, if it was.
    pub(crate) stopped: Option<Reason>,
    /// Why it was given up for what it said, if it was.
    pub(crate) given_up: Option<Reason>,
}

/// Runs a child to its end, or stops it.
///
/// `hear` is told each line of the standard error; where it answers with a
/// reason, the child tries in vain and is given up.
///
/// A caller that drops the future before has the child interrupted too, but
/// does not wait for it.
pub(crate) async fn run(
    mut command: Command,
    keep: Keep,
    stop: Option<Stop>,
    hear: impl Fn(&str) -> Option<Reason>,
) -> io::Result<Ended> {
    // A group of its own: what it starts dies with it, and a Ctrl-C meant for
    // us does not reach it twice.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let running = Running::new(child.id());
    let stdout = child.stdout.take().expect("piped above");
    let stderr = child.stderr.take().expect("piped above");
    let wait = async {
        let status = child.wait().await;
        running.ended();
        status
    };
    let (hopeless, in_vain) = watch::channel(None);
    let tell = |line: &str| {
        if let Some(reason) = hear(line) {
            hopeless.send_replace(Some(reason));
        }
    };
    let all = async { tokio::join!(wait, read_lines(stdout, keep), read_last_words(stderr, tell)) };
    tokio::pin!(all);

    let (mut stopped, mut given_up) = (None, None);
    let early = tokio::select! {
        all = &mut all => Some(all),
        reason = told_to_stop(stop) => { stopped = Some(reason); None }
        reason = told_to_stop(Some(in_vain)) => { given_up = Some(reason); None }
    };
    let (status, lines, last_words) = match early {
        Some(all) => all,
        None => end(&running, all).await,
    };
    let Lines { kept, overflowed, .. } = lines?;
    Ok(Ended { status: status?, output: kept, overflowed, last_words: last_words?, stopped, given_up })
}

/// Interrupts a child, and kills it where it does not end by itself.
async fn end<T>(running: &Running, mut all: std::pin::Pin<&mut impl Future<Output = T>>) -> T {
    running.interrupt();
    if let Ok(all) = tokio::time::timeout(GRACE, &mut all).await {
        return all;
    }
    running.kill();
    all.await
}

pub(crate) async fn told_to_stop(stop: Option<Stop>) -> Reason {
    if let Some(mut stop) = stop
        && let Ok(reason) = stop.wait_for(Option::is_some).await
        && let Some(reason) = *reason
    {
        return reason;
    }
    // Nobody can tell any more.
    std::future::pending().await
}

/// The process id, as long as it is certain that it is still the child's.
struct Running(AtomicI32);

const ENDED: i32 = 0;

impl Running {
    fn new(id: Option<u32>) -> Self {
        Self(AtomicI32::new(id.and_then(|id| i32::try_from(id).ok()).unwrap_or(ENDED)))
    }

    fn ended(&self) {
        self.0.store(ENDED, Ordering::SeqCst);
    }

    fn id(&self) -> Option<Pid> {
        let id = self.0.load(Ordering::SeqCst);
        // Zero and below would mean whole groups to kill(2).
        (id > ENDED).then(|| Pid::from_raw(id))
    }

    /// Asks it alone: restic ends the program that it reads from by itself.
    fn interrupt(&self) {
        // It may have ended just now, which is what was wanted.
        let _ = self.id().map(|id| kill(id, Signal::SIGINT));
    }

    fn kill(&self) {
        let _ = self.id().map(|id| killpg(id, Signal::SIGKILL));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.interrupt();
    }
}

/// Collects the wanted lines of a stream.
struct Lines {
    keep: Keep,
    line: Zeroizing<Vec<u8>>,
    kept: Zeroizing<Vec<u8>>,
    overflowed: bool,
}

impl Lines {
    fn new(keep: Keep) -> Self {
        Self { keep, line: Zeroizing::default(), kept: Zeroizing::default(), overflowed: false }
    }

    fn push(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() > self.keep.line {
                self.overflowed = true;
                self.line.clear();
                continue;
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        (self.keep.hear)(&self.line);
        if (self.keep.wanted)(&self.line) {
            if self.kept.len() + self.line.len() > self.keep.total {
                self.overflowed = true;
            } else {
                self.kept.extend_from_slice(&self.line);
            }
        }
        self.line.clear();
    }
}

async fn read_lines(mut stream: impl AsyncRead + Unpin, keep: Keep) -> io::Result<Lines> {
    let mut lines = Lines::new(keep);
    let mut chunk = Zeroizing::new(vec![0; 16 << 10]);
    loop {
        // To the end even after an overflow: a child that cannot write hangs.
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            lines.end_line();
            return Ok(lines);
        }
        lines.push(&chunk[..length]);
    }
}

/// Keeps the end of a stream, and tells each line of it when it comes.
async fn read_last_words(mut stream: impl AsyncRead + Unpin, hear: impl Fn(&str)) -> io::Result<String> {
    let mut last = VecDeque::new();
    let mut line = Vec::new();
    let mut chunk = vec![0; 4 << 10];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            break;
        }
        last.extend(&chunk[..length]);
        last.drain(..last.len().saturating_sub(LAST_WORDS));
        for piece in chunk[..length].split_inclusive(|byte| *byte == b'\n') {
            let room = (4 * LONGEST_LOGGED).saturating_sub(line.len());
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let text: String =
                    String::from_utf8_lossy(&line).trim_end().chars().take(LONGEST_LOGGED).collect();
                hear(&text);
                line.clear();
            }
        }
    }
    Ok(String::from_utf8_lossy(last.make_contiguous()).into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const KEEP: Keep = Keep { wanted: |line| line.starts_with(b"k"), hear: |_| (), line: 10, total: 20 };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    async fn runs(script: &str, stop: Option<Stop>) -> Ended {
        let hear = |line: &str| (line == "in vain").then_some(Reason::QuotaExceeded);
        run(shell(script), KEEP, stop, hear).await.expect("a shell")
    }

    #[test]
    fn wanted_lines_are_kept_however_they_are_cut() {
        let text = b"keep1\nno\nk2\nlast";
        for size in 1..text.len() {
            let mut lines = Lines::new(KEEP);
            text.chunks(size).for_each(|chunk| lines.push(chunk));
            lines.end_line();
            assert_eq!((&lines.kept[..], lines.overflowed), (&b"keep1\nk2\n"[..], false), "pieces of {size}");
        }
    }

    #[test]
    fn output_does_not_fill_the_memory() {
        let mut lines = Lines::new(KEEP);
        for _ in 0..1000 {
            lines.push(b"kkkkkkk");
        }
        assert!(lines.overflowed && lines.line.len() <= KEEP.line);
        let mut lines = Lines::new(KEEP);
        for _ in 0..1000 {
            lines.push(b"kkk\n");
        }
        assert!(lines.overflowed && lines.kept.len() <= KEEP.total);
    }

    #[tokio::test]
    async fn the_end_of_what_it_says_is_kept() {
        let ended = runs("echo kept; for i in $(seq 5000); do echo number $i >&2; done; exit 3", None).await;
        assert_eq!((ended.status.code(), &ended.output[..], ended.stopped), (Some(3), &b"kept\n"[..], None));
        assert!(ended.last_words.len() <= LAST_WORDS && ended.last_words.ends_with("number 5000\n"));
    }

    #[tokio::test]
    async fn a_child_that_is_told_to_stop_can_clean_up() {
        let (tell, stop) = watch::channel(None);
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            tell.send(Some(Reason::DeadlineExceeded)).expect("listening");
        };
        let script = "trap 'echo kleaned; exit 130' INT; while :; do sleep 0.05; done";
        let (ended, ()) = tokio::join!(runs(script, Some(stop)), stopping);
        assert_eq!((ended.status.code(), &ended.output[..]), (Some(130), &b"kleaned\n"[..]));
        assert_eq!(ended.stopped, Some(Reason::DeadlineExceeded));
    }

    #[tokio::test]
    async fn a_child_that_tries_in_vain_is_given_up() {
        let ended = runs("trap 'exit 130' INT; echo in vain >&2; while :; do sleep 0.05; done", None).await;
        assert_eq!((ended.stopped, ended.given_up), (None, Some(Reason::QuotaExceeded)));
        assert_eq!(ended.status.code(), Some(130), "it could clean up");
    }

    #[tokio::test]
    async fn a_child_that_does_not_listen_is_killed_with_all_it_started() {
        let (_tell, stop) = watch::channel(Some(Reason::Killed));
        let begun = Instant::now();
        // The one in the background holds the pipes open.
        let ended = runs("trap '' INT; sleep 60 & sleep 60; sleep 60", Some(stop)).await;
        assert_eq!((ended.status.code(), ended.stopped), (None, Some(Reason::Killed)));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn one_that_is_dropped_is_interrupted() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("interrupted");
        let script = format!("trap 'touch {}; exit' INT; while :; do sleep 0.05; done", mark.display());
        let _ = tokio::time::timeout(Duration::from_millis(300), runs(&script, None)).await;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if mark.exists() {
                return;
            }
        }
        panic!("it was not interrupted");
    }
}
