//! The operator as a process of this machine, with the rights of its account alone: where there is no node, and where
//! nothing but the process is measured.
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
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
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::timeout,
};

use crate::{Installation, stopwatch::anonymous};

/// File by which it is the operator to the API server.
const KUBECONFIG: &str = "kubeconfig";
/// How long the operator's token holds, seconds: longer than any bench.
const TOKEN: i64 = 6 * 60 * 60;
/// What proc(5) counts processor time in: a hundredth of a second on each Linux.
const TICK: Duration = Duration::from_millis(10);
/// How long it may take to end: as long as its pod has.
const FAREWELL: Duration = Duration::from_secs(30);
/// How long an answer over HTTP may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A running operator; it ends with this.
pub struct OperatorProcess {
    child: Child,
    id: u32,
    health: SocketAddr,
    metrics: SocketAddr,
    /// The port at which it answers reviews.
    pub reviews: u16,
    /// When it was started.
    pub started: Instant,
}

impl OperatorProcess {
    /// Starts it as its Deployment does; with webhooks, if their certificate is in that folder. What it says goes to the
    /// cluster's logs.
    pub async fn start(kubedr: &Installation, program: &Path, folder: &Path, webhooks: bool) -> Result<Self> {
        let [health, metrics, reviews] = [free().await?, free().await?, free().await?];
        let log = kubedr.cluster.file("log/operator.log")?;
        let log = File::options().create(true).append(true).open(log).context("no log")?;
        let mut command = Command::new(program);
        command.arg(format!("--namespace={}", kubedr.namespace)).arg("--agent-image=kubedr/agent:nowhere");
        command.arg("--leader-elect");
        command.arg(format!("--health-address={health}")).arg(format!("--metrics-address={metrics}"));
        if webhooks {
            command.arg(format!("--webhook-port={}", reviews.port()));
            command.arg(format!("--webhook-certificates={}", folder.display()));
        }
        fs::write(folder.join(KUBECONFIG), kubeconfig(kubedr).await?).context("no kubeconfig")?;
        command.env_clear().env("KUBECONFIG", folder.join(KUBECONFIG)).env("HOSTNAME", "process");
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("failed to start {}", program.display()))?;
        let id = child.id().context("it has ended already")?;
        Ok(Self { child, id, health, metrics, reviews: reviews.port(), started })
    }

    /// Its anonymous memory, bytes.
    pub fn memory(&self) -> Result<u64> {
        anonymous(self.id).map(|(_, bytes)| bytes).context("the operator has ended: see its log")
    }

    /// The processor time that it has taken.
    pub fn processor(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).context("the operator has ended")?;
        ticks(&stat).map(|ticks| TICK * ticks).context("/proc tells no processor time")
    }

    /// Whether it says that it is.
    pub async fn is_ready(&self) -> bool {
        get(self.health, "/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// How many bytes it tells a scrape.
    pub async fn scrape(&self) -> Result<u64> {
        let answer = get(self.metrics, "/metrics").await?;
        ensure!(
            answer.starts_with("HTTP/1.1 200"),
            "no metrics: {}",
            answer.lines().next().unwrap_or_default()
        );
        Ok(answer.len() as u64)
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
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

/// Processor time in user and kernel mode, in a line of `/proc/<id>/stat`: the 14th and the 15th field. The second one
/// is a name, which may have spaces and parentheses.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u32>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// An address that nobody listens at.
async fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?)
}

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let asked = async {
        let mut connection = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    timeout(ANSWER, asked).await.with_context(|| format!("{path} is not answered"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 900 0 0 0 120 34 0 0 20 0 3 0 1 2 3";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("7 (a) S 1"), None);
    }
}
