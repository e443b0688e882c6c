//! Asks every endpoint what it is.
use std::collections::BTreeSet;

use model::{Reason, chain, result::Failure};
use tokio::task::JoinSet;

use crate::{
    Answer, Client, Credentials, Error, Hash, Member,
    choice::comparable,
    probe::{Finding, probe},
};

/// Asks all endpoints at once; the answers come in the order given.
///
/// One that fails is an answer too: only [`choose`](crate::choose) decides
/// whether the others are enough.
pub async fn survey(endpoints: &[String], credentials: Option<&Credentials>) -> Vec<Answer> {
    let asking: Vec<_> = endpoints
        .iter()
        .map(|endpoint| tokio::spawn(answer(endpoint.clone(), credentials.cloned())))
        .collect();
    let mut answers = Vec::with_capacity(endpoints.len());
    for (endpoint, asked) in endpoints.iter().zip(asking) {
        answers.push(asked.await.unwrap_or_else(|error| Answer {
            endpoint: endpoint.clone(),
            found: Err(Failure::new(Reason::Bug, format!("asking {endpoint} failed unexpectedly: {error}"))),
        }));
    }
    answers
}

/// Asks all sound voters at once for their hash at one revision, where there are several.
///
/// One that cannot tell in time is left out: comparing is a chance to notice
/// damage, not a condition of a backup.
pub async fn hashes(answers: &[Answer], credentials: Option<&Credentials>) -> Vec<(String, Hash)> {
    let Some((endpoints, revision)) = comparable(answers) else { return Vec::new() };
    let mut asking = JoinSet::new();
    for endpoint in endpoints {
        asking.spawn(hash(endpoint.to_owned(), credentials.cloned(), revision));
    }
    let mut hashes = Vec::new();
    while let Some(asked) = asking.join_next().await {
        hashes.extend(asked.ok().flatten());
    }
    hashes
}

async fn hash(endpoint: String, credentials: Option<Credentials>, revision: i64) -> Option<(String, Hash)> {
    let asked = async { Client::connect(&endpoint, credentials.as_ref()).await?.hash(revision).await };
    match asked.await {
        Ok(hash) => Some((endpoint, hash)),
        Err(error) => {
            tracing::warn!(endpoint, error = chain(&error), "its hash is not compared");
            None
        }
    }
}

async fn answer(endpoint: String, credentials: Option<Credentials>) -> Answer {
    let found = match ask(&endpoint, credentials.as_ref()).await {
        Ok(member) => Ok(member),
        Err(error) => Err(diagnosed(&error, &endpoint, credentials.as_ref()).await),
    };
    Answer { endpoint, found }
}

/// The failure to report, with a closer look where a connection was just closed.
async fn diagnosed(error: &Error, endpoint: &str, credentials: Option<&Credentials>) -> Failure {
    let failure = error.failure();
    if failure.reason != Reason::EtcdUnreachable || !matches!(error, Error::Call { .. }) {
        return failure;
    }
    let (asked, credentials) = (endpoint.to_owned(), credentials.cloned());
    let probing = tokio::task::spawn_blocking(move || probe(&asked, credentials.as_ref()));
    match probing.await {
        Ok(Some(Finding { reason, said })) => {
            Error::Found { endpoint: endpoint.to_owned(), reason, said }.failure()
        }
        Ok(None) | Err(_) => failure,
    }
}

async fn ask(endpoint: &str, credentials: Option<&Credentials>) -> Result<Member, Error> {
    let mut client = Client::connect(endpoint, credentials).await?;
    let mut member = client.status().await?;
    member.corrupt.append(&mut listed_alarms(&mut client, &member).await);
    Ok(member)
}

/// The cluster's list of alarms, where there is a leader to ask.
///
/// A status carries it too, from etcd 3.4 on; so that the list cannot be had
/// is no reason to do without a backup.
async fn listed_alarms(client: &mut Client, member: &Member) -> BTreeSet<u64> {
    if member.leader.is_none() {
        return BTreeSet::new();
    }
    client.corrupt_members().await.unwrap_or_else(|error| {
        tracing::warn!(error = chain(&error), "the list of alarms is not known");
        BTreeSet::new()
    })
}
