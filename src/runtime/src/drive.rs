//! Runs one controller: guards it against malformed objects, logs, reports, retries.
use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Resource, ResourceExt,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{
        Controller,
        controller::{self, Action},
        reflector::Store,
    },
};
use model::Reason;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Done, Error, Event, Importance, Target,
    act::{api_of, tell, write_status},
    call,
    conditions::{self, Page, READY, Verdict},
    metrics::Meter,
    plan::{status_object, without_nulls},
};

/// Reconciles that one controller runs at the same time.
pub const CONCURRENCY: u16 = 4;

/// How long a look waits for more of what woke it: of a Job's end its pod, the Job and the record come one by one.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// How a controller says on an object of its own that a look at it failed.
#[derive(Clone, Copy, Debug)]
pub struct Complaint {
    /// Conditions that it owns on the object; `Ready` says why.
    pub conditions: &'static [&'static str],
    /// Word of the event, for example `BackupFailed`.
    pub event: &'static str,
    /// The verb that is not carried out, for example `backup`.
    pub action: &'static str,
}

impl Complaint {
    fn event(&self, said: Verdict) -> Event {
        Event {
            importance: Importance::Warning,
            reason: self.event,
            action: self.action,
            word: said.reason,
            message: said.message,
        }
    }
}

/// How one controller is tied to its process.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// Name of the controller, for the log.
    pub name: &'static str,
    /// How it says on its objects that a look failed; none for objects that are not its own.
    pub complaint: Option<Complaint>,
    /// Counts what it does.
    pub meter: Meter,
    /// Ends the controller; reconciles under way are waited for.
    pub stop: CancellationToken,
}

/// Runs a controller until it is stopped.
///
/// An object that does not have the shape of its kind says so in its own status and
/// does not keep the others waiting.
pub async fn drive<K, C, Reconcile, Running>(
    controller: Controller<DeserializeGuard<K>>,
    wiring: Wiring,
    context: Arc<C>,
    reconcile: Reconcile,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    C: AsRef<Context> + Send + Sync + 'static,
    Reconcile: Fn(Arc<K>, Arc<C>) -> Running + Clone + Send + Sync + 'static,
    Running: Future<Output = Result<Done, Error>> + Send + 'static,
{
    let stop = wiring.stop.clone();
    let synced = say_when_filled(controller.store(), wiring.meter.clone());
    let (name, meter) = (wiring.name, wiring.meter.clone());
    let wiring = Arc::new(wiring);
    let one = move |guarded: Arc<DeserializeGuard<K>>, context: Arc<C>| {
        let (wiring, reconcile) = (wiring.clone(), reconcile.clone());
        async move { supervise(&wiring, &Target::of(&*guarded), context, reconcile).await }
    };
    let run = controller
        .with_config(controller::Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(one, |object, _, context| retry(&*object, (*context).as_ref()), context)
        .for_each(move |result| {
            // A failed reconcile has had its line; what is left is a watch that does not work.
            if let Err(controller::Error::QueueError(error)) = result {
                meter.failed(Reason::ApiReadFailed);
                tracing::warn!(controller = name, error = model::chain(&error), "failed to watch");
            }
            std::future::ready(())
        });
    futures::future::join(synced, run).await;
    tracing::info!(controller = name, "stopped");
}

async fn say_when_filled<K>(store: Store<K>, meter: Meter)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    if store.wait_until_ready().await.is_ok() {
        meter.synced();
    }
}

/// One reconcile, its one log line, and `Ready=False` and an event where it failed.
async fn supervise<K, C, Reconcile, Running>(
    wiring: &Wiring,
    known: &Target,
    context: Arc<C>,
    reconcile: Reconcile,
) -> Result<Action, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
    C: AsRef<Context>,
    Reconcile: Fn(Arc<K>, Arc<C>) -> Running,
    Running: Future<Output = Result<Done, Error>>,
{
    let begun = Instant::now();
    let ctx: &Context = (*context).as_ref();
    let found = newest::<K>(known, ctx).await;
    let before = found.as_ref().ok().cloned().flatten();
    let result = match found {
        Ok(Some(object)) => reconcile(object, context.clone()).await,
        Ok(None) => Ok(Done::default()),
        Err(error) => Err(error),
    };
    wiring.meter.took(begun.elapsed());
    log(wiring, &known.name, &result, begun);
    match result {
        Ok(done) => {
            ctx.retries.succeeded(known);
            Ok(done.again.map_or_else(Action::await_change, Action::requeue))
        }
        Err(error) => {
            wiring.meter.failed(error.reason());
            if let Some(complaint) = &wiring.complaint {
                let look = Look { complaint, before: before.map(|object| told(&*object)) };
                report(ctx, known, look, &error).await;
            }
            Err(error)
        }
    }
}

/// The object as the API server has it now; none if it is gone.
///
/// A cache may lag behind what the last reconcile wrote, and an event would be told twice.
async fn newest<K>(known: &Target, ctx: &Context) -> Result<Option<Arc<K>>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = Api::<DeserializeGuard<K>>::namespaced(ctx.client.clone(), &known.namespace);
    let found = call(api.get_opt(&known.name)).await;
    match found.map_err(|source| Error::Read { what: "the object", source })? {
        None => Ok(None),
        Some(DeserializeGuard(Ok(object))) => Ok(Some(Arc::new(object))),
        Some(DeserializeGuard(Err(invalid))) => Err(Error::Malformed(invalid.error)),
    }
}

