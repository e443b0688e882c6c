//! Where an agent's pod runs: beside etcd, or anywhere where there is no such node.
use api::Endpoint;
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Toleration,
};

use crate::nodes::NodeLabels;

/// On nodes that run etcd and may run nothing else.
const ETCD: &str = "node-role.kubernetes.io/etcd";
/// On nodes of the control plane, and before Kubernetes 1.20.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Where a pod runs and whose network it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Node labels, any of which is enough; empty for any node.
    labels: Vec<String>,
    /// Whether the pod uses the node's network.
    pub host_network: bool,
    /// Whether the pod asks the cluster's DNS.
    cluster_dns: bool,
}

impl Place {
    /// A node with etcd; none where no node carries a label that says so.
    pub fn beside_etcd(nodes: &NodeLabels, option: Option<&str>) -> Option<Self> {
        let has = |label: &str| nodes.contains(label);
        let wanted: Vec<&str> = match option {
            Some(label) => vec![label],
            None if has(ETCD) => vec![ETCD],
            None => CONTROL_PLANE.to_vec(),
        };
        wanted.iter().any(|label| has(label)).then(|| Self {
            labels: wanted.into_iter().map(str::to_owned).collect(),
            host_network: false,
            cluster_dns: false,
        })
    }

    /// Where a policy with all defaults would run: beside etcd in the node's network, or
    /// on any node in the pod network where there is no such node.
    pub fn by_default(nodes: &NodeLabels) -> Self {
        let beside_etcd = Self::beside_etcd(nodes, None).map(|place| Self { host_network: true, ..place });
        beside_etcd.unwrap_or(Self { labels: Vec::new(), host_network: false, cluster_dns: false })
    }

    /// The same place with the network that the servers need.
    ///
    /// The node's own network only where a server is on the node itself; the cluster's
    /// DNS only where a name asks for it, because a backup must not need it otherwise.
    #[must_use]
    pub fn reaching<'a>(self, servers: impl IntoIterator<Item = &'a str>) -> Self {
        let servers: Vec<Endpoint> = servers.into_iter().filter_map(|url| url.parse().ok()).collect();
        Self {
            host_network: self.host_network || servers.iter().any(Endpoint::is_node_local),
            cluster_dns: servers.iter().any(Endpoint::needs_cluster_dns),
            ..self
        }
    }

    /// `dnsPolicy` of the pod.
    pub fn dns_policy(&self) -> &'static str {
        match (self.cluster_dns, self.host_network) {
            (true, true) => "ClusterFirstWithHostNet",
            (true, false) => "ClusterFirst",
            (false, _) => "Default",
        }
    }

    /// `affinity` of the pod.
    pub fn affinity(&self) -> Option<Affinity> {
        let term = |label: &String| NodeSelectorTerm {
            match_expressions: Some(vec![NodeSelectorRequirement {
                key: label.clone(),
                operator: "Exists".to_owned(),
                values: None,
            }]),
            ..NodeSelectorTerm::default()
        };
        let selector = NodeSelector { node_selector_terms: self.labels.iter().map(term).collect() };
        (!self.labels.is_empty()).then(|| Affinity {
            node_affinity: Some(NodeAffinity {
                required_during_scheduling_ignored_during_execution: Some(selector),
                ..NodeAffinity::default()
            }),
            ..Affinity::default()
        })
    }

    /// `tolerations` of the pod: of everything that keeps new pods off a node, since a cordoned
    /// or pressed one has etcd all the same; but what drives running pods away is tolerated only
    /// where it marks such nodes.
    pub fn tolerations(&self) -> Option<Vec<Toleration>> {
        let mut keys: Vec<&str> = CONTROL_PLANE.into_iter().chain([ETCD]).collect();
        keys.extend(
            self.labels.iter().map(String::as_str).filter(|label| !keys.contains(label)).collect::<Vec<_>>(),
        );
        let exists = |key: Option<&str>, effect: &str| Toleration {
            key: key.map(str::to_owned),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let driving = keys.into_iter().map(|key| exists(Some(key), "NoExecute"));
        let all = std::iter::once(exists(None, "NoSchedule")).chain(driving);
        (!self.labels.is_empty()).then(|| all.collect())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn nodes(labels: &[&str]) -> NodeLabels {
        labels.iter().map(|label| (*label).to_owned()).collect()
    }

    #[rstest]
    #[case::control_plane_or_master(&[CONTROL_PLANE[0], "worker"], None, Some(&CONTROL_PLANE[..]))]
    #[case::old_cluster(&[CONTROL_PLANE[1]], None, Some(&CONTROL_PLANE[..]))]
    #[case::only_etcd_nodes_where_there_are_any(&[CONTROL_PLANE[0], ETCD], None, Some(&[ETCD][..]))]
    #[case::the_option_wins(&[ETCD, "mine"], Some("mine"), Some(&["mine"][..]))]
    #[case::option_that_no_node_carries(&[ETCD], Some("mine"), None)]
    #[case::managed_cluster(&["worker"], None, None)]
    fn etcd_is_found_by(
        #[case] labels: &[&str],
        #[case] option: Option<&str>,
        #[case] expected: Option<&[&str]>,
    ) {
        let place = Place::beside_etcd(&nodes(labels), option);
        assert_eq!(
            place.map(|place| place.labels),
            expected.map(|labels| labels.iter().map(|label| (*label).to_owned()).collect())
        );
    }

    #[rstest]
    #[case::etcd_on_loopback(&["https://127.0.0.1:2379", "https://s3.example.com"], true, "Default")]
    #[case::service_and_loopback(&["https://127.0.0.1:2379", "http://minio.storage.svc:9000"], true, "ClusterFirstWithHostNet")]
    #[case::etcd_on_an_address(&["https://10.0.0.5:2379", "https://s3.example.com"], false, "Default")]
    #[case::service_and_address(&["https://10.0.0.5:2379", "http://minio:9000"], false, "ClusterFirst")]
    fn network_for(#[case] servers: &[&str], #[case] host: bool, #[case] dns: &str) {
        let place = Place::beside_etcd(&nodes(&[ETCD]), None).expect("there is one");
        let place = place.reaching(servers.iter().copied());
        assert_eq!((place.host_network, place.dns_policy()), (host, dns));
    }

    #[test]
    fn a_cordoned_node_is_backed_up_and_one_that_is_being_emptied_is_left() {
        let place = Place::beside_etcd(&nodes(&["mine"]), Some("mine")).expect("there is one");
        let tolerated = place.tolerations().expect("some");
        let of = |effect: &str| -> Vec<Option<&str>> {
            let is_it = |one: &&Toleration| one.effect.as_deref() == Some(effect);
            tolerated.iter().filter(is_it).map(|one| one.key.as_deref()).collect()
        };
        assert_eq!(
            of("NoSchedule"),
            [None],
            "every such taint, for instance node.kubernetes.io/unschedulable"
        );
        let marks = [CONTROL_PLANE[0], CONTROL_PLANE[1], ETCD, "mine"];
        assert_eq!(of("NoExecute"), marks.map(Some));
        assert!(tolerated.iter().all(|one| one.operator.as_deref() == Some("Exists")));
    }

    #[test]
    fn without_an_etcd_node_a_location_is_served_from_anywhere() {
        let place = Place::by_default(&nodes(&["worker"]));
        assert_eq!((place.affinity(), place.tolerations(), place.host_network), (None, None, false));
    }
}
