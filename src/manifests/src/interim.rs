//! What the controllers may do, until they export it themselves as `controllers::RBAC`.
use api::{
    GROUP,
    rbac::{Rule, Scope},
};

/// One list per controller, as `controllers::RBAC` will have it.
pub const RBAC: &[&[Rule]] = &[&[
    in_namespace(
        &[GROUP],
        &["backuplocations", "metadatabackuppolicies", "metadatabackuprecords", "metadatarestores"],
        &["create", "delete", "get", "list", "patch", "watch"],
    ),
    in_namespace(
        &[GROUP],
        &[
            "backuplocations/status",
            "metadatabackuppolicies/status",
            "metadatabackuprecords/status",
            "metadatarestores/status",
        ],
        &["patch"],
    ),
    in_namespace(&[GROUP], &["backuplocations/finalizers", "metadatabackuppolicies/finalizers"], &["update"]),
    in_namespace(&["batch"], &["cronjobs", "jobs"], &["create", "delete", "get", "list", "patch", "watch"]),
    in_namespace(&["batch"], &["cronjobs/finalizers"], &["update"]),
    in_namespace(&[""], &["pods", "events"], &["list", "watch"]),
    in_namespace(&["coordination.k8s.io"], &["leases"], &["create", "get", "patch"]),
    in_namespace(&["events.k8s.io"], &["events"], &["create", "patch"]),
    Rule {
        groups: &[""],
        resources: &["namespaces"],
        verbs: &["get"],
        names: &["kube-system"],
        scope: Scope::Cluster,
    },
    Rule {
        groups: &[""],
        resources: &["nodes"],
        verbs: &["list", "watch"],
        names: &[],
        scope: Scope::Cluster,
    },
]];

const fn in_namespace(
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { groups, resources, verbs, names: &[], scope: Scope::Namespace }
}
