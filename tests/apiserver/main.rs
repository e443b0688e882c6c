//! What a real kube-apiserver makes of kubedr's kinds: no operator runs here.
mod schema;
