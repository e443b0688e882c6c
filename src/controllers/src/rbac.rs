//! What the operator may do: the sum of what its controllers may.
use api::rbac::Rule;

use crate::{
    certificates,
    metadata::{destinations, location, outside, policy, record, restore},
};

/// Rules of all controllers and of what they share.
pub const RBAC: &[&[Rule]] = &[
    SHARED,
    JOBS,
    location::RBAC,
    policy::RBAC,
    record::RBAC,
    restore::RBAC,
    outside::RBAC,
    destinations::RBAC,
];

/// What it takes to keep an authority for the webhooks, where nobody else does: no part of [`RBAC`].
pub const AUTHORITY: &[Rule] = certificates::RBAC;

/// Name of the one lease.
pub const LEASE: &str = "kubedr-operator";

/// What it takes to make Jobs, to find nodes for them and to follow them.
const JOBS: &[Rule] = &[
    Rule::in_namespace(&["batch"], &["jobs"], &["create", "delete", "get", "list", "watch"]),
    Rule::in_namespace(&[""], &["pods"], &["list", "watch"]),
    // Only events say why a volume cannot be mounted.
    Rule::in_namespace(&[""], &["events"], &["list"]),
    Rule::in_cluster(&[""], &["nodes"], &["list"]),
];

/// What every controller does, and the lease in front of them.
const SHARED: &[Rule] = &[
    // A lease that is not there yet has no name that a rule could ask for.
    Rule::in_namespace(&["coordination.k8s.io"], &["leases"], &["create"]),
    Rule::in_namespace(&["coordination.k8s.io"], &["leases"], &["get", "update"]).named(&[LEASE]),
    Rule::in_namespace(&["events.k8s.io"], &["events"], &["create"]),
    // Its uid stands for the cluster.
    Rule::in_cluster(&[""], &["namespaces"], &["get"]).named(&["kube-system"]),
];
