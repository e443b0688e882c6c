//! The member that the backup is taken from.
use etcd::{Answer, Choice, Client, Credentials, Hash, agree, choose as choose_member, survey};
use jiff::Timestamp;
use model::{chain, result::Failure};

use crate::{config::BackupConfig, run::Run, secrets::etcd_credentials};

/// The chosen member, asked just now.
#[derive(Debug)]
pub struct Source {
    /// The member.
    pub choice: Choice,
    /// When it was asked, just before the stream begins.
    pub time: Timestamp,
}

/// Asks every endpoint and chooses one.
pub async fn choose(config: &BackupConfig, run: &Run) -> Result<Source, Failure> {
    let credentials = etcd_credentials(&config.place.mounts.etcd_credentials(), &config.endpoints)?;
    let answers = survey(&config.endpoints, credentials.as_ref()).await;
    for (answer, failure) in answers.iter().filter_map(|answer| Some((answer, answer.found.as_ref().err()?)))
    {
        tracing::warn!(endpoint = answer.endpoint, reason = %failure.reason, "{}", failure.message);
    }
    let choice = choose_member(&answers)?;
    agree(&hashes(&answers, credentials.as_ref()).await)?;
    let Choice { endpoint, member, suspect } = &choice;
    let position = &member.position;
    tracing::info!(
        endpoint,
        version = member.version,
        revision = position.revision,
        ?suspect,
        "etcd is chosen"
    );
    Ok(Source { choice, time: run.now() })
}

/// Hashes of all members at the oldest of their revisions, where there are several.
///
/// One that cannot tell in time is left out: comparing is a chance to notice
/// damage, not a condition of a backup.
async fn hashes(answers: &[Answer], credentials: Option<&Credentials>) -> Vec<(String, Hash)> {
    let members: Vec<_> =
        answers.iter().filter_map(|answer| Some((&answer.endpoint, answer.found.as_ref().ok()?))).collect();
    let Some(revision) = members.iter().map(|(_, member)| member.position.revision).min() else {
        return Vec::new();
    };
    let mut hashes = Vec::new();
    // One member alone has nothing to be compared with.
    for (endpoint, _) in members.iter().filter(|_| members.len() > 1) {
        let asked = async { Client::connect(endpoint, credentials).await?.hash(revision).await };
        match asked.await {
            Ok(hash) => hashes.push(((*endpoint).clone(), hash)),
            Err(error) => tracing::warn!(endpoint, error = chain(&error), "its hash is not compared"),
        }
    }
    hashes
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use model::{BucketLookup, Store};

    use crate::config::{BackupConfig, Mounts, Place};

    /// A policy without certificates.
    pub fn config() -> BackupConfig {
        let store = Store {
            url: "http://127.0.0.1:9000".to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            region: "us-east-1".to_owned(),
            lookup: BucketLookup::Auto,
        };
        BackupConfig {
            place: Place { store, ca_file: None, mounts: Mounts::new("/".into()) },
            pinned: "ab".repeat(32).parse().expect("an id"),
            cluster_uid: "11111111-2222-3333-4444-555555555555".to_owned(),
            host: "cluster".to_owned(),
            node: "control-1".to_owned(),
            policy: "kubedr-system/test-backup".to_owned(),
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            certs_dir: None,
            extra_host_paths: Vec::new(),
            max_rate: None,
            deadline: Duration::from_hours(1),
        }
    }
}
