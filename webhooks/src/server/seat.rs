//! Who is there, and who has to go where there is no room.
use std::{
    cmp::Reverse,
    collections::HashMap,
    future::Future,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::Bounds;

/// How long one that gives way may take to hear the answer to what it asked.
const PATIENCE: Duration = Duration::from_millis(100);
/// How many may be on their way out at once; who would be one more is cut off.
const LEAVING: usize = 32;

/// What a connection does, and since when; the first to go has the least of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    /// It has asked nothing.
    Nothing(Instant),
    /// It was given an answer and asks nothing now.
    Resting(Instant),
    /// It waits for an answer.
    Asking(Instant),
}

impl Doing {
    /// Until when it may do that.
    fn until(self, bounds: &Bounds) -> Instant {
        match self {
            Self::Nothing(since) => since + bounds.silence,
            Self::Resting(since) => since + bounds.idle,
            Self::Asking(since) => since + bounds.answer,
        }
    }
}

/// The place of one connection.
#[derive(Debug)]
pub struct Seat {
    doing: Mutex<Doing>,
    /// Tells the connection to go.
    pub leave: CancellationToken,
}

impl Seat {
    fn new() -> Self {
        Self { doing: Mutex::new(Doing::Nothing(Instant::now())), leave: CancellationToken::new() }
    }

    /// The answer to one request, for which the connection counts as busy.
    pub async fn during<T>(&self, answer: impl Future<Output = T>) -> T {
        self.set(Doing::Asking(Instant::now()));
        let answer = answer.await;
        self.set(Doing::Resting(Instant::now()));
        answer
    }

    /// Returns when it has done one thing for longer than it may.
    pub async fn overstays(&self, bounds: &Bounds) {
        // What it begins meanwhile may last until then at least.
        let pause = bounds.answer.min(bounds.idle);
        loop {
            let (until, now) = (self.doing().until(bounds), Instant::now());
            if until <= now {
                return;
            }
            sleep_until(until.min(now + pause)).await;
        }
    }

    fn doing(&self) -> Doing {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, doing: Doing) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing;
    }
}

/// All connections.
#[derive(Debug, Default)]
pub struct Seats {
    taken: Vec<Taken>,
    leaving: JoinSet<()>,
}

#[derive(Debug)]
struct Taken {
    from: IpAddr,
    seat: Arc<Seat>,
    task: JoinHandle<()>,
}

impl Seats {
    /// Gives a place to a connection from that address.
    pub fn take<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        from: IpAddr,
        connection: impl FnOnce(Arc<Seat>) -> F,
    ) {
        let seat = Arc::new(Seat::new());
        let task = tokio::spawn(connection(seat.clone()));
        self.taken.push(Taken { from, seat, task });
    }

    /// Tells connections to go until there are fewer than there may be. Nobody waits for them: who comes next may be the
    /// API server.
    pub fn make_room(&mut self, most: usize) {
        self.taken.retain(|taken| !taken.task.is_finished());
        while self.leaving.try_join_next().is_some() {}
        while self.taken.len() >= most {
            let Some(first) = self.first_to_go() else { return };
            let gone = self.taken.swap_remove(first);
            if self.leaving.len() < LEAVING {
                self.leaving.spawn(gone.dismiss(Instant::now() + PATIENCE));
            } else {
                gone.task.abort();
            }
        }
    }

    /// Of the address that has the most connections, so that none keeps the others out, the one that is missed least.
    fn first_to_go(&self) -> Option<usize> {
        let mut counts = HashMap::<IpAddr, usize>::new();
        for taken in &self.taken {
            *counts.entry(taken.from).or_default() += 1;
        }
        let rank = |taken: &Taken| (Reverse(counts[&taken.from]), taken.seat.doing());
        (0..self.taken.len()).min_by_key(|index| rank(&self.taken[*index]))
    }

    /// Tells all to go, waits until they have, and no longer than that.
    pub async fn clear(mut self, farewell: Duration) {
        let until = Instant::now() + farewell;
        for taken in self.taken {
            self.leaving.spawn(taken.dismiss(until));
        }
        self.leaving.join_all().await;
    }
}

impl Taken {
    /// Tells a connection to go, and ends it if it has not gone by then.
    async fn dismiss(mut self, until: Instant) {
        self.seat.leave.cancel();
        if timeout_at(until, &mut self.task).await.is_err() {
            tracing::debug!("a connection did not go by itself");
            self.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::time::sleep;

    use super::*;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const MOMENT: Duration = Duration::from_millis(1);

    /// Adds to a count when its connection has ended, however that came.
    struct Leaver(Arc<AtomicUsize>);

    impl Drop for Leaver {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_way_hears_the_answer_to_what_was_asked() {
        let (mut seats, heard) = (Seats::default(), Arc::new(AtomicUsize::new(0)));
        let told = heard.clone();
        seats.take(FROM, async move |seat: Arc<Seat>| {
            seat.leave.cancelled().await;
            sleep(PATIENCE / 2).await;
            told.fetch_add(1, Ordering::Relaxed);
        });
        seats.make_room(1);
        assert!(seats.taken.is_empty(), "nobody waits for it");
        sleep(PATIENCE).await;
        assert_eq!(heard.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_give_way_is_cut_off_and_no_more_are_on_their_way_than_may_be() {
        let (mut seats, gone) = (Seats::default(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..LEAVING + 8 {
            seats.make_room(1);
            let leaver = Leaver(gone.clone());
            seats.take(FROM, async move |_| {
                let _leaver = leaver;
                pending::<()>().await;
            });
            sleep(MOMENT).await;
        }
        assert_eq!(gone.load(Ordering::Relaxed), 7, "all but those, and the one that is there");
        sleep(PATIENCE).await;
        assert_eq!(gone.load(Ordering::Relaxed), LEAVING + 7);
    }
}
