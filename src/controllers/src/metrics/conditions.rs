//! Every condition that stands, with its reason.
use std::borrow::Cow;

use api::conditions::{OF_LOCATION, OF_POLICY, OF_RESTORE, READY, RECONCILING, STALLED};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, core::DeserializeGuard};
use model::Reason;
use runtime::metrics::{Metric, Page};

use super::{Objects, World};
use crate::metadata::outside::Kind;

/// One series for each condition.
///
/// The reason is a label of the same series, so that a rule need not join two to say why. It changes
/// no oftener than the series' end: a rule that waits leaves it out by `max by (kind, name, type)`.
pub const CONDITION: Metric = Metric::gauge(
    "kubedr_condition",
    &["kind", "name", "type", "status", "reason"],
    "Always 1: a condition of an object as it stands, True, False or Unknown, and why.",
);

type Labels<'a> = [Cow<'a, str>; 5];

/// Writes those of all objects that administrators make. Records are left out: their number is not
/// bounded by what a person wrote, and their names are those of snapshots.
pub fn write(page: &mut Page, world: &World) {
    let locations = of(&world.locations, OF_LOCATION);
    let policies = of(&world.policies, OF_POLICY);
    let restores = of(&world.restores, OF_RESTORE);
    let all: Vec<Labels> = locations.chain(policies).chain(restores).collect();
    page.numbers(&CONDITION, all.iter().map(|labels| (labels.each_ref().map(|label| &**label), 1)));
}

fn of<'a, K: Kind>(
    objects: &'a Objects<K>,
    owned: &'static [&'static str],
) -> impl Iterator<Item = Labels<'a>> {
    objects.iter().flat_map(move |object| {
        let name = object.meta().name.as_deref().unwrap_or_default();
        let label = |type_: &'a str, status: &'a str, reason: Reason| -> Labels<'a> {
            [K::kind(&()), name.into(), type_.into(), status.into(), reason.as_str().into()]
        };
        match &**object {
            // Its status says the same, but it cannot be read either.
            DeserializeGuard(Err(_)) => vec![label(READY, "False", Reason::InvalidSpec)],
            DeserializeGuard(Ok(object)) => {
                let (_, conditions) = object.told();
                let ours = conditions.iter().filter(|condition| is_ours(condition, owned));
                ours.map(|condition| label(&condition.type_, &condition.status, reason(condition))).collect()
            }
        }
    })
}

/// Others may write conditions of their own, of as many words as they like.
fn is_ours(condition: &Condition, owned: &[&str]) -> bool {
    owned.iter().chain(&[RECONCILING, STALLED]).any(|type_| *type_ == condition.type_)
}

fn reason(condition: &Condition) -> Reason {
    condition.reason.parse().unwrap_or(Reason::Unknown)
}
