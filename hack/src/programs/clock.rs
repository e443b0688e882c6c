//! Programs with a wrong clock. A container cannot have a clock of its own, and a program of Go asks the kernel itself,
//! no library that could be put in its way: so Go's own package `time` is built otherwise for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::command;

/// What tells programs of Go the time of day.
pub const NOW: &str = "func Now() Time {";

/// A changed file of Go's own, beside the programs that are being built.
pub struct Overlay(PathBuf);

impl Overlay {
    /// Writes it below a folder.
    pub fn new(behind: &str, below: &Path) -> Result<Self> {
        let root = command::output(Command::new("go").args(["env", "GOROOT"]))?;
        let original = Path::new(root.trim()).join("src/time/time.go");
        let source =
            fs::read_to_string(&original).with_context(|| format!("cannot read {}", original.display()))?;
        let folder = below.join("clock");
        fs::create_dir_all(&folder)?;
        let changed = folder.join("time.go");
        fs::write(&changed, late(&source, behind)?)?;
        fs::write(
            folder.join("overlay.json"),
            json!({ "Replace": { original.display().to_string(): changed } }).to_string(),
        )?;
        Ok(Self(folder))
    }

    /// What `go build` must be told in `GOFLAGS`.
    pub fn flag(&self) -> String {
        format!("'-overlay={}'", self.0.join("overlay.json").display())
    }

    /// Removes it once the programs are built.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(self.0).context("cannot remove the changed file of Go's")
    }
}

/// The file with a clock that is behind.
pub fn late(source: &str, behind: &str) -> Result<String> {
    if source.matches(NOW).count() != 1 {
        bail!("this version of Go tells the time otherwise: there is not one {NOW:?}");
    }
    // Rounding takes away what deadlines are measured by: they are right as long as all ends of them are as late.
    let changed = format!("{NOW} return inTime().Add(-({behind})).Round(0) }}\n\nfunc inTime() Time {{");
    Ok(source.replace(NOW, &changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_tells_the_time_is_changed() {
        let source = "package time\n\nfunc Now() Time {\n\treturn t\n}\n";
        let expected = "package time\n\nfunc Now() Time { return inTime().Add(-(5 * Minute)).Round(0) }\n\nfunc inTime() Time {\n\treturn t\n}\n";
        assert_eq!(late(source, "5 * Minute").unwrap(), expected);
        assert!(late("package time\n", "1").is_err());
    }
}
