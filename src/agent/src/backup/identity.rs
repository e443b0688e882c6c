//! What a backup is called.
use aws_lc_rs::rand;
use jiff::Timestamp;
use model::{
    BackupId, Reason,
    lineage::{Belongs, belongs},
    result::Failure,
    tags::{Common, Second, Tags},
};

use super::{history::History, source::Source};
use crate::config::BackupConfig;

/// The names that a backup's snapshots are tagged with.
pub struct Identity {
    /// Ties its two snapshots together.
    pub backup: BackupId,
    /// The history that it belongs to.
    pub lineage: BackupId,
    common: Common,
}

impl Identity {
    /// A new identity, in the lineage that the source continues.
    ///
    /// Of a run that is told to stop at `until`.
    pub fn new(
        history: &History,
        config: &BackupConfig,
        source: &Source,
        until: Timestamp,
    ) -> Result<Self, Failure> {
        let backup = random_id()?;
        let position = &source.choice.member.position;
        let lineage = match belongs(&history.heads(), position) {
            Belongs::To(lineage) => lineage,
            Belongs::First => backup.clone(),
            Belongs::Nowhere(reason) => {
                tracing::warn!(%reason, lineage = %backup, "{} A new lineage begins", reason.meaning());
                backup.clone()
            }
        };
        let common = Common {
            backup: backup.clone(),
            cluster: config.cluster_uid.clone(),
            policy: config.policy.clone(),
            lineage: lineage.clone(),
            job: config.job.clone(),
            until: Some(until),
        };
        Ok(Self { backup, lineage, common })
    }

    /// Tags of the first snapshot, or of the second.
    pub fn tags(&self, second: Option<Second>) -> Vec<String> {
        Tags { common: self.common.clone(), second }.render()
    }
}

fn random_id() -> Result<BackupId, Failure> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| Failure::new(Reason::Bug, "the system gives no random numbers"))?;
    let text = format!("{:016x}", u64::from_be_bytes(bytes));
    Ok(text.parse().expect("16 hexadecimal digits are an id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_backups_have_two_ids() {
        assert_ne!(random_id().expect("random"), random_id().expect("random"));
    }
}
