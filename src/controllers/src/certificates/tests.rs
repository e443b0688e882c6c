//! Two replicas beside a store that keeps versions: what they read and write, and what they show.
use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures::future::join_all;
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;

const SECRET: &str = "/api/v1/namespaces/kubedr-system/secrets/kubedr-webhook-ca";
const CONFIGURATIONS: [&str; 2] = ["mutating", "validating"];
/// A third of a pair's life is left after that.
const LONG: i64 = 250 * 24 * 3600;

fn configuration(kind: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/webhooks.kubedr-system")
}

/// Objects by their path, as an API server has them.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    objects: BTreeMap<String, Value>,
    /// Method and path of each write that was taken.
    written: Vec<String>,
    /// A path that nobody may write.
    closed: Option<String>,
    /// A path that nobody can read.
    hidden: Option<String>,
    /// A path that somebody else writes just before each of us does.
    contested: Option<String>,
}

impl Store {
    /// As it is installed: without data, without authorities.
    fn installed() -> Self {
        let store = Self::default();
        store.put(SECRET, json!({ "metadata": metadata("kubedr-webhook-ca", Some("kubedr-system")) }));
        for kind in CONFIGURATIONS {
            let webhooks: Vec<Value> = ["a", "b"].map(webhook).into();
            let metadata = metadata("webhooks.kubedr-system", None);
            store.put(&configuration(kind), json!({ "metadata": metadata, "webhooks": webhooks }));
        }
        store
    }

    fn put(&self, path: &str, object: Value) {
        self.0.lock().expect("no panic").objects.insert(path.to_owned(), object);
    }

    fn get(&self, path: &str) -> Value {
        self.0.lock().expect("no panic").objects[path].clone()
    }

    fn written(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic").written)
    }

    /// What webhooks carry, one like the other.
    fn carried(&self) -> String {
        let bundles = CONFIGURATIONS.map(|kind| {
            let webhooks = self.get(&configuration(kind))["webhooks"].as_array().expect("webhooks").clone();
            webhooks.iter().map(|webhook| text(&webhook["clientConfig"]["caBundle"])).collect::<Vec<_>>()
        });
        let first = bundles[0][0].clone();
        assert!(bundles.iter().flatten().all(|bundle| *bundle == first), "{bundles:?}");
        first
    }

    /// Somebody changes a configuration, and changes it back.
    fn meddle(&self, kind: &str) {
        let mut meddled = self.get(&configuration(kind));
        let generation = meddled["metadata"]["generation"].as_i64().unwrap_or_default();
        meddled["metadata"]["generation"] = json!(generation + 2);
        self.put(&configuration(kind), meddled);
    }

    fn close(&self, path: &str) {
        self.0.lock().expect("no panic").closed = Some(path.to_owned());
    }

    fn hide(&self, path: Option<&str>) {
        self.0.lock().expect("no panic").hidden = path.map(str::to_owned);
    }

    fn contest(&self, path: Option<&str>) {
        self.0.lock().expect("no panic").contested = path.map(str::to_owned);
    }

    /// Somebody takes away what the Secret has.
    fn lose(&self) {
        let mut secret = self.get(SECRET);
        secret["data"] = json!(null);
        self.put(SECRET, secret);
    }

    fn stored(&self) -> Stored {
        let secret: Secret = serde_json::from_value(self.get(SECRET)).expect("a Secret");
        Stored::read(secret.data.as_ref())
    }

    /// The pair that every replica is to show.
    fn served(&self) -> Option<Pair> {
        self.stored().served.map(|pem| pem.pair().expect("a pair"))
    }

