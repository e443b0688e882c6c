//! Puts the process together and takes it apart again.
//!
//! ```text
//! webhooks ──────────────────────────────────┬▶ SIGTERM: controllers end, the lease is released;
//! API server answers ─▶ lease ─▶ controllers ┤           webhooks answer on for some seconds
//!                                            └▶ lease lost: controllers end at once; webhooks as above
//! ```
use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use api::{BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore};
use controllers::{
    LEASE, Locations, Nodes, Settings, Traces,
    metadata::{location, outside, policy, record, restore},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use runtime::{Wiring, call, lease::Elector, metrics::Meters};
use tokio::{
    net::TcpListener,
    pin,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use webhooks::{
    Services,
    server::{Bounds, Server},
};

use crate::{
    admission::{self, Desk},
    config::Config,
    health::{self, Gate, Health},
    lead::Leadership,
    metrics::{self, Metrics, Told},
};

/// How long reconciles may take to end: less than a pod's usual 30 s, and more than a request.
const FAREWELL: Duration = Duration::from_secs(20);
/// Pause between two tries to reach the API server.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs until a signal asks it to stop, or something ends that must not.
pub async fn run(config: Config) -> Result<()> {
    let ports = Ports::open(&config).await?;
    let stopped = stopped()?;
    let client = client().await?;
    let desk = config.webhooks.is_some().then(Desk::default);
    let health = Health::default();
    let reached = health.gate("API server");
    let front = Front { health, reached, metrics: Metrics::new(desk.clone(), clock), desk };
    tokio::select! {
        () = front.serve(ports.health, ports.metrics) => bail!("nobody tells of this process"),
        done = all(&config, &client, (&front, ports.webhooks), &stopped) => done,
    }
}

/// Where others ask. Opened before anything else: who cannot listen takes no lease from one who can.
struct Ports {
    health: TcpListener,
    metrics: TcpListener,
    webhooks: Option<TcpListener>,
}

impl Ports {
    async fn open(config: &Config) -> Result<Self> {
        let webhooks = match &config.webhooks {
            Some(webhooks) => Some(listen("webhooks", &webhooks.addresses).await?),
            None => None,
        };
        let health = listen("health", &config.health).await?;
        Ok(Self { health, metrics: listen("metrics", &config.metrics).await?, webhooks })
    }
}

/// Listens at the first address that can be bound.
async fn listen(what: &str, addresses: &[SocketAddr]) -> Result<TcpListener> {
    let listener = TcpListener::bind(addresses).await;
    listener.with_context(|| format!("failed to listen for {what} at {addresses:?}"))
}

/// What the process tells of itself, and what it answers.
struct Front {
    health: Health,
    /// Opens when the API server has answered.
    reached: Gate,
    metrics: Metrics,
    desk: Option<Desk>,
}

/// Answers are a word: many may ask, so that none keeps the kubelet out, which gives up after a second.
const MOST_PROBES: usize = 1000;
/// Answers are long, and are kept until they are read.
const MOST_SCRAPES: usize = 16;

/// For who asks about this process: seconds to ask, to be given an answer, and to read it.
fn brief(most: usize) -> Bounds {
    let [silence, answer, idle] = [2, 2, 6].map(Duration::from_secs);
    Bounds { most, silence, answer, idle, ..Bounds::default() }
}

impl Front {
    /// Does not return: who asks about this process is answered to its end.
    async fn serve(&self, health: TcpListener, metrics: TcpListener) {
        let health = (health, health::router(self.health.clone()), MOST_PROBES);
        let metrics = (metrics, metrics::router(self.metrics.clone()), MOST_SCRAPES);
        let mut tasks = JoinSet::new();
        for (listener, router, most) in [health, metrics] {
            let server = Server::plain(router, brief(most));
            tasks.spawn(async move { server.serve(listener, CancellationToken::new()).await });
        }
        tasks.join_next().await;
    }
}

/// What ends by itself when it is told to stop.
async fn all(
    config: &Config,
    client: &Client,
    (front, webhooks): (&Front, Option<TcpListener>),
    stopped: &CancellationToken,
) -> Result<()> {
    // On the heap, or the process's own future would have all of both, twice.
    let answered = Box::pin(answer(config, client, (front, webhooks), stopped));
    let worked = Box::pin(work(config, client.clone(), front, stopped));
    both(answered, worked, stopped).await
}

/// Both to their end. Whoever has asked is answered also where work fails, as it does where the lease is lost: an API
/// server does not repeat what it asked of a connection that breaks.
async fn both(
    answered: impl Future<Output = Result<()>>,
    worked: impl Future<Output = Result<()>>,
    stopped: &CancellationToken,
) -> Result<()> {
    pin!(answered, worked);
    let done = tokio::select! {
        answered = answered.as_mut() => {
            answered?;
            return worked.await;
        }
        done = worked.as_mut() => done,
    };
    if done.is_err() {
        stopped.cancel();
    }
    done.and(answered.await)
}

/// Admission, which needs nobody to lead and no API server that answers.
async fn answer(
    config: &Config,
    client: &Client,
    (front, listener): (&Front, Option<TcpListener>),
    stopped: &CancellationToken,
) -> Result<()> {
    let (Some(webhooks), Some(desk), Some(listener)) = (&config.webhooks, &front.desk, listener) else {
        return Ok(());
    };
    let kept_by = &webhooks.certificates;
    let ready = front.health.gate("webhooks");
    let assembly = admission::Assembly { config, kept_by, client, services: services(), ready, now: clock };
    desk.serve(listener, assembly, stopped.clone()).await
}

async fn work(config: &Config, client: Client, front: &Front, stopped: &CancellationToken) -> Result<()> {
    let instance = instance();
    let cluster_uid = tokio::select! {
        uid = cluster_uid(&client) => uid,
        () = stopped.cancelled() => return Ok(()),
    };
    front.reached.open();
    let mut leadership = leadership(config, &client, &instance);
    tokio::select! {
        () = leadership.acquire() => {}
        () = stopped.cancelled() => return Ok(()),
    }
    tracing::info!(namespace = config.namespace, instance, cluster_uid, "leading");
    let settings = Arc::new(settings(config, cluster_uid));
    let told = Told { known: Arc::default(), settings, meters: Meters::default() };
    front.metrics.leading(told.clone());
    lead(Assembly { config, client, instance, told, nodes: Arc::default() }, leadership, stopped).await
}

/// Everything that each controller's context is made of.
struct Assembly<'a> {
    config: &'a Config,
    client: Client,
    instance: String,
    told: Told,
    nodes: Arc<Nodes>,
}

async fn lead(assembly: Assembly<'_>, mut leadership: Leadership, stopped: &CancellationToken) -> Result<()> {
    let stop = CancellationToken::new();
    let tasks = assembly.start(&stop);
    work_under(&mut leadership, tasks, (&stop, stopped)).await?;
    leadership.release().await;
    Ok(())
}

/// Has controllers work for as long as this process leads. When it returns, none of them does any more.
async fn work_under(
    leadership: &mut Leadership,
    mut tasks: JoinSet<()>,
    tokens: (&CancellationToken, &CancellationToken),
) -> Result<()> {
    let ended = ended(leadership, &mut tasks, tokens).await;
    // Admission may go on for some seconds: who does not lead any more writes nothing in them.
    tasks.shutdown().await;
    ended
}

/// The end of all controllers, once they are told to stop; or what came before.
async fn ended(
    leadership: &mut Leadership,
    tasks: &mut JoinSet<()>,
    (stop, stopped): (&CancellationToken, &CancellationToken),
) -> Result<()> {
    tokio::select! {
        () = leadership.hold() => bail!("the lease was lost"),
        _ = tasks.join_next() => bail!("a controller ended by itself"),
        () = stopped.cancelled() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
    // The lease is held until the last reconcile has ended, or another leader would meet it.
    tokio::select! {
        () = leadership.hold() => bail!("the lease was lost"),
        ended = timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} }) => {
            if ended.is_err() {
                bail!("a reconcile did not end in time");
            }
            Ok(())
        }
    }
}

