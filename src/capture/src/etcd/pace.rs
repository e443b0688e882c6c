//! Keeps a stream at a rate.
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A pause may be made up for, but not one longer than this: after a stall the
/// stream must not come as one burst.
const BURST: Duration = Duration::from_millis(100);

/// A limit in bytes per second.
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When the bytes so far would have passed at exactly that rate.
    due: Instant,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), due: Instant::now() }
    }

    /// Waits for as long as these bytes take.
    pub(super) async fn keep(&mut self, bytes: usize) {
        sleep(self.wait(bytes, Instant::now())).await;
    }

    fn wait(&mut self, bytes: usize, now: Instant) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to the byte")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.due = self.due.max(earliest) + takes;
        self.due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn bytes_take_their_time() {
        let mut pace = Pace::new(1000);
        let start = pace.due;
        assert_eq!(pace.wait(500, start), SECOND / 2);
        assert_eq!(pace.wait(500, start + SECOND / 2), SECOND / 2);
    }

    #[test]
    fn a_slow_reader_is_not_slowed_down_further() {
        let mut pace = Pace::new(1000);
        let start = pace.due;
        pace.wait(500, start);
        assert_eq!(pace.wait(50, start + 2 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_long_stall_is_not_made_up_for() {
        let mut pace = Pace::new(1000);
        let later = pace.due + 60 * SECOND;
        assert_eq!(pace.wait(1000, later), Duration::from_millis(900));
    }
}
