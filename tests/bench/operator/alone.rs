//! What the API server takes to store what an operator writes of new policies, as many at once, where nobody reads,
//! watches or decides.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use api::{BackupLocation, MetadataBackupPolicy};
use controllers::{
    Settings,
    metadata::policy::{MANAGER, decide::decide, observe::World},
};
use futures::{StreamExt, TryStreamExt};
use kubedr_tests::{Installation, now};
use runtime::{CONCURRENCY, Plan, act};

use super::scene::{LOCATION, Scene};

/// Makes policies of which no operator knows, and says how long it takes to write what one would, by its own code.
pub async fn writes(kubedr: &Installation, scene: &Scene<'_>, count: u64) -> Result<Duration> {
    let there = scene.count().await?;
    let policies = scene.make(there..there + count).await?;
    let location = kubedr.api::<BackupLocation>().get(LOCATION).await.context("no location")?;
    let context = runtime::Context::new(kubedr.client.clone(), kubedr.namespace.clone(), MANAGER, now);
    let plans: Vec<_> = policies.iter().map(|policy| (policy, plan(policy, &location))).collect();
    let begun = Instant::now();
    let writing = futures::stream::iter(plans).map(|(policy, plan)| act(&context, policy, plan));
    let done: Vec<_> = writing.buffer_unordered(CONCURRENCY.into()).try_collect().await?;
    let (took, writes) = (begun.elapsed(), done.iter().map(|done| done.writes).sum::<usize>());
    ensure!(writes as u64 == 2 * count, "{writes} writes for {count} policies");
    Ok(took)
}

/// What an operator makes of a policy that it sees for the first time.
fn plan(policy: &MetadataBackupPolicy, location: &BackupLocation) -> Plan {
    decide(&World {
        policy: policy.clone(),
        location: Some(location.clone()),
        cronjob: None,
        backups: Vec::new(),
        forgets: Vec::new(),
        pods: Vec::new(),
        troubles: Vec::new(),
        records: Vec::new(),
        nodes: ["node-role.kubernetes.io/control-plane".to_owned()].into(),
        settings: Arc::new(Settings::new("kubedr/agent:nowhere", "u")),
        now: now(),
    })
}
