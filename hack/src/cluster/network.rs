//! Addresses of a cluster: one free /24 for the link between machine and node.
//!
//! Pods and services have the same ranges in every cluster; they are seen only inside its network namespaces.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::command;

/// Services, as kubeadm numbers them.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first service: the API server.
pub const SERVICE_IP: &str = "10.96.0.1";
/// Pods of all nodes.
pub const POD_RANGES: &str = "10.244.0.0/16";
/// The node's end of the link to this machine.
pub const NODE_LINK: &str = "node0";
/// A further node's end of its link to the first one.
const CONTROL_LINK: &str = "control0";

/// Pods of one node, by its number.
pub fn pod_range(ordinal: u8) -> String {
    format!("10.244.{}.0/24", ordinal.saturating_sub(1))
}

/// The third part of `10.88.N.0/24`, from which all names and addresses follow.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Network {
    number: u8,
}

impl Network {
    /// Takes the lowest number that neither this machine nor another cluster uses.
    pub fn choose(others: impl Iterator<Item = Self>) -> Result<Self> {
        let routes = command::output(Command::new("ip").args(["-4", "route", "show", "table", "all"]))?;
        let mut used = used_by(&routes);
        used.extend(others.map(|network| network.number));
        let number = (1..=254).find(|number| !used.contains(number));
        Ok(Self { number: number.context("no free network in 10.88.0.0/16")? })
    }

    /// The node's address, reachable from this machine, from pods and from the node.
    pub fn node_ip(self) -> String {
        format!("10.88.{}.2", self.number)
    }

    /// The address of a member of etcd: of the first it is the node's.
    pub fn member_ip(self, index: usize) -> String {
        format!("10.88.{}.{}", self.number, 2 + index)
    }

    /// This machine's address as the node sees it.
    pub fn machine_ip(self) -> String {
        format!("10.88.{}.1", self.number)
    }

    /// This machine's end of the link.
    pub fn machine_link(self) -> String {
        format!("kubedr{}", self.number)
    }

    /// Connects this machine with the network namespace of a process.
    pub fn attach(self, process: i32) -> Result<()> {
        let link = self.machine_link();
        let process = process.to_string();
        ip(&["link", "add", &link, "type", "veth", "peer", "name", NODE_LINK, "netns", &process])?;
        ip(&["addr", "add", &format!("{}/24", self.machine_ip()), "dev", &link])?;
        ip(&["link", "set", &link, "up"])
    }

    /// Connects the node of a process with the one that it joins, and tells that one the way to its pods.
    pub fn meet(self, process: i32, ordinal: u8, (control, control_process): (Self, i32)) -> Result<()> {
        let link = self.machine_link();
        let (process, control_process) = (process.to_string(), control_process.to_string());
        let ends = ["type", "veth", "peer", "name", CONTROL_LINK, "netns", &process];
        ip(&[&["link", "add", &link, "netns", &control_process], &ends[..]].concat())?;
        let there = |arguments: &[&str]| {
            let enter = ["--target", &control_process, "--net", "--", "ip"];
            command::run(Command::new("nsenter").args(enter).args(arguments))
        };
        there(&["addr", "add", &format!("{}/32", control.node_ip()), "dev", &link])?;
        there(&["link", "set", &link, "up"])?;
        there(&["route", "add", &format!("{}/32", self.node_ip()), "dev", &link])?;
        there(&["route", "add", &pod_range(ordinal), "via", &self.node_ip(), "dev", &link])
    }

    /// Gives the node that joined another its side of what [`Network::meet`] made, from inside its network namespace.
    pub fn configure_joined(self, control: Self) -> Result<()> {
        ip(&["addr", "add", &format!("{}/32", self.node_ip()), "dev", CONTROL_LINK])?;
        ip(&["link", "set", CONTROL_LINK, "up"])?;
        let first = control.node_ip();
        ip(&["route", "add", &format!("{first}/32"), "dev", CONTROL_LINK])?;
        ip(&["route", "add", &format!("10.88.{}.0/24", control.number), "via", &first, "dev", CONTROL_LINK])?;
        // Relays of the tests listen there.
        ip(&["route", "add", &format!("{}/32", control.machine_ip()), "via", &self.machine_ip()])?;
        ip(&["route", "add", &pod_range(1), "via", &first, "dev", CONTROL_LINK])
    }

    /// Gives the node its addresses, from inside its network namespace.
    ///
    /// There is no way out but to this machine: a test must not reach other hosts, and what it tries fails at once.
    /// Services need a route all the same, because the kernel looks for one before kube-proxy's rules apply.
    pub fn configure_node(self, addresses: &[String]) -> Result<()> {
        ip(&["link", "set", "lo", "up"])?;
        for address in addresses {
            ip(&["addr", "add", &format!("{address}/24"), "dev", NODE_LINK])?;
        }
        ip(&["link", "set", NODE_LINK, "up"])?;
        ip(&["route", "add", SERVICE_RANGE, "via", &self.machine_ip()])
    }

    /// Removes the link, if it is still there.
    pub fn detach(self) {
        // Most often it has gone with the namespace already, and then there is nothing to say.
        let _ = ip(&["link", "delete", &self.machine_link()]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    command::run(Command::new("ip").args(arguments))
}

/// The numbers whose /24 has an address or a route of its own.
fn used_by(routes: &str) -> BTreeSet<u8> {
    let words = routes.split_whitespace().filter_map(|word| word.strip_prefix("10.88."));
    words.filter_map(|rest| rest.split('.').next()?.parse().ok()).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn example() -> Network {
        Network { number: 7 }
    }

    #[test]
    fn networks_with_routes_are_in_use() {
        let routes = "default via 192.0.2.1 dev eth0\n10.88.3.0/24 dev kubedr3 proto kernel src 10.88.3.1\n\
                      local 10.88.12.1 dev x table local\n10.8.5.0/24 dev y\n10.88.0.0/16 dev podman0\n";
        assert_eq!(used_by(routes), BTreeSet::from([0, 3, 12]));
    }

    #[test]
    fn everything_follows_from_the_number() {
        let network = example();
        assert_eq!(network.node_ip(), "10.88.7.2");
        assert_eq!(network.machine_ip(), "10.88.7.1");
        assert!(Network { number: 254 }.machine_link().len() <= 15, "the kernel's limit for names of links");
    }
}
