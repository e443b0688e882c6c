//! Who is asked: a process of its own, started anew for each turn, so that its memory is that of this turn.
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use kubedr_tests::{Installation, programs, until};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

use super::asker::NAME;

/// Last lines of a log that are shown where a turn fails.
const SHOWN: usize = 10;

/// What both sides show: a certificate that is its own authority.
pub struct Shown {
    /// In PEM.
    pub certificate: String,
    /// In PEM.
    pub key: String,
    /// By what it is known.
    pub authority: CertificateDer<'static>,
}

/// What both sides have: a folder for the certificate, and for what they say.
pub struct Place {
    folder: TempDir,
    shown: Shown,
    /// cert-manager's webhook.
    webhook: PathBuf,
}

/// A process that answers reviews; it ends with this value.
pub struct Answerer {
    process: Child,
    port: u16,
    log: PathBuf,
}

impl Shown {
    /// Makes one.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate().context("no key")?;
        let parameters = CertificateParams::new(vec![NAME.to_owned()]).context("no name")?;
        let certificate = parameters.self_signed(&key).context("no certificate")?;
        let authority = certificate.der().clone();
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem(), authority })
    }
}

impl Place {
    /// Makes it, with a certificate.
    pub async fn new() -> Result<Self> {
        let (folder, shown) = (tempfile::tempdir()?, Shown::new()?);
        fs::write(folder.path().join("tls.crt"), &shown.certificate)?;
        fs::write(folder.path().join("tls.key"), &shown.key)?;
        let webhook = programs("cert-manager").await?.join("cert-manager-webhook");
        Ok(Self { folder, shown, webhook })
    }

    /// By what both are known.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.shown.authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The operator as it is shipped, which leads and has read what there is.
    pub async fn ours(&self, kubedr: &Installation) -> Result<Answerer> {
        let [port, health] = free_ports()?;
        // Beside this very program.
        let mut operator = Command::new(std::env::current_exe()?.with_file_name("operator"));
        operator.args(["--namespace", &kubedr.namespace, "--agent-image", "kubedr/agent:bench"]);
        operator.arg("--webhook-certificates").arg(self.folder.path());
        operator.args(["--webhook-port", &port.to_string(), "--metrics-address", "127.0.0.1:0"]);
        operator.args(["--health-address", &format!("127.0.0.1:{health}")]);
        self.start(operator, port).await?.once_ready(health, "/readyz").await
    }

    /// cert-manager's webhook.
    pub async fn theirs(&self) -> Result<Answerer> {
        let [port, health] = free_ports()?;
        let mut webhook = Command::new(&self.webhook);
        webhook.arg("--kubeconfig").arg(std::env::var("KUBECONFIG").context("no KUBECONFIG")?);
        webhook.arg("--tls-cert-file").arg(self.file("tls.crt"));
        webhook.arg("--tls-private-key-file").arg(self.file("tls.key"));
        webhook.args(["--secure-port", &port.to_string(), "--healthz-port", &health.to_string()]);
        self.start(webhook, port).await?.once_ready(health, "/healthz").await
    }

    async fn start(&self, mut program: Command, port: u16) -> Result<Answerer> {
        let log = self.file("log");
        let said = File::create(&log)?;
        program.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).kill_on_drop(true);
        let name = program.as_std().get_program().display().to_string();
        let process = program.spawn().with_context(|| format!("failed to start {name}"))?;
        Ok(Answerer { process, port, log })
    }
}

/// Ports that nobody listens at.
fn free_ports() -> Result<[u16; 2]> {
    let free = || TcpListener::bind("127.0.0.1:0").context("no port is free");
    // Both are held until both are known.
    let (one, other) = (free()?, free()?);
    Ok([one.local_addr()?.port(), other.local_addr()?.port()])
}

impl Answerer {
    async fn once_ready(mut self, port: u16, path: &str) -> Result<Self> {
        let ready = until("the process to be ready", async || {
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none(), "the process ended by itself: {ended:?}");
            Ok(is_well(port, path).await)
        })
        .await;
        ready.with_context(|| format!("the last that it said is: {}", end_of(&self.log)))?;
        Ok(self)
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its number.
    pub fn process(&self) -> Result<u32> {
        self.process.id().context("the process has ended")
    }

    /// Ends it, and returns the last that it said.
    pub async fn end(&mut self) -> Result<String> {
        self.process.kill().await.context("failed to end the process")?;
        Ok(end_of(&self.log))
    }
}

async fn is_well(port: u16, path: &str) -> Result<(), String> {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "answered {answer:?}");
        Ok(())
    };
    asked.await.map_err(|error| format!("{error:#}"))
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}