fn log(wiring: &Wiring, name: &str, result: &Result<Done, Error>, begun: Instant) {
    let (controller, took) = (wiring.name, begun.elapsed());
    match result {
        Ok(done) if done.writes == 0 => {
            tracing::debug!(controller, name, ?took, again = ?done.again, "nothing to do");
        }
        Ok(done) => {
            tracing::info!(controller, name, ?took, writes = done.writes, again = ?done.again, "reconciled");
        }
        Err(error) => {
            let reason = error.reason().as_str();
            tracing::warn!(controller, name, ?took, reason, error = model::chain(error), "failed");
        }
    }
}

fn retry<K: Resource<DynamicType = ()>>(object: &K, ctx: &Context) -> Action {
    Action::requeue(ctx.retries.failed(&Target::of(object)))
}

/// What an object says of itself.
fn told(object: &impl Serialize) -> Vec<Condition> {
    let object = serde_json::to_value(object).expect("Kubernetes types serialise");
    conditions::of(&object["status"])
}

/// A look that failed.
struct Look<'a> {
    complaint: &'a Complaint,
    /// What the object said before, where that is known.
    before: Option<Vec<Condition>>,
}

/// Puts an error into the `Ready` condition, next to everything that was known before, and tells it where it is news.
///
/// The object is read again: a status must not go back to what a cache held.
async fn report(ctx: &Context, target: &Target, look: Look<'_>, error: &Error) {
    if let Err(unsaid) = try_report(ctx, target, look, error).await {
        tracing::warn!(name = target.name, error = model::chain(&unsaid), "failed to report an error");
    }
}

async fn try_report(
    ctx: &Context,
    target: &Target,
    Look { complaint, before }: Look<'_>,
    error: &Error,
) -> Result<(), Error> {
    let Target { types, namespace, name, .. } = target;
    let found = match call(api_of(ctx, types, namespace).get(name)).await {
        Err(gone) if gone.is_not_found() => return Ok(()),
        found => found.map_err(|source| Error::Read { what: "the object", source })?,
    };
    if found.uid().as_deref() != Some(&target.uid) {
        return Ok(());
    }
    let stored = found.data.get("status").map_or(Value::Null, without_nulls);
    let previous = conditions::of(&stored);
    let page = Page { previous: &previous, generation: found.metadata.generation, now: ctx.now() };
    let status = conditions::failed(&page, &stored, complaint.conditions, error);
    if stored != status {
        let mut write = status_object(target, &status);
        // Another loop may have written since, under the same name: it knows more than this one.
        write.metadata.resource_version = found.metadata.resource_version;
        write_status(ctx, &write).await?;
    }
    let said = Verdict::bad(error.reason(), model::chain(error));
    // Not by what is stored now: a look whose write was refused has said it in the status itself.
    if said.is_news(before.as_ref().unwrap_or(&previous), READY) {
        tell(ctx, target, &complaint.event(said)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
