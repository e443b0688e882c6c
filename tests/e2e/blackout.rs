//! The power of a program goes at any moment of a backup: what a record names can be restored, and nothing is left
//! behind. The kernel goes on, so that what was written and not synced is there.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt, api::ListParams};
use kubedr_tests::{
    Cluster, Installation, PATIENCE, Program, Snapshot, is_finished, note, pair, until, until_within,
    with_kubedr_alone,
};
use serde_json::json;

/// Backups that are interrupted in one round.
const MOMENTS: usize = 20;

/// What loses its power.
const VICTIMS: [&str; 6] = ["agent", "restic", "kubelet", "operator", "versitygw", "etcd"];

/// Those of them that a backup may have ended, or not begun, when the power goes.
const IN_PODS: [&str; 3] = ["agent", "restic", "operator"];

/// Those of them that last no longer than a backup, so that chance may miss them each time.
const OF_BACKUPS: [&str; 2] = ["agent", "restic"];

/// One of so many of their moments must hit them.
const SHARE: usize = 3;

/// How often a moment that hits nobody is repeated, where that share lacks.
const REPEATS: usize = 4;

/// Longest wait between a Job's creation and the cut; a backup takes about so long.
const LONGEST: u64 = 4000;

/// By how much sooner a moment that is repeated comes, after the victim was seen.
const SOONER: u64 = 8;

/// One after the other, so that each cut also meets those that came before in another place.
const POLICIES: [&str; 4] = ["one", "two", "three", "four"];

/// Numbers that look random and come again from the same seed.
struct Dice(u64);

impl Dice {
    /// As `KUBEDR_SEED` says, or another one each time; noted, so that the same moments can be had again.
    fn thrown() -> Result<Self> {
        let seed = match std::env::var("KUBEDR_SEED") {
            Ok(seed) => seed.parse().context("KUBEDR_SEED is no number")?,
            Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs(),
        };
        note(&format!("KUBEDR_SEED={seed}"));
        Ok(Self(seed))
    }

