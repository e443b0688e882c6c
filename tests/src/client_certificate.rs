//! Certificates as an administrator makes them for etcd's clients.
use anyhow::{Context, Result};

use crate::{Cluster, Program};

impl Cluster {
    /// The three entries of an etcd Secret with a new client certificate that etcd's own authority signed; below zero
    /// days it has expired.
    pub async fn new_etcd_credentials(&self, days: i32) -> Result<[(&'static str, String); 3]> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        let request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=kubedr", "-keyout"];
        let request = Program::new("openssl").args(request).arg(file("key")).arg("-out").arg(file("request"));
        request.succeed().await?;
        let authority = self.certificates.join("etcd");
        let sign =
            Program::new("openssl").args(["x509", "-req", "-CAcreateserial", "-days", &days.to_string()]);
        let sign = sign.arg("-CA").arg(authority.join("ca.crt")).arg("-CAkey").arg(authority.join("ca.key"));
        // Without extensions it would be of a version that nobody takes.
        std::fs::write(file("extensions"), "extendedKeyUsage = clientAuth\n")?;
        let serial = sign.arg("-CAserial").arg(file("serial")).arg("-extfile").arg(file("extensions"));
        serial.arg("-in").arg(file("request")).arg("-out").arg(file("certificate")).succeed().await?;
        let read = |name: &str| std::fs::read_to_string(file(name)).with_context(|| format!("no {name}"));
        let [ca, ..] = self.etcd_credentials()?;
        Ok([ca, ("client.crt", read("certificate")?), ("client.key", read("key")?)])
    }
}
