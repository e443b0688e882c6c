//! Authorities, and for whom they vouch.
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::{
    CertificateError, Error, RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Pair, World};

/// Authorities of no pair at hand that are kept; there is one after a rotation. More come from elsewhere.
const MOST_SPARE: usize = 4;
/// Characters of a line of PEM.
const WIDTH: usize = 64;

/// Certificates of authorities, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle(Vec<CertificateDer<'static>>);

impl Bundle {
    /// Reads PEM up to where it is damaged. What is no authority is left out.
    pub fn read(pem: &[u8]) -> Self {
        let is_one = |der: &CertificateDer<'static>| RootCertStore::empty().add(der.clone()).is_ok();
        Self(CertificateDer::pem_slice_iter(pem).map_while(Result::ok).filter(is_one).collect())
    }

    /// The certificates, and nothing that was beside them: the text is told to everybody.
    pub fn to_pem(&self) -> String {
        self.0.iter().map(pem).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same behind one more.
    #[must_use]
    pub(super) fn led_by(mut self, authority: CertificateDer<'static>) -> Self {
        self.0.insert(0, authority);
        self
    }

    /// Whether whoever trusts these takes a pair for the service of that namespace.
    ///
    /// The clock does not matter: each is asked in the moment in which the pair ends.
    pub fn vouches(&self, pair: &Pair, namespace: &str) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().cloned());
        let key = pair.key();
        let unreadable = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let (leaf, between) = key.cert.split_first().ok_or_else(unreadable)?;
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, between, end(pair), algorithms)?;
        api::names::webhook_hosts(namespace).into_iter().try_for_each(|host| {
            let host = ServerName::try_from(host).map_err(|_| unreadable())?;
            verify_server_name(&leaf, &host)
        })
    }

    /// Those that the pairs need which stay, and those that may still be needed by others: they neither vouch for
    /// the one that goes, nor have they ended.
    pub(super) fn kept(&self, staying: &[&Pair], going: Option<&Pair>, world: &World) -> Self {
        let mut spare = 0;
        let mut is_kept = |authority: &&CertificateDer<'static>| {
            let alone = Self(vec![(*authority).clone()]);
            let is_of = |pair: &Pair| alone.vouches(pair, world.namespace).is_ok();
            if staying.iter().any(|pair| is_of(pair)) {
                return true;
            }
            let is_spare = !going.is_some_and(is_of) && !has_ended(authority, world.now);
            spare += usize::from(is_spare);
            is_spare && spare <= MOST_SPARE
        };
        Self(self.0.iter().filter(|authority| is_kept(authority)).cloned().collect())
    }
}

fn end(pair: &Pair) -> UnixTime {
    let seconds = u64::try_from(pair.not_after().as_second()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn has_ended(authority: &CertificateDer, now: Timestamp) -> bool {
    X509Certificate::from_der(authority)
        .is_ok_and(|(_, parsed)| parsed.validity().not_after.timestamp() <= now.as_second())
}

fn pem(certificate: &CertificateDer<'static>) -> String {
    let text = STANDARD.encode(certificate);
    let lines = text.as_bytes().chunks(WIDTH).map(|line| String::from_utf8_lossy(line) + "\n");
    let lines: String = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}
