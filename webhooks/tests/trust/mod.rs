//! Who asks over TLS in tests, and goes by what it is told to trust, as an API server does.
use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_rustls::TlsConnector;

/// Connects to whoever shows a certificate of one of these, in PEM, and to nobody else.
pub fn trusting(certificates: &[u8]) -> TlsConnector {
    let certificates = CertificateDer::pem_slice_iter(certificates).map(|der| der.expect("PEM"));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
