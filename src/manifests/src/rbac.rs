//! `config/rbac`: accounts, and the sum of what the controllers may do.
use std::collections::{BTreeMap, BTreeSet};

use api::{
    names,
    rbac::{Rule, Scope},
};
use serde_json::{Value, json};

use crate::{
    tree::{File, MARK},
    yaml,
};

/// Accounts and roles.
pub fn files() -> Vec<File> {
    let accounts = format!(
        "{MARK} from src/manifests. Do not edit.\n\n\
         Neither account's token is mounted unasked. The operator's pod asks for its own; agents,\n\
         which stand beside etcd's keys, have none and no rights either."
    );
    let operator = format!(
        "{MARK} from the RBAC constants in src/controllers. Do not edit.\n\n\
         Cluster-wide is only what has no namespace, and what is said of objects in a wrong one.\n\
         No verb on Secrets: pods mount them by name.\n\
         Who may create kubedr's kinds can read a node's files and etcd's keys: never aggregate\n\
         these rights into the roles edit or admin."
    );
    let rules: Vec<&Rule> = controllers::RBAC.iter().copied().flatten().collect();
    vec![
        File::new("config/rbac/accounts.yaml", yaml::document(&accounts, &accounts_of())),
        File::new(
            "config/rbac/operator.yaml",
            yaml::document(&operator, &roles(names::OPERATOR_ACCOUNT, &rules)),
        ),
    ]
}

fn accounts_of() -> [Value; 2] {
    [(names::OPERATOR_ACCOUNT, "operator"), (names::AGENT_ACCOUNT, "agent")].map(|(name, component)| {
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(name, component, Scope::Namespace),
            "automountServiceAccountToken": false,
        })
    })
}

/// A role of that name in the operator's namespace and one in the cluster, each given to the operator.
pub fn roles(name: &str, rules: &[&Rule]) -> [Value; 4] {
    let role = |kind: &str, scope: Scope| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata(name, "operator", scope),
            "rules": summed(rules, scope),
        })
    };
    let binding = |kind: &str, role: &str, scope: Scope| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata(name, "operator", scope),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": named(name, scope) },
            "subjects": [{
                "kind": "ServiceAccount",
                "name": names::OPERATOR_ACCOUNT,
                "namespace": names::DEFAULT_NAMESPACE,
            }],
        })
    };
    [
        role("Role", Scope::Namespace),
        binding("RoleBinding", "Role", Scope::Namespace),
        role("ClusterRole", Scope::Cluster),
        binding("ClusterRoleBinding", "ClusterRole", Scope::Cluster),
    ]
}

/// What is in no namespace is called after the operator's, so that another operator has its own.
fn named(name: &str, scope: Scope) -> String {
    match scope {
        Scope::Namespace => name.to_owned(),
        Scope::Cluster => names::cluster_wide(name, names::DEFAULT_NAMESPACE),
    }
}

fn metadata(name: &str, component: &str, scope: Scope) -> Value {
    let mut metadata = json!({ "name": named(name, scope), "labels": crate::operator::labels(component) });
    if scope == Scope::Namespace {
        metadata["namespace"] = json!(names::DEFAULT_NAMESPACE);
    }
    metadata
}

