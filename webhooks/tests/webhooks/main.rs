//! What admission answers: to the API server, to strangers, and while its certificates change.
mod hostile;
mod location;
mod plain;
mod policy;
mod record;
mod restore;
mod reviews;
mod routes;
mod server;
#[path = "../trust/mod.rs"]
mod trust;
