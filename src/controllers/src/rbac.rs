//! What the operator may do: the sum of what its controllers may.
use api::rbac::{Rule, Scope};

use crate::metadata::{location, policy, record, restore};

/// Rules of all controllers and of what they share.
pub const RBAC: &[&[Rule]] = &[SHARED, JOBS, location::RBAC, policy::RBAC, record::RBAC, restore::RBAC];

/// Name of the one lease.
pub const LEASE: &str = "kubedr-operator";

/// What it takes to make Jobs, to find nodes for them and to follow them.
const JOBS: &[Rule] = &[
    Rule {
        groups: &["batch"],
        resources: &["jobs"],
        verbs: &["create", "delete", "get", "list", "watch"],
        names: &[],
        scope: Scope::Namespace,
    },
    Rule {
        groups: &[""],
        resources: &["pods"],
        verbs: &["list", "watch"],
        names: &[],
        scope: Scope::Namespace,
    },
    // Only events say why a volume cannot be mounted.
    Rule { groups: &[""], resources: &["events"], verbs: &["list"], names: &[], scope: Scope::Namespace },
    Rule { groups: &[""], resources: &["nodes"], verbs: &["list"], names: &[], scope: Scope::Cluster },
];

/// What every controller does, and the lease in front of them.
const SHARED: &[Rule] = &[
    // A lease that is not there yet has no name that a rule could ask for.
    Rule {
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        verbs: &["create"],
        names: &[],
        scope: Scope::Namespace,
    },
    Rule {
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        verbs: &["get", "update"],
        names: &[LEASE],
        scope: Scope::Namespace,
    },
    Rule {
        groups: &["events.k8s.io"],
        resources: &["events"],
        verbs: &["create"],
        names: &[],
        scope: Scope::Namespace,
    },
    // Its uid stands for the cluster.
    Rule {
        groups: &[""],
        resources: &["namespaces"],
        verbs: &["get"],
        names: &["kube-system"],
        scope: Scope::Cluster,
    },
];
