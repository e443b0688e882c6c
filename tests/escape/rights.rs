//! What the kernel says that this process may do.
use std::fs;

use anyhow::{Context, Result};

use crate::Outcome;

const CAPABILITY_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// Of `Seccomp`: a filter decides on each system call.
const FILTERED: &str = "2";

pub fn capabilities() -> Result<Outcome> {
    let sets = CAPABILITY_SETS.map(|name| Ok(format!("{name} {}", status(name)?)));
    let sets = sets.into_iter().collect::<Result<Vec<_>>>()?;
    let has_none = sets.iter().all(|set| set.ends_with(&format!(" {}", "0".repeat(16))));
    Ok(judged(has_none, sets.join(", ")))
}

/// A program that belongs to another user, or has capabilities, would bring them along.
pub fn new_privileges() -> Result<Outcome> {
    let value = status("NoNewPrivs")?;
    Ok(judged(value == "1", value))
}

pub fn all_system_calls() -> Result<Outcome> {
    let value = status("Seccomp")?;
    Ok(judged(value == FILTERED, value))
}

fn judged(is_refused: bool, said: String) -> Outcome {
    if is_refused { Outcome::Refused(said) } else { Outcome::Reached(said) }
}

fn status(name: &str) -> Result<String> {
    let text = fs::read_to_string("/proc/self/status").context("the kernel does not say")?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("the kernel says no {name}"))?.trim().to_owned())
}
