//! What a user does, on a real node with real etcd, S3 and restic.
// Tests begin in the order of their names, and those that take the longest have to be among the first.
mod admission;
mod blackout;
mod clusters;
mod control_plane;
mod etcd_source;
mod faults;
mod host_files;
mod metadata_location;
mod metadata_policy;
mod metadata_record;
mod metrics;
mod missed_run;
mod outside;
mod privilege;
mod reasons;
mod restore;
mod secrets;
mod seed;
mod standalone;
