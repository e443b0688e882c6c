//! Stops a cluster, and removes what it left on this machine.

use anyhow::{Context, Result};

use super::leftovers::Traces;
use super::{Cluster, folder_of, joined_to, lock, mounts, processes};
use crate::cache;

/// Stops a cluster, and looks whether anything is left; one that does not run is no error.
pub fn down(name: &str) -> Result<()> {
    let _lock = lock()?;
    let folder = folder_of(name)?;
    let was_there = folder.exists();
    let joined = joined_to(name)?;
    let traces = joined.iter().map(|joined| Traces::of(&joined.name, &joined.folder));
    let traces = traces.chain([Traces::of(name, &folder)]).collect::<Result<Vec<_>>>()?;
    remove(name)?;
    traces.iter().try_for_each(Traces::vanish)?;
    for joined in joined {
        eprintln!("cluster {:?}, which had joined it, is stopped", joined.name);
    }
    eprintln!("cluster {name:?} {}", if was_there { "is stopped, nothing is left" } else { "did not run" });
    Ok(())
}

/// Removes whatever there is of a cluster, complete or not, and first the nodes that joined it.
///
/// # Guarantees
/// The folder goes last: as long as anything is left, so is the folder that it is found by.
pub fn remove(name: &str) -> Result<()> {
    joined_to(name)?.iter().try_for_each(|joined| remove_one(&joined.name))?;
    remove_one(name)
}

fn remove_one(name: &str) -> Result<()> {
    let folder = folder_of(name)?;
    let network = Cluster::read(&folder).ok().map(|cluster| cluster.network);
    processes::kill_all(&folder).with_context(|| format!("cannot stop cluster {name:?}"))?;
    if let Some(network) = network {
        network.detach();
    }
    mounts::remove_cgroups(name)?;
    cache::remove_if_there(&folder)
}
