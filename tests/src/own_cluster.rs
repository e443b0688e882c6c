//! A cluster of one test's own, whose programs the test may kill.
use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use futures::FutureExt;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Cluster, Facts, Installation, Program, with_kubedr_on};

/// How many nodes tests may have of their own at once. Each takes some fifteen of the inotify instances that a kernel
/// gives to one user, 128 as a rule, and a kubelet that gets none ends.
const MOST: usize = 5;

static ROOM: Semaphore = Semaphore::const_new(MOST);

/// Waits until so many nodes may be started, and keeps their places. A test asks once, for all of its nodes.
pub async fn room(nodes: usize) -> SemaphorePermit<'static> {
    assert!(nodes <= MOST, "{nodes} nodes would be waited for in vain");
    let count = u32::try_from(nodes).expect("few nodes");
    ROOM.acquire_many(count).await.expect("nobody closes it")
}

/// A cluster beside that of all tests.
pub struct OwnCluster {
    name: &'static str,
}

/// The developer's program, which starts clusters.
pub fn xtask() -> Result<Program> {
    let path = std::env::var("KUBEDR_XTASK").context("KUBEDR_XTASK is not set: run `cargo xtask test`")?;
    Ok(Program::new(path))
}

impl OwnCluster {
    /// The one of this name, which may be running, or be what is left of one.
    pub fn named(name: &'static str) -> Self {
        Self { name }
    }

    /// Starts it, with what `cargo xtask cluster up` is told besides its name.
    pub async fn up(name: &'static str, options: &[&str]) -> Result<Self> {
        xtask()?.args(["cluster", "up", "--name", name]).args(options).succeed().await?;
        Ok(Self::named(name))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Ends it, and all that runs on it.
    pub async fn down(&self) -> Result<()> {
        xtask()?.args(["cluster", "down", "--name", self.name]).succeed().await.map(drop)
    }

    /// What is to be known of it.
    pub async fn facts(&self) -> Result<Facts> {
        let facts = ["cluster", "env", "--output", "json", "--name", self.name];
        Facts::read(&xtask()?.args(facts).succeed().await?)
    }

    /// The same as the tests see theirs.
    pub async fn cluster(&self) -> Result<Cluster> {
        Cluster::of(self.facts().await?)
    }

    /// Gives its node the product's images.
    pub async fn load_images(&self) -> Result<()> {
        let facts = self.facts().await?;
        let archives = facts.get("KUBEDR_IMAGE_ARCHIVES")?.split(' ');
        xtask()?.args(["cluster", "load", "--name", self.name]).args(archives).succeed().await.map(drop)
    }
}

/// Runs a test on an installation on a cluster of its own, whose programs it may kill; both go away afterwards.
///
/// The first of `nodes` is the cluster, and the others are what joins it: names, and what `cargo xtask cluster up` is
/// told besides.
pub async fn with_kubedr_alone(
    nodes: &[(&'static str, &[&str])],
    test: impl AsyncFnOnce(&Installation) -> Result<()>,
) {
    let (name, _) = nodes.first().expect("a node");
    let own = OwnCluster::named(name);
    let _room = room(nodes.len()).await;
    // Whatever an interrupted run left.
    own.down().await.expect("nothing of it is left");
    let run = async {
        let cluster = async {
            for (name, options) in nodes {
                OwnCluster::up(name, options).await?.load_images().await?;
            }
            own.cluster().await
        };
        let cluster = cluster.await.expect("a cluster with the images");
        with_kubedr_on(cluster, name, test).await;
    };
    let result = AssertUnwindSafe(run).catch_unwind().await;
    let down = own.down().await;
    result.unwrap_or_else(|panic| resume_unwind(panic));
    down.expect("the cluster goes away");
}

/// Folder of a set of test programs, as `hack/programs` names it; built where it is not there yet.
pub async fn programs(set: &str) -> Result<PathBuf> {
    Ok(xtask()?.args(["programs", set]).succeed().await?.trim().into())
}

/// Folder of a Go module of such a set, as it was published: some have files that their programs want to be applied.
pub async fn module(set: &str, module: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hack/programs").join(set);
    let go = Program::new("go").arg("-C").arg(folder).args(["mod", "download", "-json", module]);
    let said: Value = serde_json::from_str(&go.env("GOFLAGS", "").env("GOWORK", "off").succeed().await?)?;
    said["Dir"].as_str().map(PathBuf::from).with_context(|| format!("no folder: {said}"))
}
