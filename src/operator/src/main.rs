//! The operator: one process that watches kubedr's kinds and keeps their promises.
//!
//! ```text
//! flags ─▶ Config ─▶ client, settings ─▶ lease ─▶ controllers
//!                          ├─▶ webhooks over TLS
//!                          └─▶ health, metrics over HTTP
//! ```
mod admission;
mod config;
mod health;
mod lead;
mod metrics;
mod start;
#[cfg(test)]
#[expect(dead_code, reason = "others ask for more")]
#[path = "../../../webhooks/tests/trust/mod.rs"]
mod trust;

use std::process::ExitCode;

use clap::Parser;

use crate::config::{Config, Flags, LogFormat};

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    // Before anything that speaks TLS: rustls does not choose a provider by itself.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    let config = match Config::try_from(flags) {
        Ok(config) => config,
        Err(violation) => {
            eprintln!("error: {violation}");
            return ExitCode::from(64);
        }
    };
    log(&config);
    match start::run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopped");
            ExitCode::FAILURE
        }
    }
}

fn log(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::new(&config.log_level);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}
