//! Reads that several controllers share. Each ends, and each names what it read.
use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        batch::v1::Job,
        core::v1::{Event, Node, Pod},
    },
};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::DeserializeGuard};
use runtime::{Context, Error, call};
use serde::de::DeserializeOwned;

use crate::{nodes::NodeLabels, run};

/// A kind of the operator's namespace.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
}

/// One object, where it exists and has the shape of its kind.
pub async fn one<K: Kind>(ctx: &Context, what: &'static str, name: &str) -> Result<Option<K>, Error> {
    let api = Api::<DeserializeGuard<K>>::namespaced(ctx.client.clone(), &ctx.namespace);
    let found = call(api.get_opt(name)).await.map_err(|source| Error::Read { what, source })?;
    Ok(found.and_then(|guarded| guarded.0.ok()))
}

/// All objects with some labels. One that does not have the shape of its kind is left out:
/// its own controller says so.
pub async fn all<K: Kind>(ctx: &Context, what: &'static str, labels: &str) -> Result<Vec<K>, Error> {
    let api = Api::<DeserializeGuard<K>>::namespaced(ctx.client.clone(), &ctx.namespace);
    let params = ListParams::default().labels(labels);
    let found = call(api.list(&params)).await.map_err(|source| Error::Read { what, source })?;
    Ok(found.items.into_iter().filter_map(|guarded| guarded.0.ok()).collect())
}

/// Objects in one answer where all of a kind are asked for.
const PAGE: u32 = 25;

/// Those few of all objects that `keep` chooses. They are read in pages: all together may be more than fits into memory.
pub async fn few<K: Kind>(
    ctx: &Context,
    what: &'static str,
    keep: impl Fn(&K) -> bool,
) -> Result<Vec<K>, Error> {
    let api = Api::<DeserializeGuard<K>>::namespaced(ctx.client.clone(), &ctx.namespace);
    let (mut few, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = call(api.list(&params)).await.map_err(|source| Error::Read { what, source })?;
        few.extend(page.items.into_iter().filter_map(|guarded| guarded.0.ok()).filter(&keep));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(few),
        }
    }
}

/// Keys of the labels of all nodes.
pub async fn node_labels(ctx: &Context) -> Result<NodeLabels, Error> {
    let api = Api::<Node>::all(ctx.client.clone());
    let found = call(api.list_metadata(&ListParams::default())).await;
    let found = found.map_err(|source| Error::Read { what: "nodes", source })?;
    let labels = found.items.into_iter().filter_map(|node| node.metadata.labels);
    Ok(labels.flat_map(std::collections::BTreeMap::into_keys).collect())
}

/// What stands in the way of Jobs that do not get on, by the UID of the pod whose volumes cannot be
/// mounted or of the Job whose pod cannot be made.
///
/// A quota, an admission, a missing account or folder speaks in events only; so they are read, but only
/// for what has hung for a while.
pub async fn troubles(
    ctx: &Context,
    (jobs, pods): (&[Job], &[Pod]),
    now: jiff::Timestamp,
) -> Result<Vec<(String, String)>, Error> {
    let hanging =
        pods.iter().filter(|pod| run::hangs_in_creation(pod, now)).map(|pod| (pod.uid(), "FailedMount"));
    let podless =
        jobs.iter().filter(|job| run::lacks_a_pod(job, pods, now)).map(|job| (job.uid(), "FailedCreate"));
    let mut troubles = Vec::new();
    for (uid, reason) in hanging.chain(podless) {
        let uid = uid.unwrap_or_default();
        let newest = newest_event(ctx, &uid, reason).await?;
        troubles.extend(newest.and_then(|event| event.message).map(|message| (uid, message)));
    }
    Ok(troubles)
}

async fn newest_event(ctx: &Context, uid: &str, reason: &str) -> Result<Option<Event>, Error> {
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid},reason={reason}"));
    let api = Api::<Event>::namespaced(ctx.client.clone(), &ctx.namespace);
    let found = call(api.list(&params)).await.map_err(|source| Error::Read { what: "events", source })?;
    Ok(found.items.into_iter().max_by_key(|event| event.last_timestamp.clone().map(|time| time.0)))
}

#[cfg(test)]
mod tests {
    use api::MetadataBackupPolicy;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{NOW, answering, at, policy, refusal};

    /// What the API server has: policies of these names in three pages, of which one is empty.
    fn page(asked: &str) -> (u16, Value) {
        let is_short = asked.contains("limit=25");
        let (names, next): (&[&str], &str) = match asked.split_once("continue=") {
            _ if !is_short => return refusal(),
            None => (&["a", "b"], "2"),
            Some((_, "2")) => (&[], "3"),
            Some((_, "3")) => (&["c", "wrong"], ""),
            Some(_) => return refusal(),
        };
        let items: Vec<_> = names.iter().map(|name| named(name)).collect();
        let kind = "MetadataBackupPolicyList";
        (200, json!({ "apiVersion": "v1", "kind": kind, "metadata": { "continue": next }, "items": items }))
    }

    fn named(name: &str) -> Value {
        let mut policy = json!(policy());
        policy["metadata"]["name"] = json!(name);
        if name == "wrong" {
            policy["spec"] = json!("none");
        }
        policy
    }

    async fn chosen(keep: impl Fn(&MetadataBackupPolicy) -> bool) -> Vec<String> {
        let ctx = Context::new(answering(page), "kubedr-system", "test", || at(NOW));
        let few = few(&ctx, "policies", keep).await.expect("policies");
        few.iter().map(ResourceExt::name_any).collect()
    }

    #[tokio::test]
    async fn few_are_chosen_of_all_pages_up_to_the_last() {
        assert_eq!(chosen(|_| true).await, ["a", "b", "c"], "one that cannot be read is left out");
        assert_eq!(chosen(|policy| policy.name_any() != "a").await, ["b", "c"]);
    }
}
