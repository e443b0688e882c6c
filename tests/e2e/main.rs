//! What a user does, on a real node with real etcd, S3 and restic.
mod etcd_source;
mod faults;
mod host_files;
mod metadata_location;
mod metadata_policy;
mod metadata_record;
mod metrics;
mod outside;
mod power_cut;
mod privilege;
mod reasons;
mod restore;
mod secrets;
mod seed;