impl Assembly<'_> {
    fn start(&self, stop: &CancellationToken) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let wiring = |name, complaint| Wiring {
            name,
            complaint,
            meter: self.told.meters.meter(name),
            stop: stop.clone(),
        };
        let records = self.context(record::MANAGER);
        tasks.spawn(location::run(
            self.context(location::MANAGER),
            wiring("location", Some(location::COMPLAINT)),
        ));
        tasks.spawn(policy::run(self.context(policy::MANAGER), wiring("policy", Some(policy::COMPLAINT))));
        tasks.spawn(record::run_jobs(records.clone(), wiring("record-jobs", None)));
        tasks.spawn(record::run_records(records, wiring("record", Some(record::COMPLAINT))));
        tasks
            .spawn(restore::run(self.context(restore::MANAGER), wiring("restore", Some(restore::COMPLAINT))));
        self.start_outside(stop, &mut tasks);
        tasks
    }

    /// What goes wrong with objects elsewhere is not written into them: they may be another operator's.
    fn start_outside(&self, stop: &CancellationToken, tasks: &mut JoinSet<()>) {
        let wiring =
            |name| Wiring { name, complaint: None, meter: self.told.meters.meter(name), stop: stop.clone() };
        let context = || self.context(outside::MANAGER);
        tasks.spawn(outside::run::<BackupLocation>(context(), wiring("location-outside")));
        tasks.spawn(outside::run::<MetadataBackupPolicy>(context(), wiring("policy-outside")));
        tasks.spawn(outside::run::<MetadataBackupRecord>(context(), wiring("record-outside")));
        tasks.spawn(outside::run::<MetadataRestore>(context(), wiring("restore-outside")));
    }

    fn context(&self, manager: &'static str) -> Arc<controllers::Context> {
        let namespace = self.config.namespace.clone();
        let runtime = runtime::Context::new(self.client.clone(), namespace, manager, clock);
        Arc::new(controllers::Context {
            runtime: runtime.on(self.instance.clone()),
            settings: self.told.settings.clone(),
            known: self.told.known.clone(),
            nodes: self.nodes.clone(),
            locations: Locations::default(),
            traces: Traces::default(),
        })
    }
}

