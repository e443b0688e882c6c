//! A node backs itself up by hand while its API server answers nobody, and kubedr goes on with what it made.
use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use api::MetadataBackupRecord;
use kubedr_tests::{
    Bucket, HostFolder, Installation, Output, Program, Snapshot, file_tree, pair, until, with_kubedr_alone,
};
use model::{
    result::{Backup, Outcome, parse},
    tags::{Common, Tags},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

const API_SERVER: &str = "kube-apiserver";

/// Slow enough that a run can be met while it streams, bytes per second.
const SLOWLY: &str = "--max-rate=100000";

#[tokio::test]
async fn without_an_api_server_a_node_backs_itself_up_as_its_policy_would() {
    with_kubedr_alone(&[("standalone", &["--encrypt"])], async |kubedr| {
        let extra = json!([{ "path": "/etc/kubernetes/admin.conf" }]);
        kubedr.ready_policy(&json!({ "certsDir": "/etc/kubernetes/pki", "extraHostPaths": extra })).await?;
        let scheduled = kubedr.successful_backup("etcd").await?;
        let node = BareNode::make(kubedr).await?;
        ensure!(kubedr.cluster.signal(API_SERVER, Signal::SIGSTOP)? > 0, "there is no API server");
        let made = Box::pin(by_hand(kubedr, &node)).await;
        let resumed = kubedr.cluster.signal(API_SERVER, Signal::SIGCONT);
        let made = made?;
        resumed?;
        is_like(kubedr, &scheduled, &made).await?;
        comes_back(kubedr, &made).await?;
        node.leave(kubedr).await?;
        goes_on(kubedr, &scheduled, &made).await
    })
    .await;
}

/// Whatever is wrong is said, whatever ends it leaves nothing, and then it succeeds.
async fn by_hand(kubedr: &Installation, node: &BareNode) -> Result<Backup> {
    says_what_is_wrong(kubedr, node).await?;
    leaves_nothing(kubedr, node).await?;
    let output = node.backup(kubedr, &["--result-file", &node.folder.on_node("result")])?.output().await?;
    let made = reported(&output)?.with_context(|| format!("the backup failed: {output:#?}"))?;
    let result = fs::read_to_string(node.folder.path().join("result"))?;
    ensure!(output.stdout.ends_with(&format!("{result}\n")), "another result: {result}");
    is_tidy(kubedr, node).await?;
    ensure!(kubedr.bucket.age_the_locks()? == 0, "the locks of those that died are removed");
    Ok(made)
}

async fn says_what_is_wrong(kubedr: &Installation, node: &BareNode) -> Result<()> {
    let other = "ab".repeat(32);
    for (flags, reason, code) in [
        (&["--repository-id", &other][..], "RepositoryReplaced", 68),
        (&["--prefix", "elsewhere"], "RepositoryGone", 68),
        (&["--policy", "kubedr-system/mistyped"], "InvalidSpec", 65),
        (&["--cluster-uid", "mistyped"], "InvalidSpec", 65),
        (&["--cluster-uid", "mistyped", "--first"], "InvalidSpec", 65),
        (&["--extra-host-path", "/etc/kubernetes/mistyped"], "HostPathMissing", 66),
        (&["--etcd-ca", "/etc/kubernetes/pki/front-proxy-ca.crt"], "EtcdCertificateInvalid", 65),
        (&["--credentials-dir", "/etc/kubernetes/mistyped"], "SecretMissing", 65),
    ] {
        is_refused(&node.backup(kubedr, flags)?.output().await?, (reason, code))?;
    }
    ensure!(!kubedr.bucket.folder().join("elsewhere").exists(), "no repository is made");
    let unprivileged = ["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];
    let powerless = kubedr.cluster.on_node("setpriv")?.args(unprivileged);
    let output = node.told(powerless.arg(&node.agent), &kubedr.bucket, &[]).output().await?;
    is_refused(&output, ("InvalidSpec", 65))?;
    ensure!(output.stderr.contains("root on the node itself"), "{output:#?}");
    is_tidy(kubedr, node).await
}

fn is_refused(output: &Output, (reason, code): (&str, i32)) -> Result<()> {
    let refused = reported(output)?.err().with_context(|| format!("{output:#?}"))?;
    ensure!((refused.reason.as_str(), output.code) == (reason, Some(code)), "{output:#?}");
    let objects = ["spec.", "status.", "annotate", "Secret"];
    ensure!(!objects.iter().any(|word| refused.message.contains(word)), "a bare node has none: {refused}");
    Ok(())
}

/// The result, which is the last line of the standard output.
fn reported(output: &Output) -> Result<Outcome<Backup>> {
    let line = output.stdout.lines().last().with_context(|| format!("no result: {output:#?}"))?;
    Ok(parse("backup", line))
}

async fn leaves_nothing(kubedr: &Installation, node: &BareNode) -> Result<()> {
    let before = kubedr.bucket.snapshots().await?;
    // What is killed cannot give its lock back; it is removed once it is old enough.
    ended(kubedr, node, (false, Signal::SIGKILL)).await?;
    let output = ended(kubedr, node, (true, Signal::SIGKILL)).await?;
    is_refused(&output, ("Killed", 75))?;
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 143), (Signal::SIGINT, 130)] {
        let output = ended(kubedr, node, (false, signal)).await?;
        is_refused(&output, ("Killed", code)).with_context(|| format!("after {signal}"))?;
    }
    ensure!(kubedr.bucket.age_the_locks()? == 2, "a run that was told to end gives its lock back");
    ensure!(kubedr.bucket.snapshots().await? == before, "what was cut short is no snapshot");
    Ok(())
}

