//! `cargo xtask load`: many objects of many kinds, as an API server stores them, straight into etcd.
//!
//! Some of them are then read through the API server.
use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::Client;
use kubedr_tests::{
    Cluster,
    load::{self, Etcd, Template},
};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    // As `cargo xtask load` has it from its command line.
    let objects = std::env::var("KUBEDR_LOAD_OBJECTS").context("KUBEDR_LOAD_OBJECTS is not set")?;
    let objects: u64 = objects.parse().context("KUBEDR_LOAD_OBJECTS is no number")?;
    let cluster = Cluster::from_environment()?;
    let client = cluster.client().await?;
    let source = &cluster.etcd_endpoint;
    let target = std::env::var("KUBEDR_LOAD_TARGET").unwrap_or_else(|_| source.clone());
    let templates = load::read_all(&client, Etcd::new(cluster.etcd(source).await?)).await?;
    let etcd = Etcd::new(cluster.etcd(&target).await?);
    let begin = Instant::now();
    let bytes = load::fill(&etcd, &templates, 0..objects, report).await?;
    let took = begin.elapsed();
    let verified = if target == *source { verify(&client, &templates, objects).await? } else { 0 };
    let line = serde_json::json!({
        "objects": objects, "kinds": templates.len(), "bytes": bytes,
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
        let Some(number) = load::last_of(templates, index, objects) else { continue };
        let (name, uid) = (load::name(number), template.uid(number));
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
