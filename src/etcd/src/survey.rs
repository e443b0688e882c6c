//! Asks every endpoint what it is.
use std::{collections::BTreeSet, time::Duration};

use model::{Reason, chain, result::Failure};
use tokio::{task::JoinSet, time::sleep};

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

/// How often a member is asked what only a quorum can answer.
const TRIES: usize = 2;

/// What an election takes at most, unless nobody can win it: etcd's timeout is a second.
const ELECTION: Duration = Duration::from_secs(2);

/// What a member says of itself, and whether its cluster can still agree on anything.
///
/// A member names the leader that it lost for as long as an election takes, and longer where
/// only the connection hangs; so it is believed only once the cluster has answered through it.
async fn ask(endpoint: &str, credentials: Option<&Credentials>) -> Result<Member, Error> {
    let mut client = Client::connect(endpoint, credentials).await?;
    let mut member = client.status().await?;
    // A learner may not ask.
    for attempt in 0..if member.is_learner { 0 } else { TRIES } {
        if attempt > 0 {
            sleep(ELECTION).await;
            // That it answered once is enough to take it, and it may have noticed meanwhile.
            member = client.status().await.unwrap_or(member);
        }
        match alarms(&mut client, &member).await {
            Alarms::Listed(mut corrupt) => {
                member.corrupt.append(&mut corrupt);
                return Ok(member);
            }
            Alarms::Unknown => return Ok(member),
            Alarms::Unanswered => {}
        }
    }
    let leader = member.leader.filter(|_| member.is_learner);
    Ok(Member { leader, ..member })
}

/// The cluster's list of alarms. A status carries it too, from etcd 3.4 on.
enum Alarms {
    Listed(BTreeSet<u64>),
    /// It cannot be had, and that says nothing of the cluster.
    Unknown,
    /// Nobody answered for the cluster.
    Unanswered,
}

async fn alarms(client: &mut Client, member: &Member) -> Alarms {
    if member.leader.is_none() {
        return Alarms::Unanswered;
    }
    match client.corrupt_members().await {
        Ok(corrupt) => Alarms::Listed(corrupt),
        Err(error) => {
            tracing::warn!(error = chain(&error), "the list of alarms is not known");
            if error.may_be_for_want_of_a_quorum() { Alarms::Unanswered } else { Alarms::Unknown }
        }
    }
}
