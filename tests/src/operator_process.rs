//! The operator as a process of this machine, with the rights of its account alone: where there is no node, and where
//! nothing but the process is measured.
use std::{
    ffi::OsStr,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use api::names::OPERATOR_ACCOUNT;
use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::ServiceAccount,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{api::PostParams, config::Kubeconfig};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{
    Installation,
    dump::end_of,
    figure,
    loopback::{free, get},
    stopwatch::{anonymous, processor_time},
    until,
};

/// File by which it is the operator to the API server.
const KUBECONFIG: &str = "kubeconfig";
/// How long the operator's token holds, seconds: longer than any bench.
const TOKEN: i64 = 6 * 60 * 60;
/// How long it may take to end: as long as its pod has.
const FAREWELL: Duration = Duration::from_secs(30);

/// A running operator; it ends with this.
pub struct OperatorProcess {
    child: Child,
    id: u32,
    health: SocketAddr,
    metrics: SocketAddr,
    log: PathBuf,
    /// The port at which it answers reviews.
    pub reviews: u16,
    /// When it was started.
    pub started: Instant,
}

impl OperatorProcess {
    /// Starts it as its Deployment does, with a folder for what it is started with; with webhooks, if it is said where
    /// their certificate comes from: `self`, or a folder. What it says goes to the cluster's logs.
    pub async fn start(
        kubedr: &Installation,
        program: &Path,
        folder: &Path,
        certificates: Option<&OsStr>,
    ) -> Result<Self> {
        let [health, metrics, reviews] = free()?;
        let log = kubedr.cluster.file("log/operator.log")?;
        let said = File::options().create(true).append(true).open(&log).context("no log")?;
        let mut command = Command::new(program);
        command.arg(format!("--namespace={}", kubedr.namespace)).arg("--agent-image=kubedr/agent:nowhere");
        command.arg("--leader-elect");
        command.arg(format!("--health-address={health}")).arg(format!("--metrics-address={metrics}"));
        if let Some(certificates) = certificates {
            command.arg(format!("--webhook-port={}", reviews.port()));
            command.arg("--webhook-certificates").arg(certificates);
        }
        fs::write(folder.join(KUBECONFIG), kubeconfig(kubedr).await?).context("no kubeconfig")?;
        command.env_clear().env("KUBECONFIG", folder.join(KUBECONFIG)).env("HOSTNAME", "process");
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("failed to start {}", program.display()))?;
        let id = child.id().context("it has ended already")?;
        Ok(Self { child, id, health, metrics, log, reviews: reviews.port(), started })
    }

    /// Waits until it leads, and can be asked.
    pub async fn wait_until_it_leads(&mut self) -> Result<()> {
        let leads = until("the operator to lead", async || {
            self.goes_on()?;
            Ok(match self.leads().await {
                Ok(true) => Ok(()),
                seen => Err(seen),
            })
        })
        .await;
        leads.with_context(|| self.last_said())
    }

    /// An error where it has ended.
    fn goes_on(&mut self) -> Result<()> {
        let ended = self.child.try_wait().context("failed to look for the operator")?;
        ensure!(ended.is_none(), "the operator ended by itself: {ended:?}");
        Ok(())
    }

    /// Who does not lead is ready too.
    async fn leads(&self) -> Result<bool> {
        let page = get(self.metrics, "/metrics").await?;
        Ok(figure(&page, "kubedr_leader ")? > 0.0 && self.is_ready().await)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What all operators of this cluster have said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string())
    }

    /// The end of that, beside an error: the log goes with its cluster, before a person looks for a cause.
    fn last_said(&self) -> String {
        format!("the last that it said is: {}", end_of(&self.said()))
    }

    /// Its anonymous memory, bytes.
    pub fn memory(&self) -> Result<u64> {
        anonymous(self.id).map(|(_, bytes)| bytes).context("the operator has ended: see its log")
    }

    /// The processor time that it has taken.
    pub fn processor(&self) -> Result<Duration> {
        processor_time(self.id)
    }

    /// Whether it says that it can be asked.
    async fn is_ready(&self) -> bool {
        get(self.health, "/readyz").await.is_ok()
    }

    /// How many bytes it tells a scrape.
    pub async fn scrape(&self) -> Result<u64> {
        Ok(get(self.metrics, "/metrics").await?.len() as u64)
    }

    /// Ends it at once.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("failed to kill the operator")
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        self.end().await.with_context(|| self.last_said())
    }

    async fn end(&mut self) -> Result<()> {
        self.goes_on()?;
        kill(Pid::from_raw(i32::try_from(self.id)?), Signal::SIGTERM).context("failed to stop it")?;
        let ended = timeout(FAREWELL, self.child.wait()).await.context("the operator does not end")??;
        ensure!(ended.success(), "the operator ended with {ended}");
        Ok(())
    }
}

/// What a process needs to be the operator to the API server.
async fn kubeconfig(kubedr: &Installation) -> Result<String> {
    let request = TokenRequest {
        metadata: ObjectMeta::default(),
        spec: TokenRequestSpec {
            audiences: Vec::new(),
            bound_object_ref: None,
            expiration_seconds: Some(TOKEN),
        },
        status: None,
    };
    let accounts = kubedr.api::<ServiceAccount>();
    let answer = accounts.create_token_request(OPERATOR_ACCOUNT, &PostParams::default(), &request).await;
    let token = answer.context("failed to ask for a token")?.status.context("no token")?.token;
    let administrators = Kubeconfig::read().context("no KUBECONFIG")?;
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "clusters": administrators.clusters,
        "users": [{ "name": "operator", "user": { "token": token } }],
        "contexts": [{ "name": "operator", "context": { "cluster": "kubedr", "user": "operator" } }],
        "current-context": "operator",
    });
    Ok(file.to_string())
}
