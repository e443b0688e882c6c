//! What shells and tests need to know about a running cluster.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::s3::{self, Server};
use super::{Cluster, configuration, processes};
use crate::image;

/// How facts are printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// `export` lines for `eval`.
    Shell,
    /// One JSON object.
    Json,
}

/// The facts, as environment variables.
///
/// Secrets are named by the files that hold them: an environment ends up in logs.
pub fn variables(cluster: &Cluster) -> Result<Vec<(&'static str, String)>> {
    let path = |name: &str| cluster.folder.join(name).display().to_string();
    let network = cluster.network;
    let process = processes::node_process(&cluster.folder)?;
    let process =
        process.with_context(|| format!("cluster {:?} has crashed: start it again", cluster.name))?;
    let endpoint = format!("https://{}:2379", cluster.control.node_ip());
    let endpoints: Vec<_> =
        cluster.members().into_iter().map(|(_, ip)| format!("https://{ip}:2379")).collect();
    let endpoints = if endpoints.is_empty() { endpoint.clone() } else { endpoints.join(",") };
    let mut variables = vec![
        ("KUBECONFIG", cluster.kubeconfig().display().to_string()),
        ("PATH", cluster.path()?),
        // Quicker than `cargo xtask`, which may wait for another cargo's lock.
        ("KUBEDR_XTASK", std::env::current_exe()?.display().to_string()),
        ("KUBEDR_CLUSTER", cluster.name.clone()),
        ("KUBEDR_CLUSTER_FOLDER", cluster.folder.display().to_string()),
        ("KUBEDR_LOGS", path("log")),
        ("KUBEDR_CERTIFICATES", path("kubernetes/pki")),
        ("KUBEDR_NODE_IP", network.node_ip()),
        ("KUBEDR_NODE_PID", process.to_string()),
        ("KUBEDR_MACHINE_IP", network.machine_ip()),
        ("KUBEDR_ETCD_ENDPOINT", endpoint),
        ("KUBEDR_ETCD_ENDPOINTS", endpoints),
    ];
    if !cluster.options.control_plane {
        variables.extend(of_node(cluster)?);
        if !cluster.has_joined() {
            variables.extend(of_s3(cluster, process));
        }
    }
    Ok(variables)
}

/// What only a node has.
fn of_node(cluster: &Cluster) -> Result<[(&'static str, String); 2]> {
    let archives = image::archives()?.map(|archive| archive.display().to_string());
    Ok([("KUBEDR_NODE", cluster.node()), ("KUBEDR_IMAGE_ARCHIVES", archives.join(" "))])
}

/// What only a cluster with S3 servers has, and what is installed on it.
fn of_s3(cluster: &Cluster, process: i32) -> [(&'static str, String); 10] {
    let line = |server: &Server| {
        format!("{}={}={}", server.name(), server.url(cluster), server.folder(cluster, process).display())
    };
    let servers: Vec<_> = cluster.options.s3.iter().map(line).collect();
    let first = cluster.options.s3.first().copied().unwrap_or(Server::Versitygw);
    [
        ("KUBEDR_POD_LOGS", cluster.folder.join("pod-logs").display().to_string()),
        ("KUBEDR_S3_SERVERS", servers.join(" ")),
        ("KUBEDR_S3_ENDPOINT", first.url(cluster)),
        ("KUBEDR_S3_CA", s3::authority_file(&cluster.folder).display().to_string()),
        ("KUBEDR_S3_REGION", "us-east-1".to_owned()),
        ("KUBEDR_S3_FOLDER", first.folder(cluster, process).display().to_string()),
        ("KUBEDR_S3_ACCESS_KEY_FILE", configuration::access_key_file(cluster).display().to_string()),
        ("KUBEDR_S3_SECRET_KEY_FILE", configuration::secret_key_file(cluster).display().to_string()),
        ("KUBEDR_OPERATOR_IMAGE", image::operator_name()),
        ("KUBEDR_AGENT_IMAGE", image::agent_name()),
    ]
}

/// Prints the facts.
pub fn print(cluster: &Cluster, format: Format) -> Result<()> {
    let variables = variables(cluster)?;
    let text = match format {
        Format::Shell => {
            variables.iter().map(|(name, value)| format!("export {name}={}", quote(value)) + "\n").collect()
        }
        Format::Json => {
            let object: serde_json::Map<_, _> =
                variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            format!("{:#}\n", serde_json::Value::Object(object))
        }
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// Whether the S3 servers accept connections.
pub fn answers_s3(cluster: &Cluster) -> bool {
    let answers = |server: &Server| {
        let address =
            cluster.network.node_ip().parse().map(|address| SocketAddr::new(address, server.port()));
        address.is_ok_and(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
    };
    cluster.s3().iter().all(answers)
}

/// One word for any POSIX shell.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_value_is_one_word() {
        assert_eq!(quote("a b$c"), "'a b$c'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
