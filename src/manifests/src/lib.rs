//! Everything under `config/`, `docs/reasons.md` and `docs/metrics.md`, made from Rust.
//!
//! ```text
//! api: kinds, samples ────────┐
//! controllers: RBAC, metrics ─┼─▶ files() ─▶ write(), or drift() that says what differs
//! model: reasons ─────────────┘
//! ```
//!
//! Nothing here talks to a cluster.
mod admission;
mod allowed_host_paths;
#[cfg(test)]
mod cel;
mod cert_manager;
mod definitions;
mod kustomize;
mod metrics;
mod operator;
mod rbac;
mod reasons;
mod samples;
mod self_signed;
mod tree;
#[cfg(test)]
mod typed;
mod webhook;
mod yaml;

pub use tree::{Drift, File, drift, write};

/// Every generated file, sorted by path.
pub fn files() -> Vec<File> {
    let mut files = definitions::files();
    files.extend(admission::files());
    files.extend(webhook::files());
    files.extend(self_signed::files());
    files.extend(cert_manager::files());
    files.push(allowed_host_paths::file());
    files.extend(kustomize::files());
    files.extend(rbac::files());
    files.extend(samples::files());
    files.extend(operator::files());
    files.push(metrics::file());
    files.push(reasons::file());
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinition, JSONSchemaProps,
    };

    use super::*;

    #[test]
    fn the_checkout_holds_what_is_generated() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let found = drift(&root, &files()).expect("the checkout is readable");
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "run `cargo xtask generate`:\n{}", found.join("\n"));
    }

    /// The contract is kept by hand, so that a name cannot change without anyone noticing.
    #[test]
    fn the_contract_names_every_field_and_reason() {
        let contract = include_str!("../../../docs/contract.md");
        let words: BTreeSet<&str> = contract.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
        let reasons = model::Reason::ALL.iter().map(|reason| reason.as_str().to_owned());
        for word in api::crds().iter().flat_map(fields).chain(reasons) {
            assert!(words.contains(word.as_str()), "docs/contract.md does not say {word:?}");
        }
    }

    /// Names of all fields of a kind's spec and status.
    fn fields(crd: &CustomResourceDefinition) -> Vec<String> {
        let schema =
            crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        schema.map(within).unwrap_or_default()
    }

    fn within(schema: &JSONSchemaProps) -> Vec<String> {
        // Conditions are those of Kubernetes itself.
        let properties = schema.properties.iter().flatten().filter(|(name, _)| *name != "conditions");
        properties.flat_map(|(name, property)| within(property).into_iter().chain([name.clone()])).collect()
    }

    #[test]
    fn every_generated_file_says_so() {
        for file in files() {
            let head: String = file.content.lines().take(1).collect();
            assert!(head.contains(tree::MARK), "{}", file.path.display());
        }
    }
}