    /// A number below `most`; by the generator that is called `SplitMix64`.
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

fn rounds() -> Result<usize> {
    std::env::var("KUBEDR_POWER_CUT_ROUNDS")
        .map_or(Ok(1), |rounds| rounds.parse())
        .context("no number of rounds")
}

#[tokio::test]
async fn whenever_the_power_goes_each_record_can_be_restored_and_nothing_is_left() {
    with_kubedr_alone(&[("power-cut", &["--encrypt"])], async |kubedr| {
        let mut dice = Dice::thrown()?;
        kubedr.make_location().await?;
        try_join_all(POLICIES.map(|name| made(kubedr, name))).await?;
        for _ in 0..rounds()? {
            round(kubedr, &mut dice).await?;
        }
        Ok(())
    })
    .await;
}

async fn made(kubedr: &Installation, name: &str) -> Result<()> {
    let spec = json!({ "certsDir": "/etc/kubernetes/pki" });
    kubedr.make_policy(name, &spec).await?;
    kubedr.successful_backup(name).await.map(drop)
}

async fn round(kubedr: &Installation, dice: &mut Dice) -> Result<()> {
    let mut hits = BTreeMap::<&str, usize>::new();
    for moment in 0..MOMENTS {
        let hit = hits.entry(VICTIMS[moment % VICTIMS.len()]).or_default();
        // All of them, so that whoever is hit changes no later moment.
        let waits: [u64; REPEATS + 1] = std::array::from_fn(|_| dice.below(LONGEST));
        for (repeat, wait) in waits.into_iter().enumerate() {
            *hit += usize::from(cut(kubedr, moment, wait, repeat > 0).await?);
            if *hit >= owed(moment) {
                break;
            }
        }
    }
    note(&format!("of {MOMENTS} moments, and those that were repeated, so many hit: {hits:?}"));
    for moment in MOMENTS - VICTIMS.len()..MOMENTS {
        let victim = VICTIMS[moment % VICTIMS.len()];
        ensure!(hits[victim] >= owed(moment), "the power of {victim} went {} times", hits[victim]);
    }
    again_and_again("all backups to end", async || {
        try_join_all(POLICIES.map(|policy| is_at_rest(kubedr, policy))).await
    })
    .await?;
    // The next run of each cleans up after those before it.
    try_join_all(POLICIES.map(|policy| kubedr.successful_backup(policy))).await?;
    each_record_can_be_restored(kubedr).await?;
    nothing_is_left(kubedr).await
}

/// How many of a victim's moments must have hit it once this one is over.
fn owed(moment: usize) -> usize {
    let passed = moment / VICTIMS.len() + 1;
    if OF_BACKUPS.contains(&VICTIMS[moment % VICTIMS.len()]) { passed.div_ceil(SHARE) } else { 0 }
}

/// Starts a backup, and says whether what loses its power so many milliseconds later was there to lose it. A moment that
/// is repeated comes sooner, and counts from when the victim is there: a busy machine would be missed again and again.
async fn cut(kubedr: &Installation, moment: usize, wait: u64, is_repeated: bool) -> Result<bool> {
    let (policy, victim) = (POLICIES[moment % POLICIES.len()], VICTIMS[moment % VICTIMS.len()]);
    again_and_again("a backup to start", async || is_at_rest(kubedr, policy).await).await?;
    again_and_again("a backup to be asked for", async || kubedr.start_backup(policy).await.map(drop)).await?;
    let wait =
        if is_repeated { appears(kubedr, policy, victim).await.map(|()| wait / SOONER)? } else { wait };
    // Chance is what is tested; nothing else is waited for.
    tokio::time::sleep(Duration::from_millis(wait)).await;
    let killed = kubedr.cluster.kill(victim)?;
    ensure!(killed > 0 || IN_PODS.contains(&victim), "no {victim} runs");
    eprintln!("moment {moment}: {wait} ms after {policy} began: kill -9 of {killed} {victim}");
    Ok(killed > 0)
}

/// Waits until a victim is there, or the backup is over.
async fn appears(kubedr: &Installation, policy: &str, victim: &str) -> Result<()> {
    again_and_again("a program of the backup to start", async || {
        if kubedr.cluster.runs(victim)? { Ok(()) } else { is_at_rest(kubedr, policy).await }
    })
    .await
}

/// Asks until the answer is no error: while the API server is away, everything is one.
async fn again_and_again<T>(what: &str, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    // A Job that was ended from outside begins again after 10, 20 and 40 s.
    until_within(2 * PATIENCE, what, async || Ok(ask().await.map_err(|error| format!("{error:#}")))).await
}

async fn is_at_rest(kubedr: &Installation, policy: &str) -> Result<()> {
    let jobs = kubedr.backup_jobs(policy).await?;
    let busy = jobs.iter().find(|job| !is_finished(job));
    busy.map_or(Ok(()), |job| Err(anyhow::anyhow!("{} goes on: {:?}", job.name_any(), job.status)))
}

async fn each_record_can_be_restored(kubedr: &Installation) -> Result<()> {
    let stored: BTreeSet<_> = kubedr.bucket.snapshots().await?.into_iter().map(|found| found.id).collect();
    for policy in POLICIES {
        for record in kubedr.records(policy).await? {
            let [first, second] = pair(&record)?;
            ensure!(stored.contains(&first) && stored.contains(&second), "{} is no pair", record.name_any());
            let folder = tempfile::tempdir()?;
            kubedr.bucket.restore([&first, &second], folder.path()).await?;
            let snapshot = folder.path().join("data/etcd-snapshot.db");
            Program::new("etcdutl").args(["snapshot", "status"]).arg(snapshot).succeed().await?;
            let key = std::fs::read(folder.path().join("data/certificates/ca.key"))?;
            ensure!(key == std::fs::read(kubedr.cluster.certificates.join("ca.key"))?, "another key");
        }
    }
    kubedr.bucket.restic().args(["check", "--no-lock"]).succeed().await.map(drop)
}

/// No pair that only looks whole, no pod that does not end, no program, no folder of a pod that is gone and no work of
/// one that ended on the node. A first snapshot alone stays until its run's deadline has passed: it may be at work on
/// its second.
async fn nothing_is_left(kubedr: &Installation) -> Result<()> {
    let snapshots = kubedr.bucket.snapshots().await?;
    let widowed = widowed(&snapshots);
    ensure!(widowed.is_empty(), "second snapshots without their first: {widowed:?}");
    until("the node to be tidy", async || {
        let left = left_on_the_node(&kubedr.cluster, kubedr).await?;
        Ok(if left.is_empty() { Ok(()) } else { Err(left) })
    })
    .await
}

/// Second snapshots whose first is not there: each looks like a backup in a listing.
fn widowed(snapshots: &[Snapshot]) -> Vec<&str> {
    let first_of =
        |found: &Snapshot| found.tags.iter().find_map(|tag| tag.strip_prefix("of:").map(str::to_owned));
    let is_widowed = |found: &&Snapshot| {
        first_of(found).is_some_and(|first| !snapshots.iter().any(|other| other.id == first))
    };
    snapshots.iter().filter(is_widowed).map(|found| found.id.as_str()).collect()
}

async fn left_on_the_node(cluster: &Cluster, kubedr: &Installation) -> Result<Vec<String>> {
    let jobs = kubedr.api::<Job>().list(&ListParams::default()).await?.items;
    let mut left: Vec<_> = jobs.iter().filter(|job| !is_finished(job)).map(ResourceExt::name_any).collect();
    left.extend(cluster.agents()?);
    let pods = Api::<Pod>::all(kubedr.client.clone()).list(&ListParams::default()).await?.items;
    for pod in &pods {
        left.extend(cluster.left_by(pod)?.iter().map(|file| file.display().to_string()));
    }
    let known: BTreeSet<_> = pods.into_iter().filter_map(|pod| pod.metadata.uid).collect();
    left.extend(cluster.pod_folders()?.difference(&known).map(|uid| format!("folder of pod {uid}")));
    Ok(left)
}

#[test]
fn the_same_seed_gives_the_same_moments() {
    let throw = |seed| {
        let mut dice = Dice(seed);
        [(); 5].map(|()| dice.below(LONGEST))
    };
    assert_eq!(throw(7), throw(7));
    assert_ne!(throw(7), throw(8));
}
