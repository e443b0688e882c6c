//! BackupLocation: who can read what goes there, what is lost together with it, and who uses it.
use api::{BackupLocation, Endpoint, Scheme};
use model::Violation;

use crate::{Admission, Services, judge::Kind};

/// Policies that are named at once; more would not fit a warning.
const NAMED: usize = 3;

impl Kind for BackupLocation {
    const IS_AWAITED: bool = true;

    fn flaws(&self, _by: &Admission) -> Vec<Violation> {
        self.validate()
    }

    fn doubts(&self, _old: Option<&Self>, by: &Admission) -> Vec<Violation> {
        let Ok(server) = self.spec.url.parse::<Endpoint>() else { return Vec::new() };
        in_clear(&server).into_iter().chain(in_the_cluster(&server, by.services)).collect()
    }

    /// Only a word: stored bytes stay in any case, and the policies say what they lack.
    fn farewell(name: &str, by: &Admission) -> Vec<Violation> {
        let users = by.others.users_of(name);
        let in_use = (!users.is_empty()).then(|| in_use(name, &users));
        in_use.into_iter().collect()
    }
}

fn in_clear(server: &Endpoint) -> Option<Violation> {
    let problem = "is plain http: whoever is between can change what is stored, and see who stores it";
    (server.scheme() == Scheme::Http).then(|| Violation::new("spec.url", problem))
}

fn in_the_cluster(server: &Endpoint, services: Option<Services>) -> Option<Violation> {
    let may_be_a_service = || services.is_some_and(|services| services.may_have(server.host()));
    let is_there = if server.needs_cluster_dns() {
        "is a server of this cluster"
    } else if server.is_node_local() {
        "is the node itself"
    } else if may_be_a_service() {
        "may be a Service of this cluster, by its address"
    } else {
        return None;
    };
    let problem = format!("{is_there}, {:?}: what destroys the cluster may take the backups", server.host());
    Some(Violation::new("spec.url", problem))
}

fn in_use(name: &str, users: &[String]) -> Violation {
    let named = users.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = users.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let problem =
        format!("{name:?} is in use by {named}{more}: no backup is made any more, stored ones stay");
    Violation::new("metadata.name", problem)
}
