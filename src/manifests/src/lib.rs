//! Everything under `config/`, and `docs/reasons.md`, made from Rust.
//!
//! ```text
//! api: kinds, samples ─┐
//! controllers: RBAC ───┼─▶ files() ─▶ write(), or drift() that says what differs
//! model: reasons ──────┘
//! ```
//!
//! Nothing here talks to a cluster.
mod definitions;
mod kustomize;
mod operator;
mod rbac;
mod reasons;
mod samples;
mod tree;
mod yaml;

pub use tree::{Drift, File, drift, write};

/// Every generated file, sorted by path.
pub fn files() -> Vec<File> {
    let mut files = definitions::files();
    files.extend(kustomize::files());
    files.extend(rbac::files());
    files.extend(samples::files());
    files.extend(operator::files());
    files.push(reasons::file());
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_checkout_holds_what_is_generated() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let found = drift(&root, &files()).expect("the checkout is readable");
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "run `cargo xtask generate`:\n{}", found.join("\n"));
    }

    #[test]
    fn every_generated_file_says_so() {
        for file in files() {
            let head: String = file.content.lines().take(1).collect();
            assert!(head.contains(tree::MARK), "{}", file.path.display());
        }
    }
}
