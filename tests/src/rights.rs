//! What the operator may do, and what it was seen to do.
//!
//! ```text
//! config/default ─▶ rights_in() ─┐
//! audit log ─▶ deeds_in() ───────┴─▶ unneeded(), lacking()
//! ```
use std::{collections::BTreeSet, io::BufRead};

use anyhow::{Context, Result};
use api::names::DEFAULT_NAMESPACE;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;
use serde_json::Value;

/// One thing that may be done, taken apart so far that it could be taken away by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Whether it holds in all namespaces.
    pub is_cluster_wide: bool,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource, with its subresource as `pods/log`.
    pub resource: String,
    /// Verb.
    pub verb: String,
    /// The one object that it is for; none for all.
    pub name: Option<String>,
}

/// One thing that an operator asked for, wherever a test had put it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deed {
    /// Whether it was asked for in the operator's own namespace.
    pub is_at_home: bool,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource, with its subresource as `pods/log`.
    pub resource: String,
    /// Verb.
    pub verb: String,
    /// The object, where it has a name; what is named for a namespace is named as in the manifests.
    pub name: Option<String>,
}

impl Right {
    /// Whether it is enough for something.
    fn covers(&self, deed: &Deed) -> bool {
        let is_it = (&self.group, &self.resource, &self.verb) == (&deed.group, &deed.resource, &deed.verb);
        let is_named = self.name.is_none() || self.name == deed.name;
        is_it && is_named && (self.is_cluster_wide || deed.is_at_home)
    }

    /// Whether something could not be done without it: what is done at home takes no right elsewhere.
    fn is_needed_for(&self, deed: &Deed) -> bool {
        self.covers(deed) && self.is_cluster_wide != deed.is_at_home
    }
}

/// Rights that nothing needed.
pub fn unneeded<'a>(rights: &'a [Right], deeds: &BTreeSet<Deed>) -> Vec<&'a Right> {
    let is_needed = |right: &&Right| deeds.iter().any(|deed| right.is_needed_for(deed));
    rights.iter().filter(|right| !is_needed(right)).collect()
}

/// What was asked for and no right is enough for.
pub fn lacking<'a>(rights: &[Right], deeds: &'a BTreeSet<Deed>) -> Vec<&'a Deed> {
    deeds.iter().filter(|deed| !rights.iter().any(|right| right.covers(deed))).collect()
}

/// The rights in manifests: of roles, all of which are the operator's.
pub fn rights_in(manifests: &[Value]) -> Result<Vec<Right>> {
    let roles = manifests.iter().filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole");
    let mut rights = Vec::new();
    for role in roles {
        let allowed: Vec<PolicyRule> = serde_json::from_value(role["rules"].clone()).context("no rules")?;
        let is_cluster_wide = role["kind"] == "ClusterRole";
        rights.extend(allowed.iter().flat_map(|rule| taken_apart(rule, is_cluster_wide)));
    }
    Ok(rights)
}

