//! Admission in this process, whether it leads or not: from its start on, also while the API server is away.
//!
//! ```text
//! folder, or own authority ─▶ Certificates ─┬▶ TLS ─▶ reviews ─▶ Answers ─▶ /metrics
//!                   watches ─▶ Destinations ┘ warnings
//! ```
use std::{future::pending, sync::Arc};

use anyhow::{Result, bail};
use api::{BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore};
use controllers::{
    certificates::{self, Certificates, PERIOD, State},
    metadata::destinations::Destinations,
};
use jiff::Timestamp;
use kube::{Client, Resource};
use runtime::metrics::{
    Page,
    admission::{Answers, of_certificate},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use webhooks::{
    Admission, Others, Services, Told,
    server::{Bounds, Server},
};

use crate::{
    config::{Config, WebhookCertificates},
    health::Gate,
};

/// Where reviews are answered.
#[derive(Clone)]
pub struct Desk {
    certificates: Certificates,
    answers: Answers,
}

/// What a desk is made of that is not its own.
pub struct Assembly<'a> {
    /// What an administrator decided.
    pub config: &'a Config,
    /// Who keeps the certificate.
    pub kept_by: &'a WebhookCertificates,
    /// Watches what is warned of.
    pub client: &'a Client,
    /// Addresses that Services may have, as far as anyone knows.
    pub services: Option<Services>,
    /// Opens with the first certificate: nobody could connect before.
    pub ready: Gate,
    /// What time it is.
    pub now: fn() -> Timestamp,
}

impl Default for Desk {
    fn default() -> Self {
        let kinds = [
            BackupLocation::kind(&()),
            MetadataBackupPolicy::kind(&()),
            MetadataBackupRecord::kind(&()),
            MetadataRestore::kind(&()),
        ];
        Self {
            certificates: Certificates::default(),
            answers: Answers::about(kinds.iter().map(|kind| &**kind)),
        }
    }
}

impl Desk {
    /// Writes what was answered, and how the certificate stands.
    pub fn write(&self, page: &mut Page) {
        self.answers.write(page);
        let State { not_after, flaw } = self.certificates.state();
        of_certificate(page, not_after.map(Timestamp::as_second), flaw.is_some());
    }

    /// Answers whoever asks until it is told to stop, and then whoever has asked.
    pub async fn serve(
        &self,
        listener: TcpListener,
        assembly: Assembly<'_>,
        stop: CancellationToken,
    ) -> Result<()> {
        let destinations = Arc::new(Destinations::default());
        let router = webhooks::router(self.admission(&assembly, &destinations));
        let server = Server::new(Arc::new(self.certificates.clone()), router, Bounds::default())?;
        tracing::info!(address = ?listener.local_addr().ok(), "webhooks are served");
        tokio::select! {
            () = server.serve(listener, stop) => Ok(()),
            () = self.follow(&assembly) => bail!("nobody keeps the certificate"),
            () = destinations.follow(assembly.client, &assembly.config.namespace) => bail!("a watch ended by itself"),
            () = self.open(&assembly.ready) => Ok(()),
        }
    }

    /// What reviews are judged by.
    fn admission(&self, assembly: &Assembly, destinations: &Arc<Destinations>) -> Admission {
        let (locations, policies) = (destinations.clone(), destinations.clone());
        let answers = self.answers.clone();
        Admission {
            namespace: assembly.config.namespace.clone(),
            allowed_host_paths: assembly.config.allowed_host_paths.clone(),
            others: Others::new(
                move |name| locations.has_location(name),
                move |location| policies.users_of(location),
            ),
            services: assembly.services,
            now: assembly.now,
            told: Arc::new(move |told: &Told| answers.gave(&told.kind, told.allowed, told.took)),
        }
    }

    /// Keeps the certificate current. Does not return.
    async fn follow(&self, Assembly { config, kept_by, client, now, .. }: &Assembly<'_>) {
        match kept_by {
            WebhookCertificates::Own => {
                let namespace = config.namespace.clone();
                let context =
                    runtime::Context::new((*client).clone(), namespace, certificates::MANAGER, *now);
                certificates::keep(&context, &self.certificates).await;
            }
            WebhookCertificates::Folder(folder) => self.certificates.follow(folder, PERIOD, *now).await,
        }
    }

