//! The two Secrets of an agent's pod: the bucket's and etcd's.
use std::path::Path;

use model::result::Failure;

use crate::mounted_secret::MountedSecret;

/// The key of the bucket's Secret whose file restic reads itself.
const PASSWORD: &str = "restic_repo_password";

/// Reads the keys of the bucket and the repository's password.
pub fn bucket_credentials(folder: &Path) -> Result<repository::Credentials, Failure> {
    let secret = MountedSecret::open(folder, "spec.credentials")?;
    Ok(repository::Credentials {
        access_key: secret.line("access_key")?,
        secret_key: secret.line("secret_key")?,
        password: secret.line(PASSWORD)?,
        password_file: secret.path(PASSWORD),
    })
}

/// Reads the certificates and key of etcd's client, where one of the endpoints needs them.
pub fn etcd_credentials(folder: &Path, endpoints: &[String]) -> Result<Option<etcd::Credentials>, Failure> {
    if !endpoints.iter().any(|endpoint| endpoint.starts_with("https:")) {
        return Ok(None);
    }
    let secret = MountedSecret::open(folder, "spec.etcdCreds")?;
    Ok(Some(etcd::Credentials {
        authority: secret.text("ca.crt")?.expose().to_owned(),
        certificate: secret.text("client.crt")?.expose().to_owned(),
        key: secret.text("client.key")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_no_secret_is_needed() {
        let found = etcd_credentials(Path::new("/nowhere"), &["http://127.0.0.1:2379".to_owned()]);
        assert!(found.expect("none needed").is_none());
    }
}
