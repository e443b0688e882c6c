//! Who asks over TLS in tests, and goes by what it is told to trust, as an API server does; and who is asked.
use std::sync::Arc;

use controllers::certificates::Pair;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_rustls::TlsConnector;

/// A certificate and its key, as PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

/// One that holds from the beginning of one year to that of another.
pub fn issued(from: i32, to: i32) -> Issued {
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    parameters.not_before = date_time_ymd(from, 1, 1);
    parameters.not_after = date_time_ymd(to, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    Issued { certificate: certificate.pem(), key: key.serialize_pem() }
}

impl Issued {
    pub fn pair(&self) -> Pair {
        Pair::of(self.certificate.as_bytes(), self.key.as_bytes()).expect("a pair")
    }
}

/// Connects to whoever shows a certificate of one of these, in PEM, and to nobody else.
pub fn trusting(certificates: &[u8]) -> TlsConnector {
    let certificates = CertificateDer::pem_slice_iter(certificates).map(|der| der.expect("PEM"));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
