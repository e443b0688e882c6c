//! The member that the backup is taken from.
use etcd::{Choice, agree, choose as choose_member, hashes, survey};
use jiff::Timestamp;
use model::result::Failure;

use crate::{config::BackupConfig, run::Run};

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
    let credentials = config.place.secrets.etcd_credentials(&config.endpoints)?;
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

#[cfg(test)]
pub(super) mod tests {
    use model::{BucketLookup, Store};

    use crate::{
        config::{BackupConfig, Mounts, Place},
        secrets::tests::secrets,
    };

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
            place: Place { store, ca_file: None, mounts: Mounts::new("/".into()), secrets: secrets() },
            pinned: Some("ab".repeat(32).parse().expect("an id")),
            cluster_uid: "11111111-2222-3333-4444-555555555555".to_owned(),
            host: "cluster".to_owned(),
            node: "control-1".to_owned(),
            job: None,
            policy: "kubedr-system/test-backup".to_owned(),
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            certs_dir: None,
            extra_host_paths: Vec::new(),
            max_rate: None,
            shrink_guard: 30,
            accept_shrink: None,
            must_continue: false,
        }
    }
}
