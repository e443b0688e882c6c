//! Puts the copies into etcd, many at a time.
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt};

use super::{Etcd, Template};

/// Copies in one transaction: far below what etcd takes, in number and in bytes.
const TOGETHER: u64 = 50;
/// Transactions on their way at once: etcd writes them together.
const AT_ONCE: usize = 8;
/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(3);

/// Stores the copies of these numbers, and returns how many bytes their values have.
///
/// `report` hears every few seconds how many of them are stored, of how many, since when.
pub async fn fill(
    etcd: &Etcd,
    templates: &[Template],
    numbers: std::ops::Range<u64>,
    report: impl Fn(u64, u64, Duration),
) -> Result<u64> {
    let (begin, done, bytes) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let (first, end) = (numbers.start, numbers.end);
    let put = |start: u64| {
        let numbers = start..end.min(start + TOGETHER);
        let count = numbers.end - numbers.start;
        let entries: Vec<_> = numbers.map(|number| entry(templates, number)).collect();
        let size: usize = entries.iter().map(|(_, value)| value.len()).sum();
        let (mut etcd, done, bytes) = (etcd.clone(), &done, &bytes);
        async move {
            etcd.put_all(entries).await?;
            bytes.fetch_add(size as u64, Ordering::Relaxed);
            done.fetch_add(count, Ordering::Relaxed);
            anyhow::Ok(())
        }
    };
    let steps = (first..end).step_by(usize::try_from(TOGETHER).unwrap_or(usize::MAX));
    let puts = futures::stream::iter(steps).map(put).buffer_unordered(AT_ONCE);
    let mut all = std::pin::pin!(puts.try_collect::<()>());
    loop {
        match tokio::time::timeout(INTERVAL, &mut all).await {
            Ok(ended) => return ended.map(|()| bytes.load(Ordering::Relaxed)),
            Err(_elapsed) => report(done.load(Ordering::Relaxed), end - first, begin.elapsed()),
        }
    }
}

fn entry(templates: &[Template], number: u64) -> (String, Vec<u8>) {
    let template = &templates[which(templates, number)];
    (template.key(number), template.value(number))
}

/// Which template a copy is of: the kinds are mixed, as time mixes them in a cluster.
pub fn which(templates: &[Template], number: u64) -> usize {
    // 37 and 100 have no common divisor, so each hundred has every place once.
    let place = number * 37 % 100;
    let mut end = 0;
    let found = templates.iter().position(|template| {
        end += template.share;
        place < end
    });
    found.unwrap_or_default()
}

/// The last copy that is of a template, among so many.
pub fn last_of(templates: &[Template], index: usize, objects: u64) -> Option<u64> {
    (0..objects).rev().take(100).find(|number| which(templates, *number) == index)
}