    /// Opens a gate with the first certificate. Does not return.
    async fn open(&self, gate: &Gate) {
        self.certificates.taken().await;
        gate.open();
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::SocketAddr, time::Duration};

    use clap::Parser;
    use rustls::pki_types::ServerName;
    use tempfile::TempDir;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinHandle,
        time::{sleep, timeout},
    };
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::{
        config::Flags,
        trust::{issued, trusting},
    };

    const PATIENCE: Duration = Duration::from_secs(20);
    /// What is no review is answered all the same.
    const REQUEST: &[u8] =
        b"POST /validate-kubedr-catalogicsoftware-com-v1alpha1-backuplocation HTTP/1.1\r\n\
        host: localhost\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

    /// A folder with a certificate of today, and who trusts it.
    fn folder() -> (TempDir, TlsConnector) {
        let (folder, issued) = (tempfile::tempdir().expect("a folder"), issued(2000, 2100));
        fs::write(folder.path().join("tls.crt"), &issued.certificate).expect("a file");
        fs::write(folder.path().join("tls.key"), &issued.key).expect("a file");
        let connector = trusting(issued.certificate.as_bytes());
        (folder, connector)
    }

    fn config() -> Config {
        let flags = Flags::try_parse_from(["operator", "--agent-image=a"]).expect("flags");
        Config::try_from(flags).expect("sound")
    }

    /// One of an API server that is not there.
    fn client() -> Client {
        let nowhere = "http://127.0.0.1:1".parse().expect("a URL");
        Client::try_from(kube::Config::new(nowhere)).expect("a client")
    }

    fn page(desk: &Desk) -> String {
        let mut page = Page::default();
        desk.write(&mut page);
        page.into_text()
    }

    async fn asked(address: SocketAddr, connector: &TlsConnector) -> String {
        let stream = TcpStream::connect(address).await.expect("connected");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("greeted");
        stream.write_all(REQUEST).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    /// Serves in the background, by the certificate of a folder; and where.
    async fn start(
        desk: &Desk,
        folder: &TempDir,
        (ready, stop): (&Gate, &CancellationToken),
    ) -> (JoinHandle<Result<()>>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let kept_by = WebhookCertificates::Folder(folder.path().to_owned());
        let (desk, ready, stop) = (desk.clone(), ready.clone(), stop.clone());
        let served = tokio::spawn(async move {
            let (config, client) = (config(), client());
            let (kept_by, client) = (&kept_by, &client);
            let assembly = Assembly { config: &config, kept_by, client, services: None, ready, now };
            desk.serve(listener, assembly, stop).await
        });
        (served, address)
    }

    /// The machine's: certificates of tests are of today.
    #[expect(clippy::disallowed_methods, reason = "only certificates are judged by it")]
    fn now() -> Timestamp {
        Timestamp::now()
    }

    #[tokio::test]
    async fn who_has_a_certificate_answers_before_the_api_server_does_and_until_told_to_stop() {
        let (folder, connector) = folder();
        let (desk, ready, stop) = (Desk::default(), Gate::default(), CancellationToken::new());
        let (served, address) = start(&desk, &folder, (&ready, &stop)).await;
        timeout(PATIENCE, desk.certificates.taken()).await.expect("in time");
        assert!(asked(address, &connector).await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(ready.is_open());
        let told = page(&desk);
        assert!(
            told.contains("kubedr_webhook_answers_total{kind=\"BackupLocation\",allowed=\"false\"} 1\n")
                && told.contains("\nkubedr_webhook_certificate_refused 0\n"),
            "{told}"
        );
        stop.cancel();
        timeout(PATIENCE, served).await.expect("in time").expect("no panic").expect("no error");
        assert!(TcpStream::connect(address).await.is_err(), "nobody is there any more");
    }

    #[tokio::test]
    async fn without_a_certificate_it_is_not_ready_and_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let (desk, ready, stop) = (Desk::default(), Gate::default(), CancellationToken::new());
        let (served, _) = start(&desk, &folder, (&ready, &stop)).await;
        let told = async {
            while !page(&desk).contains("\nkubedr_webhook_certificate_refused 1\n") {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, told).await.expect("in time");
        assert!(!ready.is_open() && !page(&desk).contains("expiry"));
        stop.cancel();
        timeout(PATIENCE, served).await.expect("in time").expect("no panic").expect("no error");
    }
}