fn settings(config: &Config, cluster_uid: String) -> Settings {
    Settings {
        agent_image_pull_policy: config.agent_image_pull_policy.clone(),
        allowed_host_paths: config.allowed_host_paths.clone(),
        cluster_name: config.cluster_name.clone(),
        ..Settings::new(&config.agent_image, cluster_uid)
    }
}

/// The one client: of the pod's account, or of the kubeconfig where there is no pod.
async fn client() -> Result<Client> {
    let config = kube::Config::infer().await.context("failed to find the API server")?;
    Client::try_from(config).context("failed to make a client")
}

fn leadership(config: &Config, client: &Client, instance: &str) -> Leadership {
    if !config.leader_elect {
        return Leadership::Alone;
    }
    let elector = Elector::new(client.clone(), &config.namespace, (LEASE, instance.to_owned()), clock);
    Leadership::Elected(Box::new(elector))
}

/// Asks until the API server answers: it may start after the operator.
async fn cluster_uid(client: &Client) -> String {
    let namespaces = Api::<Namespace>::all(client.clone());
    loop {
        match call(namespaces.get_metadata("kube-system")).await {
            Ok(namespace) => {
                if let Some(uid) = namespace.uid() {
                    return uid;
                }
            }
            Err(error) => tracing::warn!(error = model::chain(&error), "failed to read kube-system"),
        }
        sleep(PAUSE).await;
    }
}

/// What this process is called: the pod's name, which the kubelet makes its host name.
fn instance() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| format!("operator-{}", std::process::id()))
}

/// Addresses that Services may have, by what the kubelet tells each container.
fn services() -> Option<Services> {
    Services::of(&std::env::var("KUBERNETES_SERVICE_HOST").ok()?)
}

/// Cancelled by a signal that asks the process to stop.
fn stopped() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let stopped = CancellationToken::new();
    let told = stopped.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stopped)
}

#[expect(clippy::disallowed_methods, reason = "the composition root brings the clock")]
fn clock() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use anyhow::anyhow;
    use clap::Parser;
    use tokio::time::Instant;

    use super::*;
    use crate::config::Flags;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn who_has_asked_is_answered_although_the_lease_is_lost() {
        let (stopped, begun) = (CancellationToken::new(), Instant::now());
        let answered = async {
            stopped.cancelled().await;
            sleep(LONG).await;
            anyhow::Ok(())
        };
        let error =
            both(answered, ready(Err(anyhow!("the lease was lost"))), &stopped).await.expect_err("it was");
        assert_eq!((error.to_string().as_str(), begun.elapsed()), ("the lease was lost", LONG));
    }

    #[tokio::test]
    async fn where_nobody_can_answer_all_ends_at_once() {
        let stopped = CancellationToken::new();
        let answered = ready(Err(anyhow!("nobody keeps the certificate")));
        let both = both(answered, pending(), &stopped);
        let error = timeout(LONG, both).await.expect("at once").expect_err("it ended");
        assert_eq!(error.to_string(), "nobody keeps the certificate");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_is_to_answer_work_goes_on_until_it_ends() {
        let (stopped, begun) = (CancellationToken::new(), Instant::now());
        let worked = async {
            sleep(LONG).await;
            anyhow::Ok(())
        };
        both(ready(Ok(())), worked, &stopped).await.expect("all is well");
        assert!(begun.elapsed() == LONG && !stopped.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_at_work_any_more_where_leadership_has_ended() {
        let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
        let (mut tasks, held) = (JoinSet::new(), Arc::new(()));
        let holds = held.clone();
        tasks.spawn(async move {
            pending::<()>().await;
            drop(holds);
        });
        stopped.cancel();
        let ended = work_under(&mut Leadership::Alone, tasks, (&stop, &stopped)).await;
        assert_eq!(ended.expect_err("one does not end").to_string(), "a reconcile did not end in time");
        assert_eq!(Arc::strong_count(&held), 1);
    }

    /// No API server is there either: nobody asks for one before.
    #[tokio::test]
    async fn who_cannot_listen_ends_before_anything_else_begins() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("an address");
        let flags = ["operator", "--agent-image=a", "--webhook-certificates=self"];
        let flags = Flags::try_parse_from(flags).expect("flags");
        let mut config = Config::try_from(flags).expect("sound");
        config.webhooks.iter_mut().for_each(|webhooks| webhooks.addresses = vec![address]);
        let error = run(config).await.expect_err("it is taken");
        assert_eq!(error.to_string(), format!("failed to listen for webhooks at [{address}]"));
        let next = SocketAddr::from(([127, 0, 0, 1], 0));
        listen("metrics", &[address, next]).await.expect("the next address is free");
    }
}
