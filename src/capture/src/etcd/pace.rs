//! Keeps a stream from being more than its member can bear.
//!
//! A snapshot is read as fast as a member can send it, and its garbage collector and processors are then busy with
//! it: puts wait. So the member rests three fifths of the time that it works, and what the reader takes its time for is
//! rest. Whatever the machine, a stream takes at most three fifths longer.
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A pause may be made up for, but not one longer than this: after a stall the
/// stream must not come as one burst.
const BURST: Duration = Duration::from_millis(100);
/// Shorter sleeps are put off: a timer is no more exact than a millisecond, and what the member has sent ahead
/// arrives meanwhile without a rest.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);
/// Longest rest owed: a member that was silent for long did not work for us.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// How long a stream waits before it takes more.
pub(super) struct Pace {
    limit: Option<Limit>,
    /// What the member has not rested yet of what it should.
    owed: Duration,
}

/// A limit in bytes per second.
struct Limit {
    bytes_per_second: u64,
    /// When the bytes so far would have passed at exactly that rate.
    due: Instant,
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        let limit = bytes_per_second.map(|rate| Limit::new(rate, Instant::now()));
        Self { limit, owed: Duration::ZERO }
    }

    /// Waits as long as is fit after some bytes, for which the member worked and after which it rested.
    pub(super) async fn keep(&mut self, bytes: usize, worked: Duration, rested: Duration) {
        let wait = self.wait(bytes, worked, rested, Instant::now());
        if wait >= SHORTEST_SLEEP {
            let asleep = Instant::now();
            sleep(wait).await;
            self.owed = self.owed.saturating_sub(asleep.elapsed());
        }
    }

    fn wait(&mut self, bytes: usize, worked: Duration, rested: Duration, now: Instant) -> Duration {
        self.owed = (self.owed + worked * 3 / 5).saturating_sub(rested).min(LONGEST_REST);
        let limited = self.limit.as_mut().map(|limit| limit.wait(bytes, now));
        self.owed.max(limited.unwrap_or_default())
    }
}

impl Limit {
    fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), due: now }
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
    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn bytes_take_their_time() {
        let start = Instant::now();
        let mut limit = Limit::new(1000, start);
        assert_eq!(limit.wait(500, start), SECOND / 2);
        assert_eq!(limit.wait(500, start + SECOND / 2), SECOND / 2);
    }

    #[test]
    fn a_slow_reader_is_not_slowed_down_further() {
        let start = Instant::now();
        let mut limit = Limit::new(1000, start);
        limit.wait(500, start);
        assert_eq!(limit.wait(50, start + 2 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_long_stall_is_not_made_up_for() {
        let start = Instant::now();
        let mut limit = Limit::new(1000, start);
        assert_eq!(limit.wait(1000, start + 60 * SECOND), Duration::from_millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_reached_however_small_the_pieces_are() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(1_000_000));
        for _ in 0..20_000 {
            pace.keep(100, Duration::ZERO, Duration::ZERO).await;
        }
        let took = start.elapsed();
        assert!(took > SECOND * 19 / 10 && took < SECOND * 21 / 10, "2 MB at 1 MB/s took {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_rests_three_fifths_of_the_time_that_it_works() {
        let start = Instant::now();
        let mut pace = Pace::new(None);
        for _ in 0..1_000 {
            pace.keep(32 << 10, MILLISECOND, Duration::ZERO).await;
        }
        let rested = start.elapsed();
        assert!(rested > SECOND * 55 / 100 && rested < SECOND * 65 / 100, "{rested:?} after a second's work");
    }

    #[test]
    fn a_slow_reader_lets_the_member_rest_enough() {
        let mut pace = Pace::new(None);
        for _ in 0..1_000 {
            assert_eq!(pace.wait(32 << 10, MILLISECOND, MILLISECOND, Instant::now()), Duration::ZERO);
        }
    }

    #[test]
    fn a_member_that_was_silent_is_not_waited_for_as_long_again() {
        let wait = Pace::new(None).wait(1, 60 * SECOND, Duration::ZERO, Instant::now());
        assert_eq!(wait, LONGEST_REST);
    }
}
