//! The Secret of etcd's client.
use std::{fs, io, path::Path};

use etcd::Credentials;
use model::{Reason, Secret, result::Failure};

const AUTHORITY: &str = "ca.crt";
const CERTIFICATE: &str = "client.crt";
const KEY: &str = "client.key";

/// Reads the credentials, where one of the endpoints needs them.
pub fn etcd_credentials(folder: &Path, endpoints: &[String]) -> Result<Option<Credentials>, Failure> {
    if !endpoints.iter().any(|endpoint| endpoint.starts_with("https:")) {
        return Ok(None);
    }
    // What kubelet mounts for an optional Secret that does not exist is an empty folder.
    if fs::read_dir(folder).ok().and_then(|mut entries| entries.next()).is_none() {
        let message = format!(
            "no Secret is mounted at {}; it must hold {AUTHORITY}, {CERTIFICATE} and {KEY}",
            folder.display()
        );
        return Err(Failure::new(Reason::SecretMissing, message).at("spec.etcdCreds"));
    }
    Ok(Some(Credentials {
        authority: read(folder, AUTHORITY)?,
        certificate: read(folder, CERTIFICATE)?,
        key: Secret::new(read(folder, KEY)?),
    }))
}

fn read(folder: &Path, key: &str) -> Result<String, Failure> {
    let lacks = |why: &str| {
        Failure::new(Reason::SecretKeyMissing, format!("etcd's Secret: the key {key:?} {why}")).at(key)
    };
    let text = fs::read_to_string(folder.join(key)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => lacks("is missing"),
        io::ErrorKind::InvalidData => lacks("is not text"),
        _ => lacks(&format!("cannot be read: {error}")),
    })?;
    if text.trim().is_empty() { Err(lacks("is empty")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(url: &str) -> Vec<String> {
        vec![url.to_owned()]
    }

    #[test]
    fn without_tls_no_secret_is_needed() {
        let found = etcd_credentials(Path::new("/nowhere"), &endpoints("http://127.0.0.1:2379"));
        assert!(found.expect("none needed").is_none());
    }

    #[test]
    fn a_missing_secret_is_told_from_a_missing_key() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let reason = |path: &Path| {
            let failure =
                etcd_credentials(path, &endpoints("https://127.0.0.1:2379")).expect_err("not whole");
            (failure.reason, failure.field)
        };
        assert_eq!(reason(Path::new("/nowhere")).0, Reason::SecretMissing);
        assert_eq!(reason(folder.path()).0, Reason::SecretMissing);
        for (key, next) in [(AUTHORITY, CERTIFICATE), (CERTIFICATE, KEY)] {
            fs::write(folder.path().join(key), "PEM").expect("a file");
            assert_eq!(reason(folder.path()), (Reason::SecretKeyMissing, Some(next.to_owned())));
        }
        fs::write(folder.path().join(KEY), "\n").expect("a file");
        assert_eq!(reason(folder.path()), (Reason::SecretKeyMissing, Some(KEY.to_owned())));
    }
}