    fn client(&self) -> Client {
        let store = self.clone();
        let answer = move |request: Request<Body>| {
            let store = store.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.expect("a body");
                let body = serde_json::from_slice(&body).unwrap_or_default();
                Ok::<_, std::convert::Infallible>(store.answer(&head.method, head.uri.path(), body))
            }
        };
        Client::new(tower::service_fn(answer), "kubedr-system")
    }

    fn context(&self) -> Context {
        Context::new(self.client(), "kubedr-system", MANAGER, clock)
    }

    fn answer(&self, method: &Method, path: &str, body: Value) -> Response<Body> {
        let mut kept = self.0.lock().expect("no panic");
        if method == Method::GET && kept.hidden.as_deref() == Some(path) {
            return refused(500, "InternalError");
        }
        if method == Method::GET {
            return kept
                .objects
                .get(path)
                .map_or_else(|| refused(404, "NotFound"), |found| answered(200, found));
        }
        if kept.closed.as_deref() == Some(path) {
            return refused(403, "Forbidden");
        }
        let is_contested = kept.contested.as_deref() == Some(path);
        let Some(found) = kept.objects.get_mut(path) else { return refused(404, "NotFound") };
        if is_contested || body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"] {
            return refused(409, "Conflict");
        }
        change(found, method, body);
        let answer = answered(200, found);
        kept.written.push(format!("{method} {path}"));
        answer
    }
}

fn metadata(name: &str, namespace: Option<&str>) -> Value {
    json!({ "name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "generation": 1 })
}

fn webhook(name: &str) -> Value {
    let service = json!({ "name": "kubedr-webhook", "namespace": "kubedr-system" });
    json!({
        "name": name, "clientConfig": { "service": service }, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    })
}

/// Items of lists are found by their names, as Kubernetes finds webhooks.
fn change(found: &mut Value, method: &Method, body: Value) {
    let (version, generation) =
        (found["metadata"]["resourceVersion"].clone(), &found["metadata"]["generation"]);
    let generation = generation.as_i64().unwrap_or_default() + 1;
    if method == Method::PUT {
        *found = body;
    } else {
        for changed in body["webhooks"].as_array().expect("webhooks") {
            let webhooks = found["webhooks"].as_array_mut().expect("webhooks");
            let webhook = webhooks.iter_mut().find(|webhook| webhook["name"] == changed["name"]);
            let config = &changed["clientConfig"];
            webhook.expect("one that is there")["clientConfig"]["caBundle"] = config["caBundle"].clone();
        }
    }
    let version = version.as_str().and_then(|version| version.parse::<u64>().ok()).unwrap_or_default();
    found["metadata"]["resourceVersion"] = json!((version + 1).to_string());
    found["metadata"]["generation"] = json!(generation);
}

fn answered(code: u16, body: &Value) -> Response<Body> {
    let code = StatusCode::from_u16(code).expect("a status code");
    let body = Body::from(body.to_string().into_bytes());
    Response::builder().status(code).body(body).expect("a response")
}

fn refused(code: u16, reason: &str) -> Response<Body> {
    let message = format!("it is {reason}");
    let status =
        json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code });
    answered(code, &status)
}

fn text(base64: &Value) -> String {
    let bytes: ByteString = serde_json::from_value(base64.clone()).unwrap_or_default();
    String::from_utf8(bytes.0).expect("text")
}

thread_local! {
    /// Seconds since noon, by the clock of the one test that is on this thread.
    static PASSED: Cell<i64> = const { Cell::new(0) };
}

fn clock() -> Timestamp {
    let noon: Timestamp = "2030-01-01T12:00:00Z".parse().expect("a timestamp");
    Timestamp::from_second(noon.as_second() + PASSED.get()).expect("a timestamp")
}

/// Two replicas beside a store, which show nothing yet. It is noon.
fn beginning(store: Store) -> (Store, [Certificates; 2]) {
    PASSED.set(0);
    (store, <[Certificates; 2]>::default())
}

/// Lets replicas go on for some minutes, in which nobody waits.
async fn run(store: &Store, replicas: &[Certificates; 2], minutes: u64) {
    let contexts = [0, 1].map(|_| store.context());
    let keep = |(context, replica)| timeout(Duration::from_mins(minutes), keep(context, replica));
    for ended in join_all(contexts.iter().zip(replicas).map(keep)).await {
        ended.expect_err("it goes on");
    }
}

/// When the pair ends that both show.
fn shown([one, other]: &[Certificates; 2]) -> Timestamp {
    assert_eq!(one.state(), other.state());
    assert_eq!(one.state().flaw, None);
    one.state().not_after.expect("a pair")
}

