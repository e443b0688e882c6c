//! What the tests on real parts share: the cluster, an installation of kubedr
//! for each test, buckets, and the dump of everything when one fails.
//!
//! ```text
//! cargo xtask test ─▶ cluster up ─▶ facts in the environment ─▶ Cluster ─▶ Installation (own namespace, own operator)
//! ```
mod admission;
mod attached;
mod bucket;
mod client_certificate;
mod clock;
mod cluster;
mod crowd;
mod dump;
pub mod escape;
mod etcd_member;
mod etcd_relay;
mod file_tree;
mod host_folder;
mod installation;
pub mod load;
pub mod loopback;
mod metadata;
mod node_pod;
mod notes;
mod operator_process;
mod own_cluster;
mod program;
mod quota;
pub mod rights;
pub mod stopwatch;
mod tcp_relay;
mod told;
mod wait;

pub use admission::{figure, rules_about_nobody};
pub use bucket::{Bucket, Snapshot};
pub use clock::now;
pub use cluster::{Cluster, Facts};
pub use crowd::{Crowd, TurnedAway};
pub use dump::end_of;
pub use etcd_member::EtcdMember;
pub use etcd_relay::{Damage, EtcdRelay};
pub use file_tree::{differing_files, file_tree};
pub use host_folder::HostFolder;
pub use installation::{Installation, config, with_kinds, with_kubedr, with_kubedr_on};
pub use metadata::{Run, condition, is_finished, message, pair};
pub use node_pod::NodePod;
pub use notes::note;
pub use operator_process::OperatorProcess;
pub use own_cluster::{OwnCluster, module, programs, room, with_kubedr_alone, xtask};
pub use program::{Output, Program, Running};
pub use tcp_relay::{TcpRelay, Weather};
pub use wait::{PATIENCE, until, until_within, within_a_minute};
