//! Who is asked: a process of its own, started anew for each turn, so that its memory is that of this turn.
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use kubedr_tests::{
    Installation, OperatorProcess, Program, Running, end_of,
    loopback::{free, get},
    programs, until,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::asker::NAME;

/// What both sides show: a certificate that is its own authority.
pub struct Shown {
    /// In PEM.
    pub certificate: String,
    /// In PEM.
    pub key: String,
    /// By what it is known.
    pub authority: CertificateDer<'static>,
}

/// What both sides have: an API server, and a folder with the certificate.
pub struct Place<'a> {
    kubedr: &'a Installation,
    folder: TempDir,
    shown: Shown,
    /// The operator.
    operator: &'a Path,
    /// cert-manager's webhook.
    webhook: PathBuf,
}

/// A process that answers reviews; it ends with this value.
pub enum Answerer {
    /// The operator.
    Ours(OperatorProcess),
    /// cert-manager's webhook, and where it is asked.
    Theirs(Running, SocketAddr),
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

impl<'a> Place<'a> {
    /// Makes it, with a certificate.
    pub async fn new(kubedr: &'a Installation, operator: &'a Path) -> Result<Self> {
        let (folder, shown) = (tempfile::tempdir()?, Shown::new()?);
        fs::write(folder.path().join("tls.crt"), &shown.certificate)?;
        fs::write(folder.path().join("tls.key"), &shown.key)?;
        let webhook = programs("cert-manager").await?.join("cert-manager-webhook");
        Ok(Self { kubedr, folder, shown, operator, webhook })
    }

    /// By what both are known.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.shown.authority
    }

    /// The operator as it is shipped, which leads.
    pub async fn ours(&self) -> Result<Answerer> {
        let folder = self.folder.path();
        let shown = Some(folder.as_os_str());
        let mut operator = OperatorProcess::start(self.kubedr, self.operator, folder, shown).await?;
        operator.wait_until_it_leads().await?;
        Ok(Answerer::Ours(operator))
    }

    /// cert-manager's webhook.
    pub async fn theirs(&self) -> Result<Answerer> {
        let [reviews, health] = free()?;
        let file = |name: &str| self.folder.path().join(name);
        let webhook = Program::new(&self.webhook).args(["--kubeconfig", self.kubedr.cluster.kubeconfig()?]);
        let webhook = webhook.arg("--tls-cert-file").arg(file("tls.crt"));
        let webhook = webhook.arg("--tls-private-key-file").arg(file("tls.key"));
        let webhook = webhook.args(["--secure-port", &reviews.port().to_string()]);
        let webhook = webhook.args(["--healthz-port", &health.port().to_string()]);
        let mut webhook = webhook.start()?;
        let ready = until("the process to be ready", async || {
            webhook.goes_on()?;
            Ok(get(health, "/healthz").await)
        })
        .await;
        ready.with_context(|| format!("the last that it said is: {}", end_of(&webhook.said())))?;
        Ok(Answerer::Theirs(webhook, reviews))
    }
}

impl Answerer {
    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Ours(operator) => (Ipv4Addr::LOCALHOST, operator.reviews).into(),
            Self::Theirs(_, address) => *address,
        }
    }

    /// Its number.
    pub fn process(&self) -> Result<u32> {
        match self {
            Self::Ours(operator) => Ok(operator.id()),
            Self::Theirs(webhook, _) => webhook.id(),
        }
    }

    /// Ends it, and returns the last that it said.
    pub async fn end(mut self) -> Result<String> {
        let said = match &mut self {
            Self::Ours(operator) => operator.kill().await.map(|()| operator.said()),
            Self::Theirs(webhook, _) => webhook.kill().await.map(|()| webhook.said()),
        };
        said.map(|said| end_of(&said))
    }
}
