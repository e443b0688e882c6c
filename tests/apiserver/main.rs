//! What a real kube-apiserver makes of kubedr's kinds, and of what keeps certificates: no operator runs here but one, as a process.
mod admission;
mod authority;
mod objects;
mod operator;
mod pod_security;
mod schema;
