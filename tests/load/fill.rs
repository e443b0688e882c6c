//! Puts the copies into etcd, many at a time.
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt};

use crate::{etcd::Etcd, template::Template};

/// Puts on their way at once: etcd writes them together.
const AT_ONCE: usize = 64;
/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(3);

/// Stores copies number 0 to `objects - 1`, and returns how many bytes their values have.
pub async fn fill(
    etcd: &Etcd,
    templates: &[Template],
    objects: u64,
    report: impl Fn(u64, u64, Duration),
) -> Result<u64> {
    let (begin, done, bytes) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let put = |number: u64| {
        let (mut etcd, template) = (etcd.clone(), &templates[which(templates, number)]);
        let (value, counted) = (template.value(number), (&done, &bytes));
        async move {
            counted.1.fetch_add(value.len() as u64, Ordering::Relaxed);
            etcd.put(&template.key(number), value).await?;
            counted.0.fetch_add(1, Ordering::Relaxed);
            anyhow::Ok(())
        }
    };
    let puts = futures::stream::iter(0..objects).map(put).buffer_unordered(AT_ONCE);
    let all = puts.try_collect::<()>();
    let mut all = std::pin::pin!(all);
    loop {
        match tokio::time::timeout(INTERVAL, &mut all).await {
            Ok(ended) => return ended.map(|()| bytes.load(Ordering::Relaxed)),
            Err(_elapsed) => report(done.load(Ordering::Relaxed), objects, begin.elapsed()),
        }
    }
}

/// Which template a copy is of: the kinds are mixed, as time mixes them in a cluster.
fn which(templates: &[Template], number: u64) -> usize {
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