#[tokio::test(start_paused = true)]
async fn two_replicas_that_begin_together_show_one_pair_and_have_it_trusted() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    shown(&replicas);
    let data = store.get(SECRET)["data"].clone();
    assert_eq!(store.carried(), text(&data["ca.crt"]));
    assert_eq!(data.as_object().expect("data").keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    let written = store.written();
    assert_eq!(written.iter().filter(|write| write.starts_with("PUT")).count(), 1, "{written:?}");
    assert_eq!(written.len(), 3, "{written:?}");
    run(&store, &replicas, 60).await;
    assert!(store.written().is_empty(), "there is nothing to do");
}

#[tokio::test(start_paused = true)]
async fn the_next_pair_is_shown_once_api_servers_have_heard_of_its_authority() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    let (first, old) = (shown(&replicas), store.get(SECRET)["data"].clone());
    PASSED.set(LONG);
    run(&store, &replicas, 4).await;
    let begun = store.get(SECRET)["data"].clone();
    assert_eq!((&begun["tls.crt"], shown(&replicas)), (&old["tls.crt"], first));
    assert_eq!(store.carried(), text(&begun["ca.crt"]));
    assert!(text(&begun["ca.crt"]).ends_with(&text(&old["ca.crt"])));
    run(&store, &replicas, 6).await;
    let promoted = store.get(SECRET)["data"].clone();
    assert_eq!((&promoted["tls.crt"], promoted.get("next.crt")), (&begun["next.crt"], None));
    assert!(shown(&replicas) > first);
    assert_eq!(store.carried(), text(&begun["ca.crt"]), "who has not read yet is trusted still");
    assert_eq!(store.written().iter().filter(|write| write.starts_with("PUT")).count(), 3);
}

/// Two controllers that fight for a configuration would keep it from being shown until the old one has ended.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_something_keeps_from_its_end_is_told_after_a_day_and_no_longer_than_it_lasts() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    let first = shown(&replicas);
    for (days, is_told) in [(250, false), (252, true)] {
        PASSED.set(days * 24 * 3600);
        store.meddle("validating");
        run(&store, &replicas, 4).await;
        let state = replicas[0].state();
        assert_eq!((state.not_after, state.flaw.is_some()), (Some(first), is_told), "{:?}", state.flaw);
    }
    let said = "the next certificate has waited for more than a day to be shown: \
        the Secret or a configuration has changed within minutes";
    assert_eq!(replicas[1].state().flaw.as_deref(), Some(said));
    run(&store, &replicas, 6).await;
    assert!(shown(&replicas) > first);
}

/// As where a policy of the cluster lets nobody change one of the two.
#[tokio::test(start_paused = true)]
async fn a_pair_that_has_ended_is_followed_although_a_configuration_cannot_be_changed() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    let first = shown(&replicas);
    store.close(&configuration("mutating"));
    for days in [250, 364, 366] {
        PASSED.set(days * 24 * 3600);
        run(&store, &replicas, 6).await;
        let states = [0, 1].map(|which| replicas[which].state());
        for state in states {
            assert_eq!(state.not_after == Some(first), days < 366, "{days}: {state:?}");
            assert!(state.flaw.is_some_and(|flaw| flaw.starts_with("ApiWriteFailed: ")), "{days}");
        }
    }
    assert_eq!([0, 1].map(|which| replicas[which].in_use()), [store.served(), store.served()]);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_cannot_be_read_now_and_then_is_none_that_changed() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    let (ctx, first) = (store.context(), shown(&replicas));
    PASSED.set(LONG);
    let mut keeper = Keeper::new(&ctx, &replicas[0]);
    for _ in 0..7 {
        keeper.look().await.expect("it looks");
        tokio::time::advance(Duration::from_secs(30)).await;
        store.hide(Some(&configuration("validating")));
        keeper.look().await.expect_err("it cannot be read");
        store.hide(None);
        tokio::time::advance(Duration::from_secs(30)).await;
    }
    keeper.look().await.expect("it looks");
    assert!(replicas[0].state().not_after > Some(first));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_took_away_from_a_configuration_comes_back() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    let (pair, carried) = (shown(&replicas), store.carried());
    store.written();
    let fresh = Store::installed().get(&configuration("mutating"));
    store.put(&configuration("mutating"), fresh);
    run(&store, &replicas, 1).await;
    assert_eq!((store.carried(), shown(&replicas)), (carried, pair));
    assert_eq!(store.written(), [format!("PATCH {}", configuration("mutating"))]);
}

