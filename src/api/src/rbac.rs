//! What a controller may do, said beside the code that does it.
//!
//! ```text
//! controllers: const RBAC: &[Rule] ─▶ manifests ─▶ config/rbac/*.yaml
//! ```

/// Where a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// In the operator's own namespace: part of its Role.
    Namespace,
    /// In the whole cluster: part of its `ClusterRole`. Only for what has no namespace, and for saying that kubedr's
    /// own objects are in a wrong one.
    Cluster,
}

/// One thing that a controller may do.
///
/// Declare them as `pub const RBAC: &[Rule]` beside each `reconcile`; `manifests`
/// collects them. Its tests refuse `*`, any verb on `secrets` but for the one with the webhooks' certificates, and
/// other writing verbs at [`Scope::Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// API groups; `""` is the core group.
    pub groups: &'static [&'static str],
    /// Resources in the plural, with subresources as `pods/log`.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Names of objects; empty for all. `create` and `list` cannot be bound to names.
    pub names: &'static [&'static str],
    /// Where it holds.
    pub scope: Scope,
}

impl Rule {
    /// What may be done with all objects of the operator's own namespace.
    pub const fn in_namespace(
        groups: &'static [&'static str],
        resources: &'static [&'static str],
        verbs: &'static [&'static str],
    ) -> Self {
        Self { groups, resources, verbs, names: &[], scope: Scope::Namespace }
    }

    /// What may be done in the whole cluster.
    pub const fn in_cluster(
        groups: &'static [&'static str],
        resources: &'static [&'static str],
        verbs: &'static [&'static str],
    ) -> Self {
        Self { scope: Scope::Cluster, ..Self::in_namespace(groups, resources, verbs) }
    }

    /// The same, but only with objects of these names.
    #[must_use]
    pub const fn named(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }
}
