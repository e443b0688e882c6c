//! Stops a cluster, and removes what it left on this machine.

use anyhow::{Context, Result};

use super::leftovers::Traces;
use super::{Cluster, folder_of, lock, mounts, processes};
use crate::cache;

/// Stops a cluster, and looks whether anything is left; one that does not run is no error.
pub fn down(name: &str) -> Result<()> {
    let _lock = lock()?;
    let folder = folder_of(name)?;
    let was_there = folder.exists();
    let traces = Traces::of(name, &folder)?;
    remove(name)?;
    traces.vanish()?;
    eprintln!("cluster {name:?} {}", if was_there { "is stopped, nothing is left" } else { "did not run" });
    Ok(())
}

/// Removes whatever there is of a cluster, complete or not.
///
/// # Guarantees
/// The folder goes last: as long as anything is left, so is the folder that it is found by.
pub fn remove(name: &str) -> Result<()> {
    let folder = folder_of(name)?;
    let network = Cluster::read(&folder).ok().map(|cluster| cluster.network);
    processes::kill_all(&folder).with_context(|| format!("cannot stop cluster {name:?}"))?;
    if let Some(network) = network {
        network.detach();
    }
    mounts::remove_cgroups(name)?;
    cache::remove_if_there(&folder)
}
