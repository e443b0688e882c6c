//! How the S3 server is reached: address, keys, trust and deadlines.
use std::{fs, path::Path, time::Duration};

use aws_sdk_s3::{
    Config,
    config::{
        BehaviorVersion, Credentials as S3Credentials, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, SharedHttpClient, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use model::{BucketLookup, Reason, Store, result::Failure};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::Access;

/// Longest time for the body of one answer, which the SDK's deadlines do not cover.
pub(crate) const BODY_DEADLINE: Duration = Duration::from_mins(5);

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(30);
/// All attempts together: whatever is wrong is to be told within a minute.
const DEADLINE: Duration = Duration::from_secs(45);
const ATTEMPTS: u32 = 3;

/// The SDK's settings for one repository.
pub(crate) fn config(access: &Access) -> Result<Config, Failure> {
    let Access { store, credentials, ca_file } = access;
    let keys = S3Credentials::new(
        credentials.access_key.expose(),
        credentials.secret_key.expose(),
        None,
        None,
        "kubedr",
    );
    let deadlines = TimeoutConfig::builder()
        .connect_timeout(CONNECT_DEADLINE)
        .operation_attempt_timeout(ATTEMPT_DEADLINE)
        .operation_timeout(DEADLINE)
        .build();
    let mut builder = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client(&store.url, ca_file.as_deref())?)
        .endpoint_url(&store.url)
        .region(Region::new(store.region.clone()))
        .credentials_provider(keys)
        .force_path_style(is_path_style(store))
        .timeout_config(deadlines)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    if !is_aws(&store.url) {
        // Checksums in trailers are unknown to many servers.
        builder = builder
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    Ok(builder.build())
}

/// Whether the bucket is a part of the path, not of the host's name.
pub(crate) fn is_path_style(store: &Store) -> bool {
    match store.lookup {
        BucketLookup::Path => true,
        BucketLookup::Dns => false,
        BucketLookup::Auto => !is_aws(&store.url),
    }
}

fn is_aws(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase();
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

fn http_client(url: &str, ca_file: Option<&Path>) -> Result<SharedHttpClient, Failure> {
    if url.starts_with("http://") {
        // Without TLS no certificates are loaded, so that none have to be there.
        return Ok(Builder::new().build_http());
    }
    let mut trusted = TrustStore::default();
    if let Some(file) = ca_file {
        trusted.add_pem_certificate(authority(file)?);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context =
        context.map_err(|error| Failure::new(Reason::Bug, format!("no TLS is possible: {error}")))?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}

/// Reads a certificate authority.
///
/// The SDK takes anything and panics at the first connection if it is not one
/// that rustls can use, so it is tried here.
fn authority(file: &Path) -> Result<Vec<u8>, Failure> {
    let invalid = |what: &str| {
        let message = format!("the certificate authority in {} cannot be used: {what}", file.display());
        Failure::new(Reason::InvalidSpec, message).at("spec.caBundle")
    };
    let pem = fs::read(file).map_err(|error| invalid(&error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| invalid(&error.to_string()))?;
    if certificates.is_empty() {
        return Err(invalid("it holds no PEM certificate"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| invalid(&error.to_string()))?;
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::aws("https://s3.eu-central-1.amazonaws.com", BucketLookup::Auto, false)]
    #[case::aws_with_port("https://s3.amazonaws.com:443/", BucketLookup::Auto, false)]
    #[case::aws_by_path("https://s3.amazonaws.com", BucketLookup::Path, true)]
    #[case::address("http://10.0.0.1:9000", BucketLookup::Auto, true)]
    #[case::private_server("https://minio.example.org", BucketLookup::Auto, true)]
    #[case::private_server_by_name("https://minio.example.org", BucketLookup::Dns, false)]
    #[case::looks_like_aws("https://amazonaws.com.example.org", BucketLookup::Auto, true)]
    fn bucket_is_addressed(#[case] url: &str, #[case] lookup: BucketLookup, #[case] by_path: bool) {
        let store = Store {
            url: url.to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            region: "us-east-1".to_owned(),
            lookup,
        };
        assert_eq!(is_path_style(&store), by_path);
    }

    #[rstest]
    #[case::nothing("")]
    #[case::no_certificate("hello")]
    #[case::damaged("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
    #[case::no_base64("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n")]
    fn an_unusable_authority_is_refused_before_the_sdk_sees_it(#[case] pem: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.crt");
        fs::write(&file, pem).expect("a file");
        let failure = authority(&file).expect_err("unusable");
        assert_eq!(failure.field.as_deref(), Some("spec.caBundle"));
    }
}
