//! No secret value in any log, event, status, pod spec or process argument.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{ListParams, LogParams},
};
use kubedr_tests::{Installation, until, with_kubedr};
use serde_json::json;

#[tokio::test]
async fn no_secret_value_shows_anywhere() {
    with_kubedr("secrets", async |kubedr| {
        let values = secret_values(kubedr)?;
        let watch = ProcessWatch::start(values.clone());
        failing_location(kubedr).await?;
        kubedr.ready_policy(&json!({ "certsDir": "/etc/kubernetes/pki", "retainNumBackups": 1 })).await?;
        kubedr.successful_backup("etcd").await?;
        kubedr.successful_backup("etcd").await?;
        // The forget pod is one of those whose logs are searched.
        until("retention to be done", async || {
            let records = kubedr.records("etcd").await?.len();
            Ok(if records == 1 { Ok(()) } else { Err(records) })
        })
        .await?;
        let seen = everything(kubedr).await?;
        assert!(
            ["etcd-backup-cronjob", "BackupSucceeded", "etcd is chosen", "leading"]
                .iter()
                .all(|text| seen.contains(text)),
            "the search looks at something"
        );
        for (name, value) in &values {
            assert!(!seen.contains(value), "the value of {name} shows");
        }
        let (arguments, found) = watch.stop();
        assert!(arguments > 0, "processes of restic were seen");
        assert_eq!(found, Vec::<String>::new(), "in process arguments");
        Ok(())
    })
    .await;
}

/// A location that fails in the way whose error is the most likely to repeat what it was given.
async fn failing_location(kubedr: &Installation) -> Result<()> {
    let mut wrong = kubedr.bucket.clone();
    "wrong-secret-key-of-this-test".clone_into(&mut wrong.secret_key);
    kubedr.make_secret("wrong", &wrong.credentials()).await?;
    let mut location = kubedr.location("wrong");
    location["spec"]["credentials"] = json!("wrong");
    kubedr.apply(location).await?;
    kubedr.location_is("wrong", ("False", "AccessDenied")).await.map(drop)
}

/// Each value, and for a PEM file its longest line: a part is as bad as the whole.
fn secret_values(kubedr: &Installation) -> Result<Vec<(&'static str, String)>> {
    let longest_line = |text: &str| text.lines().max_by_key(|line| line.len()).unwrap_or_default().to_owned();
    let etcd = kubedr.cluster.etcd_credentials()?;
    let key =
        etcd.iter().filter(|(name, _)| *name == "client.key").map(|(name, pem)| (*name, longest_line(pem)));
    let encryption = std::fs::read_to_string(kubedr.cluster.certificates.join("encryption.yaml"))?;
    let encryption = encryption
        .lines()
        .find_map(|line| line.trim().strip_prefix("secret: ").map(|key| key.trim_matches('"')))
        .map(str::to_owned);
    let encryption = ("encryption key", encryption.context("no key in the configuration")?);
    let wrong = ("wrong secret_key", "wrong-secret-key-of-this-test".to_owned());
    Ok(kubedr.bucket.credentials().into_iter().chain(key).chain([encryption, wrong]).collect())
}

/// All objects but Secrets, all events and all logs of the namespace, as one text.
async fn everything(kubedr: &Installation) -> Result<String> {
    let kinds = "backuplocations,metadatabackuppolicies,metadatabackuprecords,cronjobs,jobs,pods,deployments,events,configmaps,leases";
    let get = ["get", kinds, "-n", &kubedr.namespace, "-o", "json", "--show-managed-fields"];
    let mut text = kubedr.cluster.program("kubectl").args(get).succeed().await?;
    let pods = kubedr.api::<Pod>();
    let has_begun =
        |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Pending");
    for pod in pods.list(&ListParams::default()).await?.into_iter().filter(has_begun) {
        text += &pods.logs(&pod.name_any(), &LogParams::default()).await?;
    }
    Ok(text)
}

/// Looks through the arguments of all processes of this machine, the cluster's too, until it is stopped.
struct ProcessWatch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, Vec<String>)>,
}

impl ProcessWatch {
    fn start(values: Vec<(&'static str, String)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut restics, mut found) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                for arguments in command_lines() {
                    restics += usize::from(arguments.contains("restic"));
                    found.extend(
                        values
                            .iter()
                            .filter(|(_, value)| arguments.contains(value))
                            .map(|_| arguments.clone()),
                    );
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            (restics, found)
        });
        Self { stop, thread }
    }

    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic")
    }
}

fn command_lines() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    // A process that ended between the two reads has no arguments any more.
    let read = |process: std::fs::DirEntry| std::fs::read(process.path().join("cmdline")).ok();
    processes.filter_map(read).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}
