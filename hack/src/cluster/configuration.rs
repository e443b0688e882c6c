//! Files that the programs of a cluster read: templates, filled in with the cluster's names and addresses.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Cluster;
use super::network::{POD_RANGES, SERVICE_IP, SERVICE_RANGE, pod_range};

/// File below the cluster's folder, and its template.
const FILES: &[(&str, &str)] = &[
    ("configuration/audit.yaml", include_str!("templates/audit.yaml")),
    ("configuration/openssl.cnf", include_str!("templates/openssl.cnf")),
    ("configuration/kubelet.yaml", include_str!("templates/kubelet.yaml")),
    ("configuration/containerd.toml", include_str!("templates/containerd.toml")),
    ("configuration/cni/10-pods.conflist", include_str!("templates/pods.conflist")),
    ("configuration/resolv.conf", include_str!("templates/resolv.conf")),
];

/// Whoever has a kubeconfig; also the name of its client certificate.
const USERS: &[&str] = &["admin", "controller-manager", "scheduler", "kube-proxy", "kubelet"];

/// Folders that are bound to their usual places on the node, or that a program expects to exist.
const FOLDERS: &[&str] = &[
    "configuration/cni",
    "kubernetes/manifests",
    "s3-credentials",
    "s3-users",
    "containerd",
    "kubelet",
    "pod-logs",
    "s3-authority",
    "s3-certificates",
    "s3-no-certificates",
    "log",
];

/// Writes everything but certificates.
pub fn write(cluster: &Cluster) -> Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(cluster.folder.join(folder))?;
    }
    for (member, _) in cluster.members() {
        // etcd complains about a data folder that others may read.
        fs::DirBuilder::new().mode(0o700).create(cluster.folder.join(member))?;
    }
    for (file, template) in FILES {
        write_file(&cluster.folder.join(file), &fill_in(template, cluster))?;
    }
    for user in USERS {
        let template = include_str!("templates/kubeconfig.yaml").replace("{{user}}", user);
        write_file(&cluster.folder.join(format!("kubernetes/{user}.conf")), &fill_in(&template, cluster))?;
    }
    write_secret(&access_key_file(cluster), 10)?;
    write_secret(&secret_key_file(cluster), 20)?;
    write_private(&users_folder(cluster).join("users.json"), &users()?)?;
    if cluster.options.encrypt { write_encryption(cluster) } else { Ok(()) }
}

/// How the API server encrypts Secrets, with a key of its own for each cluster.
fn write_encryption(cluster: &Cluster) -> Result<()> {
    let folder = cluster.folder.join("kubernetes/pki");
    fs::create_dir_all(&folder)?;
    // 32 hexadecimal digits are base64 too, of 24 bytes: a key of AES.
    let text = include_str!("templates/encryption.yaml").replace("{{encryption_key}}", &random(16)?);
    write_private(&folder.join("encryption.yaml"), &text)
}

/// Where versitygw keeps its users.
pub fn users_folder(cluster: &Cluster) -> PathBuf {
    cluster.folder.join("s3-users")
}

/// A user who may neither make buckets nor use those of others.
fn users() -> Result<String> {
    let access = "stranger";
    let user = serde_json::json!({ "access": access, "secret": random(20)?, "role": "user" });
    Ok(serde_json::json!({ "accessAccounts": { access: user } }).to_string())
}

/// Where the S3 server's access key lies.
pub fn access_key_file(cluster: &Cluster) -> PathBuf {
    cluster.folder.join("s3-credentials/access-key")
}

/// Where the S3 server's secret key lies.
pub fn secret_key_file(cluster: &Cluster) -> PathBuf {
    cluster.folder.join("s3-credentials/secret-key")
}

/// Replaces the names in double braces.
pub fn fill_in(template: &str, cluster: &Cluster) -> String {
    let members = cluster.members();
    let joined =
        |line: &dyn Fn(&(&str, String)) -> String| members.iter().map(line).collect::<Vec<_>>().join(",");
    let values = [
        ("{{etcd_peers}}", joined(&|(name, ip)| format!("{name}=https://{ip}:2380"))),
        ("{{etcd_clients}}", joined(&|(_, ip)| format!("https://{ip}:2379"))),
        ("{{address_sans}}", format!("IP:{}", cluster.addresses().join(",IP:"))),
        ("{{node}}", cluster.node()),
        ("{{machine_ip}}", cluster.network.machine_ip()),
        ("{{node_ip}}", cluster.network.node_ip()),
        ("{{control_ip}}", cluster.control.node_ip()),
        ("{{service_range}}", SERVICE_RANGE.to_owned()),
        ("{{service_ip}}", SERVICE_IP.to_owned()),
        ("{{pod_range}}", pod_range(cluster.ordinal)),
        ("{{pod_ranges}}", POD_RANGES.to_owned()),
        ("{{cgroup}}", format!("/{}", super::mounts::cgroup_name(&cluster.name))),
        ("{{folder}}", cluster.folder.display().to_string()),
    ];
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
}

fn write_file(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Random, so that a test which finds it in a log has found a leak.
fn write_secret(path: &Path, length: usize) -> Result<()> {
    write_private(path, &random(length)?)
}

/// So many bytes as hexadecimal digits.
fn random(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file?, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
pub mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    pub fn example(folder: &Path, etcd_members: usize) -> Cluster {
        Cluster {
            name: "x".into(),
            folder: folder.into(),
            network: super::super::network::tests::example(),
            control: super::super::network::tests::example(),
            ordinal: 1,
            programs: Vec::new(),
            node_images: ["/i".into(), "/j".into()],
            options: super::super::Options { etcd_members, ..Default::default() },
        }
    }

    #[test]
    fn no_template_keeps_a_brace() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = example(folder.path(), 1);
        write(&cluster).unwrap();
        for file in FILES.iter().map(|(file, _)| *file).chain(["kubernetes/admin.conf"]) {
            let text = fs::read_to_string(folder.path().join(file)).unwrap();
            assert!(!text.contains("{{"), "{file}: {text}");
        }
    }

    #[test]
    fn only_a_cluster_that_is_to_encrypt_has_a_key_for_it_which_is_for_root_alone() {
        let written = |encrypt| {
            let folder = tempfile::tempdir().unwrap();
            let mut cluster = example(folder.path(), 1);
            cluster.options.encrypt = encrypt;
            write(&cluster).unwrap();
            let file = folder.path().join("kubernetes/pki/encryption.yaml");
            let mode = fs::metadata(&file).map(|file| file.permissions().mode() & 0o777).ok();
            (mode, fs::read_to_string(file).unwrap_or_default())
        };
        assert_eq!(written(false).0, None);
        let (mode, text) = written(true);
        assert_eq!(mode, Some(0o600));
        assert!(!text.contains("{{") && text.contains("secret: \""), "{text}");
    }

    #[test]
    fn secrets_are_for_root_alone_and_never_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = example(folder.path(), 1);
        write(&cluster).unwrap();
        let secret = secret_key_file(&cluster);
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        let first = fs::read_to_string(&secret).unwrap();
        fs::remove_file(&secret).unwrap();
        write_secret(&secret, 20).unwrap();
        assert_ne!(fs::read_to_string(&secret).unwrap(), first);
        assert_eq!(first.len(), 40);
    }
}
