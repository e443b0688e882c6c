//! Reads that several controllers share. Each ends, and each names what it read.
use std::fmt::Debug;

use api::MetadataBackupRecord;
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

/// All objects with some labels.
pub async fn all<K: Kind>(ctx: &Context, what: &'static str, labels: &str) -> Result<Vec<K>, Error> {
    listed(ctx, what, &ListParams::default().labels(labels)).await
}

/// All records of a policy. By the field that names it, not by a label: upstream's and people's have none.
pub async fn records_of(ctx: &Context, policy: &str) -> Result<Vec<MetadataBackupRecord>, Error> {
    let field = format!("{}={policy}", MetadataBackupRecord::POLICY_FIELD);
    listed(ctx, "records", &ListParams::default().fields(&field)).await
}

/// One that does not have the shape of its kind is left out: its own controller says so.
async fn listed<K: Kind>(ctx: &Context, what: &'static str, params: &ListParams) -> Result<Vec<K>, Error> {
    let api = Api::<DeserializeGuard<K>>::namespaced(ctx.client.clone(), &ctx.namespace);
    let found = call(api.list(params)).await.map_err(|source| Error::Read { what, source })?;
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
    use crate::fixtures::{NOW, answering, at, policy, record, refusal};

    /// What the API server has: policies of these names in three pages, of which one is empty.
    fn page(asked: &str) -> (u16, Value) {
        let is_short = asked.contains("limit=25");
        let (names, next): (&[&str], &str) = match asked.split_once("continue=") {
            _ if !is_short => return refusal(403, "Forbidden"),
            None => (&["a", "b"], "2"),
            Some((_, "2")) => (&[], "3"),
            Some((_, "3")) => (&["c", "wrong"], ""),
            Some(_) => return refusal(403, "Forbidden"),
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

    fn asking(answer: impl FnMut(&str) -> (u16, Value) + Send + 'static) -> Context {
        Context::new(answering(answer), "kubedr-system", "test", || at(NOW))
    }

    async fn chosen(keep: impl Fn(&MetadataBackupPolicy) -> bool) -> Vec<String> {
        let few = few(&asking(page), "policies", keep).await.expect("policies");
        few.iter().map(ResourceExt::name_any).collect()
    }

    #[tokio::test]
    async fn few_are_chosen_of_all_pages_up_to_the_last() {
        assert_eq!(chosen(|_| true).await, ["a", "b", "c"], "one that cannot be read is left out");
        assert_eq!(chosen(|policy| policy.name_any() != "a").await, ["b", "c"]);
    }

    #[tokio::test]
    async fn nobody_but_the_api_server_looks_at_the_records_of_other_policies() {
        let ctx = asking(|asked| {
            let is_ours =
                asked.contains("/metadatabackuprecords?") && asked.contains("spec.policy%3Da-policy");
            let metadata = json!({ "resourceVersion": "7" });
            let (kind, items) = ("MetadataBackupRecordList", [record('1', 1)]);
            let found = json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata, "items": items });
            if is_ours { (200, found) } else { refusal(403, "Forbidden") }
        });
        assert_eq!(records_of(&ctx, "a-policy").await.expect("records"), [record('1', 1)]);
        assert!(records_of(&ctx, "another").await.is_err());
    }
}
