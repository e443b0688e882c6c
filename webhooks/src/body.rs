//! Bodies: as large as the API server's may be, and no more of them at once than memory has room for.
//!
//! Any pod of the cluster may reach the port, and the process behind it has backups to watch.
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures::StreamExt;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::review::{Head, LONGEST_HEAD, Malformed};

/// Largest body: an update carries its object twice, and the API server takes no object above 3 MiB.
pub const MOST: usize = 7 << 20;
/// How long a body may take to come, so that who asks still hears that it did not: nobody does after the seconds for
/// which `config/webhook` has the API server wait.
pub const LONGEST: Duration = Duration::from_secs(1);
/// As much of each body takes none of the room that all have together.
const SMALL: usize = 64 << 10;
/// How much there may be of all others at once.
const ROOM: usize = 4 * MOST;

/// Room for what is long.
#[derive(Debug)]
pub struct Room(Semaphore);

/// A body, and the room that it takes.
#[derive(Debug, Default)]
pub struct Read<'a> {
    /// The body.
    pub bytes: Vec<u8>,
    room: Option<SemaphorePermit<'a>>,
}

/// A body that did not come, or not whole.
#[derive(Debug)]
pub struct Unread {
    /// Why.
    pub why: Malformed,
    /// What it began with.
    pub head: Head,
}

impl<'a> Read<'a> {
    fn take(&mut self, more: SemaphorePermit<'a>) {
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(ROOM))
    }
}

impl Room {
    /// Reads a body to its end.
    pub async fn read(&self, body: Body) -> Result<Read<'_>, Unread> {
        let mut read = Read::default();
        let collected = timeout(LONGEST, self.collect(body, &mut read)).await;
        match collected.unwrap_or(Err(Malformed::TooSlow(LONGEST))) {
            Ok(()) => Ok(read),
            Err(why) => Err(Unread { why, head: Head::of(&read.bytes) }),
        }
    }

    async fn collect<'a>(&'a self, body: Body, read: &mut Read<'a>) -> Result<(), Malformed> {
        let is_too_large = body.size_hint().lower() > MOST as u64;
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            self.add(read, &piece.map_err(Malformed::Broken)?).await?;
            if is_too_large && read.bytes.len() >= LONGEST_HEAD {
                return Err(Malformed::TooLarge { most: MOST });
            }
        }
        Ok(())
    }

    /// Only what has come takes room: who announces much and sends nothing is in nobody's way.
    async fn add<'a>(&'a self, read: &mut Read<'a>, piece: &Bytes) -> Result<(), Malformed> {
        let small = SMALL.saturating_sub(read.bytes.len()).min(piece.len());
        let (small, more) = piece.split_at(small);
        read.bytes.extend_from_slice(small);
        let bytes = read.bytes.len() + more.len();
        if bytes > MOST {
            return Err(Malformed::TooLarge { most: MOST });
        }
        // Room comes free in time: nobody closes the semaphore, and no piece is larger than a body may be.
        if let Ok(room) = self.0.acquire_many(u32::try_from(more.len()).unwrap_or(u32::MAX)).await {
            read.take(room);
        }
        read.bytes.extend_from_slice(more);
        Ok(())
    }
}
