//! What a process takes while it is asked, as the kernel counts it.
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kubedr_tests::stopwatch::{anonymous, processor_time};

use super::asker::Span;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// What a process took in a span of time.
pub struct Taken {
    /// Processor time of all its threads, in its own code and in the kernel's.
    pub cpu: Duration,
    /// Most anonymous memory, bytes.
    pub memory: u64,
}

/// Watches a process from the beginning to the end.
pub fn watch(process: u32, Span { begin, end }: Span) -> Result<Taken> {
    sleep(begin.saturating_duration_since(Instant::now()));
    let before = processor_time(process)?;
    let mut memory = 0;
    loop {
        let (_, bytes) = anonymous(process).context("the process has ended")?;
        memory = bytes.max(memory);
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Taken { cpu: processor_time(process)?.saturating_sub(before), memory });
        }
        sleep(left.min(INTERVAL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_all_the_time_takes_about_as_long() {
        let mut busy =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("sh");
        let begin = Instant::now();
        let taken = watch(busy.id(), Span { begin, end: begin + Duration::from_millis(300) });
        busy.kill().and_then(|()| busy.wait()).expect("it ends");
        let taken = taken.expect("it ran");
        // Others may have had the processor.
        assert!(taken.cpu > Duration::from_millis(10) && taken.cpu < Duration::from_secs(2));
        assert!(taken.memory > 0);
    }
}