#[tokio::test(start_paused = true)]
async fn a_pair_is_kept_where_nobody_asks_yet() {
    let (store, replicas) = beginning(Store::default());
    store.put(SECRET, Store::installed().get(SECRET));
    run(&store, &replicas, 1).await;
    shown(&replicas);
}

#[tokio::test(start_paused = true)]
async fn what_keeps_a_replica_from_its_work_is_told_until_it_is_gone() {
    let (store, replicas) = beginning(Store::default());
    run(&store, &replicas, 1).await;
    let said = "ApiReadFailed: failed to read the Secret with the certificates: it is NotFound";
    assert_eq!(replicas[0].state().flaw.as_deref(), Some(said));
    store.put(SECRET, Store::installed().get(SECRET));
    run(&store, &replicas, 1).await;
    shown(&replicas);
}

/// The API servers have dropped its authority: what it would show until then would be refused.
#[tokio::test(start_paused = true)]
async fn once_all_is_lost_the_next_pair_is_shown_in_the_look_that_tells_of_it() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    let ctx = store.context();
    let [mut one, mut other] = [0, 1].map(|which| Keeper::new(&ctx, &replicas[which]));
    store.lose();
    one.look().await.expect("it looks");
    assert!(store.served().is_some() && replicas[0].in_use() == store.served());
    other.look().await.expect("it looks");
    assert_eq!(replicas[1].in_use(), store.served());
    assert_eq!(other.look().await.expect("it looks"), PERIOD, "there is nothing to do");
}

#[tokio::test(start_paused = true)]
async fn who_was_overtaken_while_telling_looks_again_soon_and_shows_nothing_else_before() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    let (ctx, before) = (store.context(), store.served());
    let mut one = Keeper::new(&ctx, &replicas[0]);
    store.lose();
    store.contest(Some(&configuration("validating")));
    one.look().await.expect("it looks");
    assert!(store.served() != before && replicas[0].in_use() == before);
    assert_eq!(one.look().await.expect("it looks"), SOON);
    store.contest(None);
    one.look().await.expect("it looks");
    assert_eq!(replicas[0].in_use(), store.served());
}

/// By this machine's clock all is over, and it may be this clock that is wrong.
#[tokio::test(start_paused = true)]
async fn who_begins_with_a_pair_that_has_ended_shows_it_and_says_so() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    let (ctx, late, old) = (store.context(), Certificates::default(), store.served());
    PASSED.set(400 * 24 * 3600);
    Keeper::new(&ctx, &late).look().await.expect("it looks");
    assert_eq!(late.in_use(), old);
    assert!(late.state().flaw.is_some_and(|flaw| flaw.starts_with("tls.crt has expired")));
}

/// Whoever shows a pair of before is trusted still.
#[tokio::test(start_paused = true)]
async fn damage_that_cannot_be_put_right_is_not_told_to_api_servers() {
    let (store, replicas) = beginning(Store::installed());
    run(&store, &replicas, 1).await;
    let (carried, ends) = (store.carried(), shown(&replicas));
    let mut damaged = store.get(SECRET);
    let another = Store::installed();
    run(&another, &<[Certificates; 2]>::default(), 1).await;
    damaged["data"]["ca.crt"] = another.get(SECRET)["data"]["ca.crt"].clone();
    store.put(SECRET, damaged);
    store.close(SECRET);
    run(&store, &replicas, 1).await;
    assert_eq!(store.carried(), carried);
    let state = replicas[0].state();
    assert_eq!(state.not_after, Some(ends));
    let said = r#"ApiWriteFailed: failed to write Secret "kubedr-webhook-ca": it is Forbidden"#;
    assert_eq!(state.flaw.as_deref(), Some(said));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_is_closed_keeps_no_other_from_being_told() {
    let (store, replicas) = beginning(Store::installed());
    store.close(&configuration("mutating"));
    run(&store, &replicas, 1).await;
    let told = store.get(&configuration("validating"));
    assert_eq!(told["webhooks"][1]["clientConfig"]["caBundle"], store.get(SECRET)["data"]["ca.crt"]);
    assert!(replicas[0].state().flaw.is_some_and(|flaw| flaw.starts_with("ApiWriteFailed: ")));
}
