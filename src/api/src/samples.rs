//! One object of each kind that a user writes, as the seed's documentation has them.
//!
//! The source of `config/samples` and of the demo; no YAML by hand.
use crate::{
    BackupLocation, BackupLocationSpec, MetadataBackupPolicy, MetadataBackupPolicySpec, MetadataRestore,
    MetadataRestoreSpec,
};

/// A bucket of a server in the cluster's own network.
pub fn location() -> BackupLocation {
    BackupLocation::new(
        "local-minio",
        BackupLocationSpec {
            url: "http://10.96.57.3:9000".to_owned(),
            bucket_name: "testbucket".to_owned(),
            credentials: "minio-creds".to_owned(),
            ..BackupLocationSpec::default()
        },
    )
}

/// A backup every ten minutes.
pub fn policy() -> MetadataBackupPolicy {
    MetadataBackupPolicy::new(
        "test-backup",
        MetadataBackupPolicySpec {
            destination: "local-minio".to_owned(),
            schedule: "*/10 * * * *".to_owned(),
            certs_dir: Some("/var/lib/minikube/certs".to_owned()),
            ..MetadataBackupPolicySpec::default()
        },
    )
}

/// A restore of one record to a volume.
pub fn restore() -> MetadataRestore {
    MetadataRestore::new(
        "test-restore",
        MetadataRestoreSpec {
            mbr_name: "mbr-9a9808ce".to_owned(),
            pvc_name: "restore-target".to_owned(),
            ..MetadataRestoreSpec::default()
        },
    )
}
