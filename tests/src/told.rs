//! Whether what is wrong is told in each place where somebody may look for it.
use std::fmt::Debug;

use anyhow::{Context, Result, bail};
use api::names::label;
use k8s_openapi::{
    api::{core::v1::Pod, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{Resource, api::ListParams, core::NamespaceResourceScope};
use model::{Group, Reason};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Installation, condition, until, within_a_minute};

/// A kind of objects that say how they are.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

/// A condition that says that something is wrong.
struct Failing<'a> {
    kind: &'a str,
    name: &'a str,
    condition: &'a str,
    reason: &'a str,
}

impl Installation {
    /// Waits until a condition of an object has this status and reason, `Ready` for its present generation.
    ///
    /// What is wrong must be told in an event, the metrics and the result of the pod that met it too, and of the object
    /// and its runs within a minute.
    pub async fn says<K: Kind>(&self, name: &str, kind: &str, said: (&str, &str)) -> Result<K> {
        let what = format!("to say {kind} {said:?}");
        let told = Box::pin(self.when(name, &what, |object: &K| is_said(object, kind, said)));
        if said.0 != "False" {
            return told.await;
        }
        let failing = Failing { kind: &K::kind(&()), name, condition: kind, reason: said.1 };
        let everywhere = Box::pin(async {
            // The pod may be gone a moment after the condition is there.
            let (object, ()) = tokio::try_join!(told, self.is_result(&failing))?;
            tokio::try_join!(self.is_event(&failing), self.is_metric(&failing))?;
            Ok(object)
        });
        // Of others nobody knows how long they have been under way.
        let told = if ["Ready", "Fresh"].contains(&kind) {
            within_a_minute(everywhere).await
        } else {
            everywhere.await
        };
        told.with_context(|| format!("{name} is not told {kind} {} everywhere", said.1))
    }

    /// Waits until an object satisfies `is_it`.
    pub async fn when<K: Kind>(&self, name: &str, what: &str, is_it: impl Fn(&K) -> bool) -> Result<K> {
        let objects = self.api::<K>();
        until(&format!("{} {name} {what}", K::kind(&())), async || {
            let object = objects.get(name).await.context("failed to read the object")?;
            Ok(if is_it(&object) { Ok(object) } else { Err(status(&object)) })
        })
        .await
    }

    async fn is_event(&self, failing: &Failing<'_>) -> Result<()> {
        if failing.condition == "LineageAccepted" {
            // It keeps retention from its work, which is told.
            return Ok(());
        }
        let about = format!("regarding.kind={},regarding.name={}", failing.kind, failing.name);
        let word = format!("{}: ", failing.reason);
        until(&format!("an event of {} to begin with {word}", failing.name), async || {
            let events = self.api::<Event>().list(&ListParams::default().fields(&about)).await?.items;
            let notes: Vec<_> = events.into_iter().filter_map(|event| event.note).collect();
            Ok(if notes.iter().any(|note| note.starts_with(&word)) { Ok(()) } else { Err(notes) })
        })
        .await
    }

    async fn is_metric(&self, failing: &Failing<'_>) -> Result<()> {
        let Failing { kind, name, condition, reason } = failing;
        let of = format!("kubedr_condition{{kind=\"{kind}\",name=\"{name}\",type=\"{condition}\",");
        let metric = format!("{of}status=\"False\",reason=\"{reason}\"}} 1");
        until(&format!("the metric {metric}"), async || {
            // An operator that begins again answers a moment later.
            let page = self.metrics().await.unwrap_or_else(|error| format!("{of} {error:#}"));
            let told: Vec<_> = page.lines().filter(|line| line.starts_with(&of)).map(str::to_owned).collect();
            Ok(if told.contains(&metric) { Ok(()) } else { Err(told) })
        })
        .await
    }

    async fn is_result(&self, failing: &Failing<'_>) -> Result<()> {
        if !failing.is_met_by_a_pod()? {
            return Ok(());
        }
        let key = match failing.kind {
            "BackupLocation" => label::LOCATION,
            "MetadataBackupPolicy" => label::POLICY,
            other => bail!("no pod works for a {other}"),
        };
        let pods = ListParams::default().labels(&format!("{key}={}", failing.name));
        let word = format!("\"{}\"", failing.reason);
        until(&format!("a pod of {} to end with {word}", failing.name), async || {
            let results: Vec<_> = self.api::<Pod>().list(&pods).await?.iter().flat_map(results).collect();
            Ok(if results.iter().any(|result| result.contains(&word)) { Ok(()) } else { Err(results) })
        })
        .await
    }
}

fn is_said(object: &impl Kind, kind: &str, said: (&str, &str)) -> bool {
    let status = status(object);
    let is_seen = kind != "Ready" || status["observedGeneration"].as_i64() == object.meta().generation;
    let conditions = Vec::<Condition>::deserialize(&status["conditions"]).unwrap_or_default();
    is_seen && condition(&conditions, kind) == said
}

fn status(object: &impl Kind) -> Value {
    serde_json::to_value(object).expect("Kubernetes types serialise")["status"].take()
}

impl Failing<'_> {
    /// Whether it is an agent that finds it, which then says so in its result.
    fn is_met_by_a_pod(&self) -> Result<bool> {
        let reason: Reason = self.reason.parse()?;
        let group = reason.group();
        Ok(match (self.condition, reason) {
            // Both may find these, and the operator does so before there is a pod.
            (_, Reason::NoEtcdNode | Reason::HostPathMissing) => false,
            // It meets these in a pod of its own; what else stops it, the operator knows from records.
            ("Retained", _) => matches!(group, Group::Store | Group::Repository),
            (_, Reason::LineageChanged) => false,
            (_, Reason::SecretMissing | Reason::SecretKeyMissing) => true,
            _ => matches!(group, Group::Store | Group::Repository | Group::Etcd | Group::Host),
        })
    }
}

/// What the containers of a pod that have ended say of it.
fn results(pod: &Pod) -> Vec<String> {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let ended = statuses.filter_map(|status| status.state.as_ref()?.terminated.as_ref());
    ended.filter_map(|ended| ended.message.clone()).collect()
}
