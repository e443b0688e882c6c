//! The two Secrets of an agent's pod: the bucket's and etcd's.
use model::{
    Reason,
    environment::{CREDENTIALS_SECRET, ETCD_CREDENTIALS_SECRET},
    result::Failure,
};

use crate::mounted_secret::{Mount, Name};

/// The keys of the bucket's Secret. restic reads the file of the password itself.
pub const BUCKET: [&str; 3] = ["access_key", "secret_key", "restic_repo_password"];
/// The keys of etcd's.
pub const ETCD: [&str; 3] = ["ca.crt", "client.crt", "client.key"];

/// Where both are, and what a person calls them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// With the keys of the bucket and the password of the repository.
    pub bucket: Mount,
    /// With the certificates and key of etcd's client.
    pub etcd: Mount,
}

impl Secrets {
    /// Adds to a failure the Secret that mends it, where one does: whoever refused what is
    /// in it knows neither its name nor the field.
    pub fn blamed(&self, failure: Failure) -> Failure {
        match failure.reason {
            Reason::AccessDenied | Reason::WrongPassword => self.bucket.blamed(failure),
            // A failure at another field is about the server's certificate, not the client's.
            Reason::EtcdCertificateInvalid
                if failure.field.as_deref().is_none_or(|field| Some(field) == self.etcd.field) =>
            {
                self.etcd.blamed(failure)
            }
            _ => failure,
        }
    }

    /// The variables that told the names, for `agent stream`: a Secret that vanishes before it
    /// begins is to be called the same.
    pub fn names(&self) -> Vec<(&'static str, String)> {
        let names = [(CREDENTIALS_SECRET, &self.bucket.name), (ETCD_CREDENTIALS_SECRET, &self.etcd.name)];
        let told = |(variable, name): (_, &Name)| Some((variable, name.of_secret()?.to_owned()));
        names.into_iter().filter_map(told).collect()
    }

    /// Reads the keys of the bucket and the repository's password.
    pub fn bucket_credentials(&self) -> Result<repository::Credentials, Failure> {
        let secret = self.bucket.open()?;
        let [access_key, secret_key, password] = BUCKET;
        Ok(repository::Credentials {
            access_key: secret.line(access_key)?,
            secret_key: secret.line(secret_key)?,
            password: secret.line(password)?,
            password_file: secret.path(password),
        })
    }

    /// Reads the certificates and key of etcd's client, where one of the endpoints needs them.
    pub fn etcd_credentials(&self, endpoints: &[String]) -> Result<Option<etcd::Credentials>, Failure> {
        if !endpoints.iter().any(|endpoint| endpoint.starts_with("https:")) {
            return Ok(None);
        }
        let secret = self.etcd.open()?;
        let [authority, certificate, key] = ETCD;
        Ok(Some(etcd::Credentials {
            authority: secret.text(authority)?.expose().to_owned(),
            certificate: secret.text(certificate)?.expose().to_owned(),
            key: secret.text(key)?,
        }))
    }
}

#[cfg(test)]
pub mod tests {
    use rstest::rstest;

    use super::*;

    /// Of a pod whose operator told both names.
    pub fn secrets() -> Secrets {
        let mount = |folder: &str, name: &str, field, keys| Mount {
            folder: folder.into(),
            name: Name::Secret(name.to_owned()),
            field: Some(field),
            keys,
        };
        Secrets {
            bucket: mount("/nowhere/credentials", "s3-creds", "spec.credentials", &BUCKET),
            etcd: mount("/nowhere/etcd_creds", "etcd-creds", "spec.etcdCreds", &ETCD),
        }
    }

    #[rstest]
    #[case::keys_of_the_bucket(
        Reason::AccessDenied,
        "Secret \"s3-creds\": refused",
        Some("spec.credentials")
    )]
    #[case::password(Reason::WrongPassword, "Secret \"s3-creds\": refused", Some("spec.credentials"))]
    #[case::certificate(
        Reason::EtcdCertificateInvalid,
        "Secret \"etcd-creds\": refused",
        Some("spec.etcdCreds")
    )]
    #[case::no_secret_mends_it(Reason::BucketMissing, "refused", None)]
    fn a_refusal_names_the_secret_to_edit(
        #[case] reason: Reason,
        #[case] message: &str,
        #[case] field: Option<&str>,
    ) {
        let failure = secrets().blamed(Failure::new(reason, "refused"));
        assert_eq!((failure.message.as_str(), failure.field.as_deref()), (message, field));
    }

    #[test]
    fn a_field_that_is_not_certain_is_left_out() {
        let Secrets { bucket, etcd } = secrets();
        let secrets = Secrets { bucket: Mount { field: None, ..bucket }, etcd };
        let failure = secrets.blamed(Failure::new(Reason::AccessDenied, "refused"));
        assert_eq!(failure, Failure::new(Reason::AccessDenied, "Secret \"s3-creds\": refused"));
    }

    #[test]
    fn without_tls_no_secret_is_needed() {
        let found = secrets().etcd_credentials(&["http://127.0.0.1:2379".to_owned()]);
        assert!(found.expect("none needed").is_none());
    }
}
