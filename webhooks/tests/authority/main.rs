//! Certificates of our own: what is made, what is decided, and that nobody is refused while they change.
mod damage;
mod decisions;
mod handshakes;
mod issued;
mod replicas;
mod scene;
#[path = "../trust/mod.rs"]
mod trust;
