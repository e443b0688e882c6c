//! The kinds that users write and read, every name derived from them, and what makes one wrong.
//!
//! ```text
//! manifest ─▶ API server: crds() judge it ─▶ admission: validate() ─▶ stored ─▶ controllers: validate(), then names
//! ```
//!
//! No client, no clock, no I/O.
#![expect(clippy::duplicated_attributes, reason = "two columns of one kind may have the same priority")]

pub mod conditions;
mod crd;
mod endpoint;
mod host_path;
pub mod metadata;
pub mod names;
pub mod rbac;
mod rule;
pub mod samples;
mod schedule;

pub use crd::crds;
pub use endpoint::{Endpoint, NotAnEndpoint, Scheme};
pub use host_path::AllowedHostPaths;
pub use metadata::location::{
    BackupLocation, BackupLocationSpec, BackupLocationStatus, BucketLookup, CaBundle, LastMaintenance,
    Maintenance,
};
pub use metadata::policy::{
    ExtraHostPath, HostPathType, MetadataBackupPolicy, MetadataBackupPolicySpec, MetadataBackupPolicyStatus,
    RetentionRules, Verify, VerifyLevel,
};
pub use metadata::record::{
    MetadataBackupRecord, MetadataBackupRecordSpec, MetadataBackupRecordStatus, Proof, RecordEtcd,
    RecordObjects, RecordRetention,
};
pub use metadata::restore::{MetadataRestore, MetadataRestoreSpec, MetadataRestoreStatus, RestoreWhat};
use model::{Reason, Violation};

/// Group of every kind.
pub const GROUP: &str = "kubedr.catalogicsoftware.com";
/// Version of every kind.
pub const VERSION: &str = "v1alpha1";

/// The reason that a violation found by `validate()`, or by [`names::namespace`], stands for.
pub fn reason(violation: &Violation) -> Reason {
    match violation.path.as_str() {
        "metadata.name" => Reason::NameTooLong,
        "metadata.namespace" => Reason::WrongNamespace,
        path if path == "spec.certsDir" || path.starts_with("spec.extraHostPaths") => {
            Reason::HostPathNotAllowed
        }
        _ => Reason::InvalidSpec,
    }
}

#[cfg(test)]
mod tests;