/// The rules of one scope, each resource once, those with the same verbs together.
fn summed(rules: &[&Rule], scope: Scope) -> Vec<Value> {
    type Names = BTreeSet<&'static str>;
    let mut verbs: BTreeMap<(&str, Names, &str), BTreeSet<&str>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.scope == scope) {
        for group in rule.groups {
            for resource in rule.resources {
                let names = rule.names.iter().copied().collect();
                verbs.entry((group, names, resource)).or_default().extend(rule.verbs);
            }
        }
    }
    let mut together: BTreeMap<(&str, Names, BTreeSet<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, names, resource), verbs) in verbs {
        together.entry((group, names, verbs)).or_default().push(resource);
    }
    let render = |((group, names, verbs), resources): ((&str, Names, BTreeSet<&str>), Vec<&str>)| {
        let mut rule = json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
        if !names.is_empty() {
            rule["resourceNames"] = json!(names);
        }
        rule
    };
    together.into_iter().map(render).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: [&str; 3] = ["get", "list", "watch"];

    fn rules() -> impl Iterator<Item = &'static Rule> {
        controllers::RBAC.iter().copied().flatten().chain(controllers::AUTHORITY)
    }

    /// The one rule on Secrets: to read and write one that is there.
    fn is_of_the_authority(rule: &Rule) -> bool {
        let secret = Rule::in_namespace(&[""], &["secrets"], &["get", "update"]);
        *rule == secret.named(&[names::WEBHOOK_AUTHORITY])
    }

    /// What tells API servers whom to trust: two objects, of kubedr's own.
    fn is_of_its_trust(rule: &Rule) -> bool {
        let groups = &["admissionregistration.k8s.io"];
        let resources = &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
        let configurations = Rule::in_cluster(groups, resources, &["get", "patch"]);
        *rule == configurations.named(&[names::DEFAULT_WEBHOOKS])
    }

    #[test]
    fn no_rule_is_for_everything_or_for_secrets_but_the_authoritys_own() {
        for rule in rules() {
            let words = [rule.groups, rule.resources, rule.verbs, rule.names].concat();
            assert!(!words.contains(&"*"), "{rule:?}");
            let secret = rule.resources.iter().any(|resource| resource.starts_with("secrets"));
            assert!(!secret || is_of_the_authority(rule), "{rule:?}");
            let lists = [rule.groups, rule.resources, rule.verbs];
            assert!(lists.iter().all(|list| !list.is_empty()), "{rule:?}");
        }
    }

    #[test]
    fn no_rule_lets_anyone_become_more_than_they_are() {
        for rule in rules() {
            let verbs = ["escalate", "bind", "impersonate"];
            assert!(!rule.verbs.iter().any(|verb| verbs.contains(verb)), "{rule:?}");
            let resources =
                ["pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token", "nodes/proxy"];
            assert!(!rule.resources.iter().any(|resource| resources.contains(resource)), "{rule:?}");
            assert!(!rule.groups.contains(&"rbac.authorization.k8s.io"), "{rule:?}");
        }
    }

    /// Whoever keeps certificates by other means gives the operator no right to.
    #[test]
    fn an_authority_is_no_part_of_what_every_operator_may() {
        let every = || controllers::RBAC.iter().copied().flatten();
        assert!(!every().any(|rule| is_of_the_authority(rule) || is_of_its_trust(rule)));
        let [secret, trust] = controllers::AUTHORITY else { panic!("{:?}", controllers::AUTHORITY) };
        assert!(is_of_the_authority(secret) && is_of_its_trust(trust));
    }

    /// But for kubedr's own objects: those that are in the wrong namespace say so in their status and an event.
    #[test]
    fn cluster_wide_is_only_reading_what_has_no_namespace() {
        let of_cluster = |rule: &&Rule| rule.scope == Scope::Cluster && !is_of_its_trust(rule);
        for rule in rules().filter(of_cluster) {
            let is_own_status = rule.groups == [api::GROUP]
                && rule.resources.iter().all(|resource| resource.ends_with("/status"))
                && rule.verbs == ["patch"];
            let is_own_event = rule.groups == ["events.k8s.io"] && rule.verbs == ["create"];
            let is_reading = rule.verbs.iter().all(|verb| READS.contains(verb));
            assert!(is_own_status || is_own_event || is_reading, "{rule:?}");
            let allowed = ["nodes", "namespaces"];
            let is_allowed = |resource: &&str| rule.groups == [api::GROUP] || allowed.contains(resource);
            assert!(is_own_event || rule.resources.iter().all(is_allowed), "{rule:?}");
        }
    }

    /// The namespace may hold the leases of others.
    #[test]
    fn no_lease_but_the_operators_own_is_touched() {
        for rule in rules().filter(|rule| rule.resources.contains(&"leases")) {
            let is_own = rule.names == [controllers::LEASE] || rule.verbs == ["create"];
            assert!(is_own, "{rule:?}");
        }
    }

    #[test]
    fn what_cannot_be_bound_to_names_is_not() {
        for rule in rules().filter(|rule| !rule.names.is_empty()) {
            let unbound = ["create", "list", "watch", "deletecollection"];
            assert!(!rule.verbs.iter().any(|verb| unbound.contains(verb)), "{rule:?}");
        }
    }

    #[test]
    fn rules_of_several_controllers_become_one() {
        let rule = |resources, verbs| Rule {
            groups: &["batch"],
            resources,
            verbs,
            names: &[],
            scope: Scope::Namespace,
        };
        let rules = [
            rule(&["jobs"], &["get", "create"]),
            rule(&["cronjobs", "jobs"], &["get"]),
            rule(&["cronjobs"], &["create"]),
        ];
        let rules: Vec<&Rule> = rules.iter().collect();
        let expected = json!([{ "apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": ["create", "get"] }]);
        assert_eq!(json!(summed(&rules, Scope::Namespace)), expected);
        assert_eq!(json!(summed(&rules, Scope::Cluster)), json!([]));
    }
}
