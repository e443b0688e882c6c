//! Writes the inputs that fuzzing begins with: a folder for each target, below the one that is named.
use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result};
use kubedr_fuzz::Target;

fn main() -> Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).context("no folder is named")?);
    for target in Target::ALL {
        let folder = folder.join(target.name());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (number, seed) in target.seeds().iter().enumerate() {
            fs::write(folder.join(number.to_string()), seed).context("cannot write a seed")?;
        }
    }
    Ok(())
}