/// Ends a run while it streams, in the room or from outside.
async fn ended(
    kubedr: &Installation,
    node: &BareNode,
    (is_inside, signal): (bool, Signal),
) -> Result<Output> {
    let running = node.backup(kubedr, &[SLOWLY])?.output();
    let ending = async {
        let process =
            until("the run to stream", async || Ok(streaming(kubedr, is_inside)?.ok_or("not yet"))).await?;
        sees_only_to_read(streaming(kubedr, true)?.context("nobody is in the room")?)?;
        kill(process, signal).context("failed to end it")
    };
    let (output, ending) = tokio::join!(running, ending);
    ending?;
    is_tidy(kubedr, node).await?;
    output
}

/// Nothing of the node that a process sees can be written to.
fn sees_only_to_read(process: Pid) -> Result<()> {
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo"))?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let writable: Vec<_> = fields
        .filter(|mount| {
            !["/", "/proc"].contains(&mount[4]) && !mount[5].split(',').any(|option| option == "ro")
        })
        .collect();
    ensure!(mounts.contains("/data/certificates") && writable.is_empty(), "{writable:?} of\n{mounts}");
    Ok(())
}

/// While a run streams, its process in the room, or the one outside that waits for it.
fn streaming(kubedr: &Installation, is_inside: bool) -> Result<Option<Pid>> {
    let told = |process: &Pid| fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let all: Vec<_> =
        kubedr.cluster.processes("agent")?.into_iter().map(|process| (told(&process), process)).collect();
    if !all.iter().any(|(told, _)| told.contains("\0stream\0")) {
        return Ok(None);
    }
    let is_it = |told: &str| told.contains("--standalone") && told.contains("--inside") == is_inside;
    Ok(all.into_iter().find(|(told, _)| is_it(told)).map(|(_, process)| process))
}

/// No process, with which every mount goes, and no folder that was not there before.
async fn is_tidy(kubedr: &Installation, node: &BareNode) -> Result<()> {
    until("the node to be tidy", async || {
        let processes = [kubedr.cluster.processes("agent")?, kubedr.cluster.processes("restic")?].concat();
        Ok(if processes.is_empty() { Ok(()) } else { Err(processes) })
    })
    .await?;
    ensure!(folders(kubedr)? == node.folders, "folders were made: {:?}", folders(kubedr)?);
    Ok(())
}

/// What is at the node's root, where the room is built, and where programs leave things.
fn folders(kubedr: &Installation) -> Result<BTreeSet<PathBuf>> {
    let root = PathBuf::from(format!("/proc/{}/root", kubedr.cluster.node_process()?));
    let places = ["", "sys", "dev", "tmp", "run"].map(|place| root.join(place));
    let entries = places.iter().map(fs::read_dir).collect::<Result<Vec<_>, _>>()?;
    entries.into_iter().flatten().map(|entry| Ok(entry?.path())).collect()
}

/// A node with kubedr's programs out of the agent's image, and a folder with keys.
struct BareNode {
    folder: HostFolder,
    agent: String,
    policy: String,
    folders: BTreeSet<PathBuf>,
}

impl BareNode {
    async fn make(kubedr: &Installation) -> Result<Self> {
        let folder = HostFolder::make(&kubedr.cluster, "bare-node")?;
        let (keys, image) = (folder.path().join("keys"), folder.path().join("image"));
        fs::create_dir(&keys)?;
        for (name, value) in kubedr.bucket.credentials() {
            fs::write(keys.join(name), value)?;
        }
        fs::create_dir(image)?;
        // The machine's own is also where other tests work.
        let own = ["-t", "tmpfs", "tmpfs", "/tmp"];
        kubedr.cluster.on_node("mount")?.args(own).succeed().await?;
        let image = folder.on_node("image");
        ctr(kubedr, &["mount", "docker.io/kubedr/agent:0.1.0", &image]).await?;
        let policy = format!("{}/etcd", kubedr.namespace);
        Ok(Self { folder, agent: format!("{image}/agent"), policy, folders: folders(kubedr)? })
    }

    async fn leave(&self, kubedr: &Installation) -> Result<()> {
        ctr(kubedr, &["unmount", "--rm", &self.folder.on_node("image")]).await
    }

    /// The agent as a person starts it, with these flags besides or instead.
    fn backup(&self, kubedr: &Installation, flags: &[&str]) -> Result<Program> {
        Ok(self.told(kubedr.cluster.on_node(&self.agent)?, &kubedr.bucket, flags))
    }

