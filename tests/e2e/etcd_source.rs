//! Which etcd a backup is taken from, and what is said of those that it cannot be taken from.
use std::{fs::File, io::Read, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use api::MetadataBackupPolicy;
use futures::future::try_join_all;
use kubedr_tests::{EtcdMember, Installation, message, programs, until, with_kubedr, within_a_minute};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// What each policy is told of its etcd.
const SAID: [(&str, &str); 10] = [
    ("dead", "EtcdUnreachable"),
    ("silent", "EtcdUnreachable"),
    ("learner", "EtcdUnreachable"),
    ("other-program", "NotEtcd"),
    ("other-authority", "EtcdCertificateInvalid"),
    ("expired", "EtcdCertificateInvalid"),
    ("no-secret", "SecretMissing"),
    ("kine", "NotEtcd"),
    ("corrupt", "CorruptAlarm"),
    ("doubles", "HashMismatch"),
];

#[tokio::test]
async fn what_is_wrong_with_an_etcd_is_named_within_a_minute_and_heals_when_it_is_right() {
    with_kubedr("etcd-troubles", async |kubedr| {
        let mut troubles = Troubles::make(kubedr).await?;
        kubedr.apply(kubedr.location("s3")).await?;
        try_join_all(SAID.map(|(name, _)| made(kubedr, name, troubles.spec(kubedr, name)))).await?;
        try_join_all(SAID.map(|said| is_said(kubedr, said))).await?;
        assert!(kubedr.bucket.snapshots().await?.is_empty(), "none of them stored anything");
        troubles.end(kubedr).await?;
        try_join_all(SAID.map(|(name, _)| kubedr.successful_backup(name))).await.map(drop)
    })
    .await;
}

async fn made(kubedr: &Installation, name: &str, spec: Value) -> Result<()> {
    kubedr.make_policy(name, &spec).await.map(drop)
}

async fn is_said(kubedr: &Installation, (name, reason): (&str, &str)) -> Result<()> {
    let (_, policy) = kubedr.start_failing_backup(name, reason).await?;
    let status = policy.status.unwrap_or_default();
    let said = message(&status.conditions, "Fresh");
    assert!(
        said.contains("spec.etcd") || said.contains("http://"),
        "{name}: field or endpoint is named: {said}"
    );
    Ok(())
}

/// An etcd for each policy, and what is wrong with it.
struct Troubles {
    dead: EtcdMember,
    silent: EtcdMember,
    voter: EtcdMember,
    learner: EtcdMember,
    corrupt: EtcdMember,
    doubles: [EtcdMember; 2],
    kine: Kine,
}

impl Troubles {
    async fn make(kubedr: &Installation) -> Result<Self> {
        let ip = kubedr.cluster.machine_ip.as_str();
        let [mut dead, silent, voter, corrupt, one] = [
            EtcdMember::start(ip).await?,
            EtcdMember::start(ip).await?,
            EtcdMember::start(ip).await?,
            EtcdMember::start(ip).await?,
            EtcdMember::start(ip).await?,
        ];
        let learner = voter.start_learner(ip).await?;
        let other = one.start_double(ip).await?;
        one.etcd().await?.put("/registry/configmaps/default/a", b"one".to_vec()).await?;
        other.etcd().await?.put("/registry/configmaps/default/a", b"other".to_vec()).await?;
        corrupt.etcd().await?.raise_corrupt_alarm().await?;
        silent.pause()?;
        dead.stop().await?;
        let ca = [("ca.crt", foreign_authority(kubedr)?)];
        let mut secret = kubedr.cluster.etcd_credentials()?.to_vec();
        secret.retain(|(name, _)| *name != "ca.crt");
        kubedr.make_secret("other-authority", &[&secret[..], &ca].concat()).await?;
        kubedr.make_secret("expired", &kubedr.cluster.new_etcd_credentials(-1).await?).await?;
        let kine = Kine::start(ip).await?;
        Ok(Self { dead, silent, voter, learner, corrupt, doubles: [one, other], kine })
    }

    fn spec(&self, kubedr: &Installation, name: &str) -> Value {
        match name {
            "dead" => json!({ "etcdEndpoint": self.dead.endpoint() }),
            "silent" => json!({ "etcdEndpoint": self.silent.endpoint() }),
            "learner" => json!({ "etcdEndpoint": self.learner.endpoint() }),
            "kine" => json!({ "etcdEndpoint": self.kine.endpoint }),
            "corrupt" => json!({ "etcdEndpoint": self.corrupt.endpoint() }),
            "doubles" => json!({ "etcdEndpoints": self.doubles.each_ref().map(EtcdMember::endpoint) }),
            "other-program" => json!({ "etcdEndpoint": format!("http://{}", kubedr.bucket.address()) }),
            secret => json!({ "etcdEndpoint": kubedr.cluster.etcd_endpoint, "etcdCreds": secret }),
        }
    }

    /// Mends each as its administrator would.
    async fn end(&mut self, kubedr: &Installation) -> Result<()> {
        self.dead.start_again().await?;
        self.silent.resume()?;
        self.corrupt.disarm().await?;
        self.doubles[1].stop().await?;
        let credentials = kubedr.cluster.etcd_credentials()?;
        kubedr.make_secret("other-authority", &credentials).await?;
        kubedr.make_secret("no-secret", &credentials).await?;
        // The old one is not taken back: a rotation makes a new one.
        kubedr.make_secret("expired", &kubedr.cluster.new_etcd_credentials(1).await?).await?;
        for (name, spec) in [
            ("other-program", json!({ "etcdEndpoint": self.voter.endpoint() })),
            ("kine", json!({ "etcdEndpoint": self.voter.endpoint() })),
            // A learner lasts until it has caught up and is promoted; its cluster has a voter.
            ("learner", json!({ "etcdEndpoints": [self.learner.endpoint(), self.voter.endpoint()] })),
        ] {
            kubedr.change_policy(name, spec).await?;
        }
        Ok(())
    }
}

/// What k3s has in etcd's place where it keeps its objects in sqlite; it ends with this value.
struct Kine {
    endpoint: String,
    _process: Child,
    _folder: TempDir,
}

impl Kine {
    async fn start(ip: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Closed at once: the kernel hands out other ports first.
        let address = std::net::TcpListener::bind((ip, 0))?.local_addr()?;
        let mut kine = Command::new(programs("kine").await?.join("kine"));
        let database = format!("sqlite://{}/state.db?_journal=WAL&cache=shared", folder.path().display());
        kine.args(["--endpoint", &database, "--listen-address", &address.to_string()]);
        kine.args(["--metrics-bind-address", "0"]).current_dir(&folder).kill_on_drop(true);
        let process = kine.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        until("kine to answer", async || {
            Ok(tokio::net::TcpStream::connect(address).await.map_err(|error| error.to_string()))
        })
        .await?;
        Ok(Self { endpoint: format!("http://{address}"), _process: process, _folder: folder })
    }
}

/// An authority that signed no etcd.
fn foreign_authority(kubedr: &Installation) -> Result<String> {
    std::fs::read_to_string(kubedr.cluster.certificates.join("front-proxy-ca.crt"))
        .context("no other authority")
}

#[tokio::test]
async fn without_a_quorum_the_snapshot_is_stored_and_marked_and_with_one_endpoint_silent_another_is_taken() {
    with_kubedr("quorum", async |kubedr| {
        let mut members = EtcdMember::start_cluster(&kubedr.cluster.machine_ip, 3).await?;
        members[0].etcd().await?.put("/registry/configmaps/default/a", b"k8s".to_vec()).await?;
        let endpoints: Vec<_> = members.iter().map(EtcdMember::endpoint).collect();
        kubedr.ready_policy(&json!({ "etcdEndpoints": endpoints })).await?;
        members[0].pause()?;
        within_a_minute(Box::pin(kubedr.successful_backup("etcd"))).await?;
        kubedr.policy_says("etcd", "Complete", ("True", "Complete")).await?;
        members[1].stop().await?;
        kubedr.successful_backup("etcd").await?;
        kubedr.policy_says("etcd", "Complete", ("False", "NoQuorum")).await?;
        members[0].resume()?;
        members[1].start_again().await?;
        kubedr.successful_backup("etcd").await?;
        kubedr.policy_says("etcd", "Complete", ("True", "Complete")).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn another_cluster_behind_the_endpoint_is_a_lineage_that_a_person_accepts() {
    with_kubedr("lineage", async |kubedr| {
        let ip = kubedr.cluster.machine_ip.as_str();
        let [first, second] = [EtcdMember::start(ip).await?, EtcdMember::start(ip).await?];
        kubedr.ready_policy(&json!({ "etcdEndpoint": first.endpoint() })).await?;
        kubedr.successful_backup("etcd").await?;
        kubedr.change_policy("etcd", json!({ "etcdEndpoint": second.endpoint() })).await?;
        let record = kubedr.successful_backup("etcd").await?;
        kubedr.policy_says("etcd", "LineageAccepted", ("False", "LineageChanged")).await?;
        kubedr.policy_says("etcd", "Retained", ("False", "LineageChanged")).await?;
        let lineage = record.status.and_then(|status| status.lineage).context("no lineage")?;
        kubedr.annotate::<MetadataBackupPolicy>("etcd", "accept-lineage", &lineage).await?;
        kubedr.policy_says("etcd", "LineageAccepted", ("True", "Accepted")).await?;
        kubedr.policy_says("etcd", "Retained", ("True", "Retained")).await.map(drop)
    })
    .await;
}

/// What a member has room for, bytes.
const QUOTA: u64 = 150 << 20;

/// What the pod that backs it up has room for: enough for what is on its way, too little for a copy of the snapshot.
const ROOM: u64 = 100 << 20;

/// Bytes per second: what is on its way does not pile up.
const PACE: u64 = 20 << 20;

#[tokio::test]
async fn an_etcd_that_is_full_is_backed_up_where_there_is_no_room_for_a_copy_of_it() {
    with_kubedr("full-etcd", async |kubedr| {
        let mut member = EtcdMember::start(&kubedr.cluster.machine_ip).await?;
        member.limit(QUOTA).await?;
        fill_up(&member).await?;
        let size = std::fs::metadata(member.database())?.len();
        ensure!(size > ROOM, "there would be room for a copy of {size} bytes");
        kubedr.ready_policy(&json!({ "etcdEndpoint": member.endpoint(), "maxRate": PACE })).await?;
        let job = kubedr.start_backup("etcd").await?;
        kubedr.pod_of(&job).await?.cramp("agent", "/work", ROOM).await?;
        let run = kubedr.finished("etcd", &job).await?;
        let status = run.policy.status.unwrap_or_default();
        assert_eq!(status.backup_status.as_deref(), Some("Completed"), "{status:#?}");
        let tries = run.job.status.unwrap_or_default();
        assert_eq!(tries.failed.unwrap_or_default(), 0, "a second pod has all the room: {tries:#?}");
        Ok(())
    })
    .await;
}

/// Stores what nothing makes smaller, until the member refuses it by its alarm.
async fn fill_up(member: &EtcdMember) -> Result<()> {
    let (mut etcd, mut random) = (member.etcd().await?, File::open("/dev/urandom")?);
    let mut value = vec![0; 1 << 20];
    for number in 0..2 * QUOTA / value.len() as u64 {
        random.read_exact(&mut value)?;
        let key = format!("/registry/configmaps/default/{number}");
        if let Err(error) = etcd.put(&key, value.clone()).await {
            let said = format!("{error:#}");
            ensure!(said.contains("database space exceeded"), "{said}");
            return Ok(());
        }
    }
    bail!("the member takes more than its quota")
}
