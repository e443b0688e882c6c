//! The webhooks' certificates: which is in use, and of our own what is made, what is decided, and that nobody is refused
//! while they change.
mod damage;
mod decisions;
mod handshakes;
mod in_use;
mod issued;
mod replicas;
mod scene;
#[path = "../../../../webhooks/tests/trust/mod.rs"]
mod trust;