fn taken_apart(rule: &PolicyRule, is_cluster_wide: bool) -> Vec<Right> {
    let names: Vec<Option<String>> = match rule.resource_names.as_deref() {
        None | Some([]) => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                rights.extend(names.iter().map(|name| Right {
                    is_cluster_wide,
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    rights
}

/// As much of an event of the audit log as is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

/// What accounts of that name asked for, by an audit log: each deed once. The last line may be half written.
pub fn deeds_in(log: impl BufRead, account: &str) -> BTreeSet<Deed> {
    log.lines().map_while(Result::ok).filter_map(|line| deed_in(&line, account)).collect()
}

/// What an account of that name asked for, by a line of an audit log.
pub fn deed_in(line: &str, account: &str) -> Option<Deed> {
    serde_json::from_str::<Event>(line).ok()?.deed(account)
}

impl Event {
    /// What the account of that name asked for in it; none where it was somebody else, or about no object.
    fn deed(self, account: &str) -> Option<Deed> {
        let user = self.user.username.strip_prefix("system:serviceaccount:")?;
        let (home, _) = user.split_once(':').filter(|(_, name)| *name == account)?;
        let object = self.object_ref?;
        let subresource = Some(object.subresource).filter(|name| !name.is_empty());
        let resource =
            subresource.map_or(object.resource.clone(), |sub| format!("{}/{sub}", object.resource));
        Some(Deed {
            is_at_home: object.namespace == home,
            group: object.api_group,
            resource,
            verb: self.verb,
            name: Some(object.name.replace(home, DEFAULT_NAMESPACE)).filter(|name| !name.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use api::names::{AGENT_ACCOUNT, OPERATOR_ACCOUNT};
    use serde_json::json;

    use super::*;

    /// What the operator did, by these lines.
    fn done(lines: &[String]) -> BTreeSet<Deed> {
        deeds_in(lines.join("\n").as_bytes(), OPERATOR_ACCOUNT)
    }

    fn event(user: &str, verb: &str, object: &Value) -> String {
        json!({ "verb": verb, "user": { "username": user }, "objectRef": object }).to_string()
    }

    fn operator(verb: &str, object: &Value) -> String {
        event("system:serviceaccount:kubedr-x:kubedr-operator", verb, object)
    }

    fn rights(kind: &str, rule: &Value) -> Vec<Right> {
        rights_in(&[json!({ "kind": kind, "rules": [rule] })]).expect("rules")
    }

    fn jobs(verbs: &[&str]) -> Vec<Right> {
        rights("Role", &json!({ "apiGroups": ["batch"], "resources": ["jobs", "cronjobs"], "verbs": verbs }))
    }

    #[test]
    fn each_verb_of_each_resource_must_be_needed_by_itself() {
        let job = json!({ "apiGroup": "batch", "resource": "jobs", "namespace": "kubedr-x", "name": "a" });
        let deeds = done(&[operator("create", &job), operator("get", &job)]);
        let rights = jobs(&["create", "get"]);
        let found: Vec<_> = unneeded(&rights, &deeds).iter().map(|right| right.resource.as_str()).collect();
        assert_eq!(found, ["cronjobs", "cronjobs"]);
        assert_eq!(lacking(&rights, &deeds), Vec::<&Deed>::new());
    }

    #[test]
    fn what_no_right_is_enough_for_is_found() {
        let status = json!({ "apiGroup": "batch", "resource": "jobs", "subresource": "status", "namespace": "kubedr-x" });
        let elsewhere = json!({ "apiGroup": "batch", "resource": "jobs", "namespace": "default" });
        let deeds = done(&[operator("get", &status), operator("get", &elsewhere)]);
        assert_eq!(lacking(&jobs(&["get"]), &deeds).len(), 2);
    }

    #[test]
    fn a_right_everywhere_is_not_needed_for_what_is_done_at_home() {
        let everywhere = rights(
            "ClusterRole",
            &json!({ "apiGroups": [""], "resources": ["events"], "verbs": ["create"] }),
        );
        let of = |namespace: &str| {
            done(&[operator("create", &json!({ "resource": "events", "namespace": namespace }))])
        };
        assert_eq!(unneeded(&everywhere, &of("kubedr-x")).len(), 1);
        assert_eq!(unneeded(&everywhere, &of("default")).len(), 0);
        assert_eq!(lacking(&everywhere, &of("kubedr-x")).len(), 0, "it is enough all the same");
    }

    #[test]
    fn a_right_to_one_object_is_needed_for_that_one_wherever_a_test_is_installed() {
        let rule = json!({ "apiGroups": ["a"], "resources": ["b"], "verbs": ["patch"], "resourceNames": ["webhooks.kubedr-system"] });
        let rights = rights("ClusterRole", &rule);
        let of = |name: &str| {
            done(&[operator("patch", &json!({ "apiGroup": "a", "resource": "b", "name": name }))])
        };
        assert_eq!(unneeded(&rights, &of("webhooks.kubedr-x")).len(), 0);
        assert_eq!(unneeded(&rights, &of("webhooks.other")).len(), 1);
        assert_eq!(lacking(&rights, &of("webhooks.other")).len(), 1);
    }

    #[test]
    fn nobody_elses_requests_and_no_half_line_count() {
        let job = json!({ "apiGroup": "batch", "resource": "jobs", "namespace": "kubedr-x" });
        let agent = event("system:serviceaccount:kubedr-x:kubedr-agent", "get", &job);
        let lines = [event("kubernetes-admin", "get", &job), agent, operator("get", &job)[..40].to_owned()];
        assert_eq!(done(&lines), BTreeSet::new());
        assert_eq!(deeds_in(lines.join("\n").as_bytes(), AGENT_ACCOUNT).len(), 1);
        let nothing = json!({ "verb": "get", "user": { "username": "system:serviceaccount:kubedr-x:kubedr-operator" }, "requestURI": "/version" });
        assert_eq!(done(&[nothing.to_string()]), BTreeSet::new());
    }
}
