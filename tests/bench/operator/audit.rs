//! What the operator asks the API server for, by the API server's own word.
use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use api::names::OPERATOR_ACCOUNT;
use kubedr_tests::{
    Cluster,
    rights::{Deed, deed_in},
};

use super::{DEADLINE, INTERVAL};

/// The end of the audit log, as it grows. The API server writes a line before it answers.
pub struct AuditLog {
    log: BufReader<File>,
    /// A line that is not whole yet.
    half: String,
}

impl AuditLog {
    /// What is written from now on.
    pub fn from_now_on(cluster: &Cluster) -> Result<Self> {
        // Before anybody asked for anything there is no file.
        let log = File::options().read(true).append(true).create(true).open(cluster.file("log/audit.log")?);
        let mut log = log.context("no audit log")?;
        log.seek(SeekFrom::End(0)).context("failed to find the end of the audit log")?;
        Ok(Self { log: BufReader::new(log), half: String::new() })
    }

    /// What the operator asked for since the last time.
    pub fn news(&mut self) -> Result<Vec<Deed>> {
        let mut news = Vec::new();
        loop {
            self.log.read_line(&mut self.half).context("failed to read the audit log")?;
            if !self.half.ends_with('\n') {
                return Ok(news);
            }
            news.extend(deed_in(&self.half, OPERATOR_ACCOUNT));
            self.half.clear();
        }
    }

    /// Waits until the operator has written so many `CronJob`s, and says since when it has.
    pub async fn cronjobs(&mut self, wanted: u64) -> Result<Instant> {
        let (begun, mut made) = (Instant::now(), BTreeSet::new());
        while (made.len() as u64) < wanted {
            ensure!(begun.elapsed() < DEADLINE, "{} of {wanted} CronJobs were made", made.len());
            tokio::time::sleep(INTERVAL).await;
            let news = self.news()?.into_iter();
            made.extend(
                news.filter(|deed| deed.resource == "cronjobs" && is_write(deed))
                    .filter_map(|deed| deed.name),
            );
        }
        Ok(Instant::now())
    }
}

/// Whether something is written that is not the lease, which a leader renews as long as it lives.
pub fn is_write(deed: &Deed) -> bool {
    !["get", "list", "watch"].contains(&deed.verb.as_str()) && deed.resource != "leases"
}
