//! Many objects of many kinds, as an API server stores them, straight into an etcd.
//!
//! ```text
//! manifest ─▶ API server ─▶ its bytes in etcd ─▶ Template ─▶ N stamped copies ─▶ etcd
//! ```
//! So nothing here knows how Kubernetes encodes anything: the API server did it once for each kind.
mod etcd;
mod fill;
mod manifests;
mod template;

pub use etcd::Etcd;
pub use fill::{fill, last_of, which};
pub use template::{Template, name, read_all};
