//! The operator may do what it was seen to do in all the tests before this one, and nothing else.
use std::{collections::BTreeSet, fs::File, io::BufReader};

use anyhow::{Context, Result, ensure};
use api::names::{AGENT_ACCOUNT, OPERATOR_ACCOUNT};
use kubedr_tests::{
    Cluster, config,
    rights::{Deed, Right, deeds_in, lacking, rights_in, unneeded},
};

/// What is done so seldom that no test comes to it, and why it is needed all the same: verb, resource, reason.
const SELDOM: &[(&str, &str, &str)] = &[
    ("create", "cronjobs", "an apply that makes one is written down as a patch, and asks for this besides"),
    ("delete", "cronjobs", "upstream's, which runs another container, makes room for one of its name"),
];

#[tokio::test]
#[ignore = "judges the tests that ran on the cluster before it: `cargo xtask test` asks for it at their end"]
async fn the_operator_has_each_right_that_it_uses_and_no_other() -> Result<()> {
    let cluster = Cluster::from_environment()?;
    let manifests =
        cluster.program("kubectl").arg("kustomize").arg(config().join("default")).succeed().await?;
    let rights = rights_in(&serde_saphyr::from_multiple(&manifests).context("no manifests")?)?;
    let deeds = deeds_of(&cluster, OPERATOR_ACCOUNT)?;
    ensure!(!deeds.is_empty(), "no operator has asked for anything");
    let lacking = lacking(&rights, &deeds);
    ensure!(lacking.is_empty(), "the operator asks for what it may not do: {lacking:#?}");
    let (seldom, unneeded): (Vec<_>, Vec<_>) =
        unneeded(&rights, &deeds).into_iter().partition(|right| is_seldom(right));
    ensure!(unneeded.is_empty(), "nobody needs these rights: {unneeded:#?}");
    ensure!(seldom.len() == SELDOM.len(), "what a test comes to is not seldom: {seldom:?} are left");
    let of_agents = deeds_of(&cluster, AGENT_ACCOUNT)?;
    ensure!(of_agents.is_empty(), "an agent has no token to ask with: {of_agents:#?}");
    Ok(())
}

/// What accounts of that name asked for since the cluster was started.
fn deeds_of(cluster: &Cluster, account: &str) -> Result<BTreeSet<Deed>> {
    let log = File::open(cluster.file("log/audit.log")?);
    let log = log.context("no audit log")?;
    Ok(deeds_in(BufReader::new(log), account))
}

fn is_seldom(right: &Right) -> bool {
    SELDOM
        .iter()
        .any(|(verb, resource, _)| (right.verb.as_str(), right.resource.as_str()) == (*verb, *resource))
}
