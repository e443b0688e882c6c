//! `cargo xtask load`: many objects of many kinds, as an API server stores them, straight into etcd.
//!
//! ```text
//! manifest ─▶ API server ─▶ its bytes in etcd ─▶ Template ─▶ N stamped copies ─▶ etcd
//!                                      some of them read through the API server ◀─┘
//! ```
//! So nothing here knows how Kubernetes encodes anything: the API server did it once for each kind.
mod etcd;
mod fill;
mod manifests;
mod template;

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::{Client, Config, config::KubeConfigOptions};

use crate::{etcd::Etcd, template::Template};

/// What is asked for, as the environment says it: `cargo xtask load` has the command line.
struct Request {
    objects: u64,
    /// Where they go; the templates always come from the cluster's own etcd.
    target: String,
    /// The cluster's own.
    source: String,
    certificates: PathBuf,
}

impl Request {
    fn of_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let source = variable("KUBEDR_ETCD_ENDPOINT")?;
        Ok(Self {
            objects: variable("KUBEDR_LOAD_OBJECTS")?.parse().context("KUBEDR_LOAD_OBJECTS is no number")?,
            target: variable("KUBEDR_LOAD_TARGET").unwrap_or_else(|_| source.clone()),
            source,
            certificates: variable("KUBEDR_CERTIFICATES")?.into(),
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match load().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn load() -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let request = Request::of_environment()?;
    let config =
        Config::from_kubeconfig(&KubeConfigOptions::default()).await.context("failed to read KUBECONFIG")?;
    let client = Client::try_from(config).context("failed to make a client")?;
    let source = Etcd::connect(&request.source, &request.certificates).await?;
    let templates = template::read_all(&client, source).await?;
    let target = Etcd::connect(&request.target, &request.certificates).await?;
    let begin = Instant::now();
    let bytes = fill::fill(&target, &templates, request.objects, report).await?;
    let took = begin.elapsed();
    let verified = if request.target == request.source {
        verify(&client, &templates, request.objects).await?
    } else {
        0
    };
    let line = serde_json::json!({
        "objects": request.objects, "kinds": templates.len(), "bytes": bytes,
        "seconds": (took.as_secs_f64() * 10.0).round() / 10.0, "verified": verified,
    });
    writeln!(std::io::stdout(), "{line}").context("failed to print the figures")
}

/// Says how far it is, but not more often than a person wants to read.
fn report(done: u64, all: u64, since: Duration) {
    let seconds = since.as_secs();
    let _ = writeln!(std::io::stderr(), "  {done} of {all} objects, {seconds} s");
}

/// Reads one copy of each kind through the API server: the last one that was stored.
async fn verify(client: &Client, templates: &[Template], objects: u64) -> Result<usize> {
    let mut verified = 0;
    for (index, template) in templates.iter().enumerate() {
        let Some(number) = fill::last_of(templates, index, objects) else { continue };
        let (name, uid) = (template::name(number), template.uid(number));
        let stored = template.get(client, number).await?;
        let found = (stored["metadata"]["name"].as_str(), stored["metadata"]["uid"].as_str());
        ensure!(
            found == (Some(&*name), Some(&*uid)),
            "{}: the API server reads {found:?} where {name} {uid} was stored",
            template.kind()
        );
        verified += 1;
    }
    Ok(verified)
}
