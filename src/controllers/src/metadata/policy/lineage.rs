//! Which history the policy's backups belong to, and whether a person has accepted it.
use api::{conditions::LINEAGE_ACCEPTED, names::annotation};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use model::Reason;
use runtime::conditions::Verdict;

use super::{
    history::{History, Made},
    observe::World,
};

/// Which history the policy's backups belong to.
pub struct Lineage {
    /// The accepted one, where there is one.
    pub accepted: Option<String>,
    /// Whether the newest backup belongs to it.
    pub verdict: Verdict,
}

/// The first history is accepted by itself; each later one by a person only.
///
/// First is one that has no other beside it in its repository: a policy that was made again has lost
/// what it had accepted, but not the backups that accepting another history would remove; and
/// one that was pointed at another repository leaves them where they are.
pub fn lineage(world: &World) -> Lineage {
    let told = world.policy.status.as_ref().and_then(|status| status.lineage.clone());
    let (here, elsewhere): (Vec<Seen>, Vec<Seen>) = seen(world).into_iter().partition(|seen| seen.is_here);
    let by_clock = (here.iter().max_by_key(|seen| seen.made), here.iter().max_by_key(|seen| seen.time));
    let (Some(newest), Some(newest_by_nodes)) = by_clock else {
        let verdict = Verdict::stored(world.conditions(), LINEAGE_ACCEPTED);
        return Lineage { accepted: told, verdict };
    };
    let newest = &newest.lineage;
    let is_told = |seen: &Seen| Some(&seen.lineage) == told.as_ref();
    let is_new_here = told.is_none() || elsewhere.iter().any(is_told) && !here.iter().any(is_told);
    let is_first = is_new_here && here.iter().all(|seen| seen.lineage == *newest);
    let is_allowed = world.policy.annotations().get(annotation::ACCEPT_LINEAGE) == Some(newest);
    let accepted = if is_allowed || is_first { Some(newest.clone()) } else { told };
    // A node's clock that is ahead must not hide that another history has begun.
    let unaccepted =
        [newest, &newest_by_nodes.lineage].into_iter().find(|one| accepted.as_ref() != Some(one));
    let verdict = match unaccepted.filter(|_| !is_allowed) {
        None => Verdict::good(Reason::Accepted, format!("the newest backup is of lineage {newest}")),
        Some(other) => Verdict::bad(Reason::LineageChanged, not_accepted(other, accepted.as_deref(), newest)),
    };
    Lineage { accepted, verdict }
}

/// What to do about `other`, a lineage that is not the accepted one. Only the newest can be accepted.
fn not_accepted(other: &str, accepted: Option<&str>, newest: &str) -> String {
    let known = accepted.map_or_else(
        || "others are there and none is accepted".to_owned(),
        |accepted| format!("accepted is {accepted}"),
    );
    let found = if other == newest {
        format!("the newest backup is of lineage {newest}, {known}")
    } else {
        format!(
            "by a node's clock the newest backup is of lineage {other}, by the API server's of {newest}; {known}"
        )
    };
    let key = annotation::ACCEPT_LINEAGE;
    format!("{found}; to go on with {newest}, annotate the policy with {key}: {newest}")
}

/// One known backup.
struct Seen {
    /// When, by a node's clock.
    time: Timestamp,
    /// When, by the API server's clock, its record was made or, before there is one, its Job began.
    made: Timestamp,
    lineage: String,
    /// Whether it is in the repository where the policy's backups go now.
    is_here: bool,
}

fn seen(world: &World) -> Vec<Seen> {
    let pinned = world.pinned();
    let history = History::of(world);
    let told = history.successes().filter_map(|(started, made)| match made {
        Made::Told(backup) => Some(Seen {
            time: backup.time,
            made: started,
            lineage: backup.lineage.to_string(),
            is_here: pinned == Some(backup.repository_id.as_str()),
        }),
        Made::Recorded { .. } => None, // It is among the records.
    });
    let records = world.own_records().filter_map(|record| {
        let status = record.status.as_ref()?;
        let time = status.time.as_ref()?.0;
        Some(Seen {
            time,
            made: record.creation_timestamp().map_or(time, |Time(made)| made),
            lineage: status.lineage.clone()?,
            is_here: pinned.is_some() && pinned == status.repository_id.as_deref(),
        })
    });
    told.chain(records).collect()
}
