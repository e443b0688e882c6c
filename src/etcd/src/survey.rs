//! Asks every endpoint what it is.
use std::collections::BTreeSet;

use crate::{Answer, Client, Credentials, Error, Member};

/// Asks all endpoints, each on its own, in the order given.
///
/// One that fails is an answer too: only [`choose`](crate::choose) decides
/// whether the others are enough.
pub async fn survey(endpoints: &[String], credentials: Option<&Credentials>) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let found = ask(endpoint, credentials).await.map_err(|error| error.failure());
        answers.push(Answer { endpoint: endpoint.clone(), found });
    }
    answers
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
    match member.leader {
        Some(_) => client.corrupt_members().await.unwrap_or_default(),
        None => BTreeSet::new(),
    }
}