    fn told(&self, agent: Program, bucket: &Bucket, flags: &[&str]) -> Program {
        let keys = self.folder.on_node("keys");
        let usual = [
            ("--repository-url", bucket.endpoint.as_str()),
            ("--bucket", &bucket.name),
            ("--credentials-dir", &keys),
            ("--policy", &self.policy),
            ("--certs-dir", "/etc/kubernetes/pki"),
            ("--extra-host-path", "/etc/kubernetes/admin.conf"),
        ];
        let usual = usual.into_iter().filter(|(flag, _)| !flags.contains(flag));
        let words = usual.flat_map(|(flag, value)| [flag, value]);
        agent.args(["backup", "--standalone"]).args(words).args(flags)
    }
}

async fn ctr(kubedr: &Installation, arguments: &[&str]) -> Result<()> {
    let ctr = kubedr.cluster.on_node("ctr")?.args(["-n", "k8s.io", "images"]);
    ctr.args(arguments).succeed().await.map(drop)
}

/// The pair is tagged and laid out as that of the policy's own run, and continues its history.
async fn is_like(kubedr: &Installation, scheduled: &MetadataBackupRecord, made: &Backup) -> Result<()> {
    let snapshots = kubedr.bucket.snapshots().await?;
    let by_hand = [made.snapshot_id.as_str(), made.files_snapshot_id.as_str()];
    for (by_hand, scheduled) in by_hand.into_iter().zip(pair(scheduled)?) {
        let (by_hand, scheduled) = (found(&snapshots, by_hand)?, found(&snapshots, &scheduled)?);
        assert_eq!(by_hand.paths, scheduled.paths);
        let (by_hand, scheduled) = (tags(by_hand)?, tags(scheduled)?);
        // Its run ended at another time.
        let until = by_hand.common.until;
        let expected = Common { backup: made.backup_id.clone(), job: None, until, ..scheduled.common };
        assert_eq!(by_hand.common, expected);
        assert_eq!(
            by_hand.second.map(|second| (second.position.cluster_id, second.incomplete)),
            scheduled.second.map(|second| (second.position.cluster_id, second.incomplete))
        );
    }
    let status = scheduled.status.as_ref().context("no status")?;
    assert_eq!(status.repository_id.as_deref(), Some(made.repository_id.as_str()));
    assert_eq!((made.node.as_str(), made.incomplete.as_ref()), (kubedr.cluster.node.as_str(), None));
    Ok(())
}

fn found<'a>(snapshots: &'a [Snapshot], id: &str) -> Result<&'a Snapshot> {
    snapshots.iter().find(|found| found.id == id).with_context(|| format!("{id} is not in the bucket"))
}

fn tags(snapshot: &Snapshot) -> Result<Tags> {
    Tags::parse(&snapshot.tags).with_context(|| format!("foreign: {snapshot:?}"))
}

async fn comes_back(kubedr: &Installation, made: &Backup) -> Result<()> {
    let target = tempfile::tempdir()?;
    kubedr
        .bucket
        .restore([made.snapshot_id.as_str(), made.files_snapshot_id.as_str()], target.path())
        .await?;
    let data = target.path().join("data");
    assert_eq!(file_tree(&data.join("certificates"))?, file_tree(&kubedr.cluster.certificates)?);
    let original = kubedr.cluster.certificates.with_file_name("admin.conf");
    assert_eq!(fs::read(data.join("host/etc/kubernetes/admin.conf"))?, fs::read(original)?);
    let snapshot = data.join("etcd-snapshot.db");
    Program::new("etcdutl").args(["snapshot", "status"]).arg(snapshot).succeed().await.map(drop)
}

/// The policy's next run continues the same history. No listing makes records yet, so what was made by hand has none,
/// and retention, which goes by records, leaves it where it is.
async fn goes_on(kubedr: &Installation, scheduled: &MetadataBackupRecord, made: &Backup) -> Result<()> {
    until("the API server to answer", async || {
        Ok(kubedr.records("etcd").await.map_err(|error| format!("{error:#}")))
    })
    .await?;
    kubedr.wait_until_operator_is_ready().await?;
    kubedr.change_policy("etcd", json!({ "retainNumBackups": 1 })).await?;
    let next = kubedr.successful_backup("etcd").await?;
    let lineage = |record: &MetadataBackupRecord| record.status.clone().and_then(|status| status.lineage);
    assert_eq!(lineage(&next).as_deref(), Some(made.lineage.as_str()));
    kubedr.policy_says("etcd", "LineageAccepted", ("True", "Accepted")).await?;
    let [gone, _] = pair(scheduled)?;
    let left = until("retention to remove the oldest", async || {
        // While it works, restic may not list.
        let left = kubedr.bucket.snapshots().await.map_err(|error| format!("{error:#}"));
        Ok(left
            .and_then(|left| if found(&left, &gone).is_err() { Ok(left) } else { Err("not yet".to_owned()) }))
    })
    .await?;
    found(&left, made.snapshot_id.as_str()).and_then(|_| found(&left, made.files_snapshot_id.as_str()))?;
    Ok(())
}
