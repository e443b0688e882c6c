//! Certificates and keys of a cluster, under the names that kubeadm gives them.
//!
//! `kubernetes/pki/` becomes `/etc/kubernetes/pki` on the node; `clients/` holds those that kubeadm keeps elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::{Cluster, folder_of, s3};
use crate::command;

/// One certificate, with its key beside it.
struct Certificate {
    /// File below the cluster's folder, without its ending.
    file: &'static str,
    subject: String,
    /// The section of openssl.cnf that says what it is good for.
    section: &'static str,
    /// Its authority's file without its ending, below the cluster's folder or another's; an authority signs itself.
    authority: Option<PathBuf>,
}

const CLUSTER_CA: &str = "kubernetes/pki/ca";
const ETCD_CA: &str = "kubernetes/pki/etcd/ca";
const FRONT_PROXY_CA: &str = "kubernetes/pki/front-proxy-ca";
/// Of the S3 servers with TLS.
const S3_CA: &str = "s3-authority/ca";
/// What a node has that runs no control plane; the administrator's is for who starts it.
const OF_EVERY_NODE: [&str; 3] = ["clients/admin", "clients/kube-proxy", "clients/kubelet"];

/// Makes all certificates and keys; authorities first, then everything that they sign.
pub fn make(cluster: &Cluster) -> Result<()> {
    for folder in ["kubernetes/pki/etcd", "clients"] {
        fs::create_dir_all(cluster.folder.join(folder))?;
    }
    if let Some(name) = &cluster.options.join {
        return join(cluster, &folder_of(name)?);
    }
    at_once(&cluster.folder, &authorities())?;
    at_once(&cluster.folder, &signed(&cluster.node()))?;
    for (made, used) in
        [("crt", s3::certificate_file(&cluster.folder)), ("key", s3::key_file(&cluster.folder))]
    {
        fs::rename(cluster.folder.join("s3-authority/server").with_extension(made), used)?;
    }
    service_account_key(&cluster.folder.join("kubernetes/pki"))
}

/// What a further node has: certificates that the authority of the cluster signed, and that authority's own, not its key.
fn join(cluster: &Cluster, control: &Path) -> Result<()> {
    let authority = control.join(CLUSTER_CA);
    let public = authority.with_extension("crt");
    fs::copy(&public, cluster.folder.join(CLUSTER_CA).with_extension("crt"))
        .with_context(|| format!("cannot copy {}", public.display()))?;
    let signed = signed(&cluster.node()).into_iter();
    let of_every_node = signed.filter(|signed| OF_EVERY_NODE.contains(&signed.file));
    let joined = of_every_node.map(|signed| Certificate { authority: Some(authority.clone()), ..signed });
    at_once(&cluster.folder, &joined.collect::<Vec<_>>())
}

fn authorities() -> Vec<Certificate> {
    let authority =
        |file, subject: &str| Certificate { file, subject: subject.into(), section: "ca", authority: None };
    vec![
        authority(CLUSTER_CA, "/CN=kubernetes"),
        authority(ETCD_CA, "/CN=etcd-ca"),
        authority(FRONT_PROXY_CA, "/CN=front-proxy-ca"),
        authority(S3_CA, "/CN=s3-ca"),
    ]
}

fn signed(node: &str) -> Vec<Certificate> {
    let certificate = |file, subject: &str, section, authority: &str| Certificate {
        file,
        subject: subject.into(),
        section,
        authority: Some(PathBuf::from(authority)),
    };
    let kubelet = format!("/O=system:nodes/CN=system:node:{node}");
    let node = format!("/CN={node}");
    vec![
        certificate("kubernetes/pki/apiserver", "/CN=kube-apiserver", "apiserver", CLUSTER_CA),
        certificate(
            "kubernetes/pki/apiserver-kubelet-client",
            "/O=system:masters/CN=kube-apiserver-kubelet-client",
            "client",
            CLUSTER_CA,
        ),
        certificate(
            "kubernetes/pki/apiserver-etcd-client",
            "/CN=kube-apiserver-etcd-client",
            "client",
            ETCD_CA,
        ),
        certificate("kubernetes/pki/front-proxy-client", "/CN=front-proxy-client", "client", FRONT_PROXY_CA),
        certificate("kubernetes/pki/etcd/server", &node, "node", ETCD_CA),
        certificate("kubernetes/pki/etcd/peer", &node, "node", ETCD_CA),
        certificate(
            "kubernetes/pki/etcd/healthcheck-client",
            "/CN=kube-etcd-healthcheck-client",
            "client",
            ETCD_CA,
        ),
        certificate("clients/admin", "/O=system:masters/CN=kubernetes-admin", "client", CLUSTER_CA),
        certificate("clients/controller-manager", "/CN=system:kube-controller-manager", "client", CLUSTER_CA),
        certificate("clients/scheduler", "/CN=system:kube-scheduler", "client", CLUSTER_CA),
        certificate("clients/kube-proxy", "/CN=system:kube-proxy", "client", CLUSTER_CA),
        certificate("clients/kubelet", &kubelet, "node", CLUSTER_CA),
        certificate("s3-authority/server", &node, "node", S3_CA),
    ]
}

fn at_once(folder: &Path, certificates: &[Certificate]) -> Result<()> {
    thread::scope(|scope| {
        let make = |certificate| scope.spawn(move || make_one(folder, certificate));
        let threads: Vec<_> = certificates.iter().map(make).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread failed"))?)
    })
}

fn make_one(folder: &Path, certificate: &Certificate) -> Result<()> {
    let file = |name: &str, ending: &str| folder.join(format!("{name}.{ending}"));
    let key = file(certificate.file, "key");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-sha256", "-days", "3650", "-newkey", "ec"]);
    openssl.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", &certificate.subject]);
    openssl
        .args(["-extensions", certificate.section, "-config"])
        .arg(folder.join("configuration/openssl.cnf"));
    openssl.arg("-keyout").arg(&key).arg("-out").arg(file(certificate.file, "crt"));
    if let Some(authority) = &certificate.authority {
        let authority = folder.join(authority);
        openssl.arg("-CA").arg(authority.with_extension("crt"));
        openssl.arg("-CAkey").arg(authority.with_extension("key"));
    }
    command::run(&mut openssl)?;
    protect(&key)
}

fn service_account_key(folder: &Path) -> Result<()> {
    let (key, public) = (folder.join("sa.key"), folder.join("sa.pub"));
    let mut generate = Command::new("openssl");
    generate.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]).arg(&key);
    command::run(&mut generate)?;
    command::run(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&key).arg("-out").arg(public))?;
    protect(&key)
}

fn protect(key: &Path) -> Result<()> {
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(key, mode).with_context(|| format!("cannot protect {}", key.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_that_of_kubeadm() {
        let (authorities, signed) = (authorities(), signed("node1"));
        let mut files: Vec<_> =
            authorities.iter().chain(&signed).map(|certificate| certificate.file).collect();
        files.retain(|file| file.starts_with("kubernetes/pki/"));
        files.sort_unstable();
        let names: Vec<_> = files.iter().map(|file| file.trim_start_matches("kubernetes/pki/")).collect();
        let kubeadm = [
            "apiserver",
            "apiserver-etcd-client",
            "apiserver-kubelet-client",
            "ca",
            "etcd/ca",
            "etcd/healthcheck-client",
            "etcd/peer",
            "etcd/server",
            "front-proxy-ca",
            "front-proxy-client",
        ];
        assert_eq!(names, kubeadm);
    }
}
