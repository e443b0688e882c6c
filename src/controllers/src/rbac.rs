//! What the operator may do: the sum of what its controllers may.
use api::rbac::{Rule, Scope};

use crate::metadata::{location, policy, record, restore};

/// Rules of all controllers and of what they share.
pub const RBAC: &[&[Rule]] = &[SHARED, location::RBAC, policy::RBAC, record::RBAC, restore::RBAC];

/// What every controller does, and the lease in front of them.
const SHARED: &[Rule] = &[
    Rule {
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        verbs: &["create", "get", "update"],
        names: &[],
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
