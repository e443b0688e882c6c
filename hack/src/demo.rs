//! `cargo xtask demo`: from an empty machine to a restored backup, saying what it does.
//!
//! images → cluster → kubedr → samples → backup → record → what the bucket holds → restore → etcd's own verdict.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::cluster::{self, Cluster};
use crate::toolchain::repository;
use crate::{command, image};

/// The demonstration's own cluster.
const CLUSTER: &str = "demo";

/// Where kubedr is installed.
const NAMESPACE: &str = "kubedr-system";

/// The policy among the samples.
const POLICY: &str = "test-backup";

/// Longest wait for one step of the cluster's.
const PATIENCE: Duration = Duration::from_mins(3);

/// How often a wait says that it goes on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

/// Arguments of `cargo xtask demo`.
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:
  cargo xtask demo           the whole way, then everything is removed
  cargo xtask demo --keep    the same, but the cluster stays, with the lines to type next")]
pub struct Arguments {
    /// Leave the cluster running, and print what to type next.
    #[arg(long)]
    keep: bool,
}

/// Shows a backup and its way back; removes everything afterwards unless it is told to keep it.
pub fn run(arguments: &Arguments) -> Result<()> {
    say("Building kubedr's images (minutes the first time)");
    let images = image::build(false)?;
    say("Starting a real single-node Kubernetes");
    let cluster = cluster::up(CLUSTER, &cluster::Options::default())?;
    let result = Demo::new(&cluster).and_then(|demo| demo.show(&images, arguments.keep));
    let result = result.and(cluster::stayed_up(CLUSTER));
    if !arguments.keep {
        say("Removing the cluster");
        cluster::down(CLUSTER)?;
    }
    result
}

/// A heading, so that a person sees where it is.
fn say(what: &str) {
    eprintln!("\n==> {what}");
}

/// The running demonstration.
struct Demo {
    environment: Vec<(&'static str, String)>,
    folder: PathBuf,
}

impl Demo {
    fn new(cluster: &Cluster) -> Result<Self> {
        let folder = cluster.folder.join("demo");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .context("cannot make the demo's folder")?;
        Ok(Self { environment: cluster::variables(cluster)?, folder })
    }

    fn show(&self, images: &[PathBuf], keep: bool) -> Result<()> {
        self.install(images)?;
        self.ask_for_backups()?;
        let record = self.wait_for_backup()?;
        self.look_into_the_bucket()?;
        self.restore(&record)?;
        if keep { self.tell_what_next() } else { Ok(()) }
    }

    fn install(&self, images: &[PathBuf]) -> Result<()> {
        say("Installing kubedr: kubectl apply -k config/default");
        cluster::load(CLUSTER, images)?;
        let config = repository().join("config");
        command::run_visibly(self.kubectl(&["apply", "-k"]).arg(config.join("default")))?;
        let rollout = ["rollout", "status", "deployment/kubedr-operator", "--timeout=180s"];
        command::run_visibly(&mut self.kubectl(&rollout))
    }

    fn ask_for_backups(&self) -> Result<()> {
        say("Keys for the bucket and for etcd, as two Secrets; a Service for the S3 server");
        self.make_secret("minio-creds", &self.bucket_keys()?)?;
        self.make_secret("etcd-creds", &self.etcd_keys()?)?;
        self.serve_bucket()?;
        say("Applying the samples");
        let sample = |name: &str| repository().join("config/samples").join(name);
        let mut apply = self.kubectl(&["apply", "-f"]);
        apply.arg(sample("backup-location.yaml")).arg("-f").arg(sample("metadata-policy.yaml"));
        command::run_visibly(&mut apply)
    }

    /// The keys' files, under the names that the Secret wants; their contents never are arguments.
    fn bucket_keys(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let password = self.folder.join("restic_repo_password");
        write_private(&password, "keep-this-outside-of-the-cluster")?;
        Ok(vec![
            ("access_key", self.variable("KUBEDR_S3_ACCESS_KEY_FILE")?.into()),
            ("secret_key", self.variable("KUBEDR_S3_SECRET_KEY_FILE")?.into()),
            ("restic_repo_password", password),
        ])
    }

    fn etcd_keys(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let pki = PathBuf::from(self.variable("KUBEDR_CERTIFICATES")?);
        Ok(vec![
            ("ca.crt", pki.join("etcd/ca.crt")),
            ("client.crt", pki.join("apiserver-etcd-client.crt")),
            ("client.key", pki.join("apiserver-etcd-client.key")),
        ])
    }

    fn make_secret(&self, name: &str, files: &[(&str, PathBuf)]) -> Result<()> {
        let mut create =
            self.kubectl(&["create", "secret", "generic", name, "--dry-run=client", "-o", "json"]);
        create.args(files.iter().map(|(key, path)| format!("--from-file={key}={}", path.display())));
        let secret = command::output(&mut create)?;
        self.apply(&secret)
    }

    /// Puts the cluster's S3 server at the address that the samples name.
    fn serve_bucket(&self) -> Result<()> {
        let endpoint = self.variable("KUBEDR_S3_ENDPOINT")?;
        let (ip, port) = endpoint.trim_start_matches("http://").split_once(':').context("no port")?;
        let port: u16 = port.parse().context("the S3 server's port is no number")?;
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "minio" },
            "spec": { "clusterIP": "10.96.57.3", "ports": [{ "name": "s3", "port": 9000, "targetPort": port }] },
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "minio", "labels": { "kubernetes.io/service-name": "minio" } },
            "endpoints": [{ "addresses": [ip] }], "ports": [{ "name": "s3", "port": port }],
        });
        self.apply(&service.to_string())?;
        self.apply(&slice.to_string())
    }

    fn wait_for_backup(&self) -> Result<Value> {
        self.wait_for("the repository to be made", &["get", "backuplocation", "local-minio"], is_ready)?;
        self.wait_for("the policy to be in force", &["get", "metadatabackuppolicy", POLICY], is_ready)?;
        say("Asking for a backup now, outside the schedule");
        let run_now = "kubedr.catalogicsoftware.com/run-now=demo";
        command::run_visibly(&mut self.kubectl(&[
            "annotate",
            "--overwrite",
            "metadatabackuppolicy",
            POLICY,
            run_now,
        ]))?;
        let policy = self.wait_for("the backup", &["get", "metadatabackuppolicy", POLICY], |policy| {
            policy["status"]["mbrName"].is_string() || policy["status"]["backupStatus"] == "Failed"
        })?;
        let Some(record) = policy["status"]["mbrName"].as_str() else {
            bail!("the backup failed: {}", policy["status"]["backupErrorMessage"]);
        };
        say("The record");
        self.wait_for("the record", &["get", "metadatabackuprecord", record], |record| {
            record["status"]["filesSnapshotIdFull"].is_string()
        })?;
        let all = "backuplocations,metadatabackuppolicies,metadatabackuprecords";
        command::run_visibly(&mut self.kubectl(&["get", all]))?;
        self.read(&["get", "metadatabackuprecord", record])
    }

    fn look_into_the_bucket(&self) -> Result<()> {
        say("What is in the bucket: restic snapshots --compact");
        command::run_visibly(self.restic()?.args(["snapshots", "--compact"]))
    }

    fn restore(&self, record: &Value) -> Result<()> {
        let target = self.folder.join("restored");
        say(&format!(
            "Restoring both snapshots of the backup: restic restore … --target {}",
            target.display()
        ));
        for field in ["snapshotIdFull", "filesSnapshotIdFull"] {
            let id = record["status"][field]
                .as_str()
                .with_context(|| format!("the record has no status.{field}"))?;
            command::run_visibly(self.restic()?.args(["restore", id, "--target"]).arg(&target))?;
        }
        command::run_visibly(
            Command::new("ls").arg("-l").arg(target.join("data")).arg(target.join("data/certificates")),
        )?;
        say("What etcd's own tool says of the snapshot: etcdutl snapshot status");
        let mut etcdutl = self.program("etcdutl");
        etcdutl.args(["snapshot", "status", "-w", "table"]).arg(target.join("data/etcd-snapshot.db"));
        command::run_visibly(&mut etcdutl)
    }

    fn tell_what_next(&self) -> Result<()> {
        say("The cluster stays. Type next:");
        let lines = format!(
            "  eval \"$(cargo xtask cluster env --name {CLUSTER})\"\n\
             \x20 kubectl -n {NAMESPACE} get backuplocations,metadatabackuppolicies,metadatabackuprecords\n\
             \x20 kubectl -n {NAMESPACE} describe metadatabackuppolicy {POLICY}\n\
             \x20 kubectl -n {NAMESPACE} get events\n\
             \x20 export AWS_ACCESS_KEY_ID=$(cat $KUBEDR_S3_ACCESS_KEY_FILE) \
             AWS_SECRET_ACCESS_KEY=$(cat $KUBEDR_S3_SECRET_KEY_FILE)\n\
             \x20 export RESTIC_REPOSITORY=s3:$KUBEDR_S3_ENDPOINT/testbucket RESTIC_PASSWORD_FILE={}\n\
             \x20 restic snapshots --compact\n\
             \x20 kubectl -n {NAMESPACE} annotate --overwrite metadatabackuppolicy {POLICY} \
             kubedr.catalogicsoftware.com/run-now=\"$(date +%s)\"\n\
             \x20 ls -lR {}\n\
             \x20 cargo xtask cluster down --name {CLUSTER}\n",
            self.folder.join("restic_repo_password").display(),
            self.folder.join("restored").display(),
        );
        std::io::stdout().write_all(lines.as_bytes()).context("cannot print")
    }

    /// Asks until the object is as wanted, and says every few seconds that it still waits.
    fn wait_for(&self, what: &str, get: &[&str], is_there: impl Fn(&Value) -> bool) -> Result<Value> {
        let begin = Instant::now();
        let mut said = begin;
        eprintln!("waiting for {what}");
        loop {
            let object = self.read(get)?;
            if is_there(&object) {
                eprintln!("  done after {:.1} s", begin.elapsed().as_secs_f32());
                return Ok(object);
            }
            if begin.elapsed() > PATIENCE {
                bail!("waited {PATIENCE:?} for {what}; the status is {:#}", object["status"]);
            }
            if said.elapsed() > PROGRESS_INTERVAL {
                said = Instant::now();
                eprintln!("  {:.0} s …", begin.elapsed().as_secs_f32());
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn read(&self, get: &[&str]) -> Result<Value> {
        let text = command::output(self.kubectl(get).args(["-o", "json"]))?;
        serde_json::from_str(&text).context("kubectl prints no JSON")
    }

    fn apply(&self, manifest: &str) -> Result<()> {
        let mut kubectl = self.kubectl(&["apply", "-f", "-"]);
        let mut child = kubectl.stdin(Stdio::piped()).spawn().context("cannot start kubectl")?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        input.write_all(manifest.as_bytes()).context("kubectl does not read its input")?;
        drop(input);
        if !child.wait()?.success() {
            bail!("kubectl apply failed");
        }
        Ok(())
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut kubectl = self.program("kubectl");
        kubectl.args(["--namespace", NAMESPACE]).args(arguments);
        kubectl
    }

    fn restic(&self) -> Result<Command> {
        let read = |name: &str| -> Result<String> {
            let path = self.variable(name)?;
            Ok(fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?.trim().to_owned())
        };
        let mut restic = self.program("restic");
        restic.env("AWS_ACCESS_KEY_ID", read("KUBEDR_S3_ACCESS_KEY_FILE")?);
        restic.env("AWS_SECRET_ACCESS_KEY", read("KUBEDR_S3_SECRET_KEY_FILE")?);
        restic.env("RESTIC_PASSWORD_FILE", self.folder.join("restic_repo_password"));
        restic.env("RESTIC_REPOSITORY", format!("s3:{}/testbucket", self.variable("KUBEDR_S3_ENDPOINT")?));
        restic.arg("--no-cache");
        Ok(restic)
    }

    fn program(&self, name: &str) -> Command {
        let mut program = Command::new(self.path_of(name));
        program.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        program
    }

    /// A program is looked for on the PATH of this process, so the cluster's is searched here.
    fn path_of(&self, name: &str) -> PathBuf {
        let path = self.variable("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
        found.unwrap_or_else(|| name.into())
    }

    fn variable(&self, name: &str) -> Result<String> {
        let found = self.environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).with_context(|| format!("the cluster has no {name}"))
    }
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_the_condition_of_that_name() {
        let with =
            |status: &str| json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
        assert!(is_ready(&with("True")));
        assert!(!is_ready(&with("False")));
        assert!(!is_ready(&json!({})));
    }
}
