//! A certificate and its key.
use std::{io, path::Path, sync::Arc};

use jiff::Timestamp;
use rustls::{
    Error, InconsistentKeys,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use tokio::fs;

/// File with the certificate, and those between it and its authority.
const CERTIFICATE: &str = "tls.crt";
/// File with its key.
const KEY: &str = "tls.key";

/// A certificate and its key, which belong to each other.
#[derive(Clone, Debug)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Why a pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// A file is not there, or closed to us.
    #[error("failed to read {file}")]
    Unreadable {
        /// Which of the two.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be. Why, is not told: the parser quotes a line, and that may be the whole key.
    #[error("{file} is not in PEM")]
    NotPem {
        /// Which of the two.
        file: &'static str,
    },
    /// There is nothing in the file.
    #[error("{CERTIFICATE} has no certificate")]
    NoCertificate,
    /// The certificate is none.
    #[error("{CERTIFICATE} has no certificate that can be read")]
    NotX509(#[source] x509_parser::error::X509Error),
    /// The key is of a kind that nobody knows, or the certificate is.
    #[error("{CERTIFICATE} and {KEY} cannot be used")]
    Unusable(#[source] Error),
    /// The one is not of the other.
    #[error("{CERTIFICATE} is not of {KEY}")]
    Mismatched,
    /// Nobody accepts the certificate any more.
    #[error("{CERTIFICATE} has expired, at {0}")]
    Expired(Timestamp),
    /// Nobody accepts the certificate yet.
    #[error("{CERTIFICATE} is not valid before {0}")]
    NotYetValid(Timestamp),
}

impl Pair {
    /// Reads a pair from PEM.
    pub fn of(certificates: &[u8], key: &[u8]) -> Result<Self, Flaw> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(|_| Flaw::NotPem { file: CERTIFICATE })?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Flaw::NotPem { file: KEY })?;
        let (not_before, not_after) = validity(chain.first().ok_or(Flaw::NoCertificate)?)?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = Arc::new(key.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Flaw::Mismatched,
            error => Flaw::Unusable(error),
        })?);
        Ok(Self { key, not_before, not_after })
    }

    /// Reads the pair of a folder.
    ///
    /// Its files are swapped together, but not read together: two that do not fit are read once more.
    pub(super) async fn read(folder: &Path) -> Result<Self, Flaw> {
        match Self::read_once(folder).await {
            Err(Flaw::Mismatched) => Self::read_once(folder).await,
            read => read,
        }
    }

    async fn read_once(folder: &Path) -> Result<Self, Flaw> {
        let read = async |file| {
            fs::read(folder.join(file)).await.map_err(|source| Flaw::Unreadable { file, source })
        };
        Self::of(&read(CERTIFICATE).await?, &read(KEY).await?)
    }

    /// Why nobody who connects now would accept it, if it is so.
    pub(super) fn untimely(&self, now: Timestamp) -> Option<Flaw> {
        if self.not_after <= now {
            return Some(Flaw::Expired(self.not_after));
        }
        if self.not_before > now {
            return Some(Flaw::NotYetValid(self.not_before));
        }
        None
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }
}

impl PartialEq for Pair {
    /// By what is shown: a certificate names its key.
    fn eq(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

/// From when to when a certificate is accepted; what lies beyond the times that there are is their end.
fn validity(certificate: &CertificateDer) -> Result<(Timestamp, Timestamp), Flaw> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let (_, parsed) = parsed.map_err(|error| match error {
        x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => Flaw::NotX509(error),
        x509_parser::nom::Err::Incomplete(_) => Flaw::NotX509(x509_parser::error::X509Error::Generic),
    })?;
    let validity = parsed.validity();
    let at = |time: x509_parser::time::ASN1Time, end| Timestamp::from_second(time.timestamp()).unwrap_or(end);
    Ok((at(validity.not_before, Timestamp::MIN), at(validity.not_after, Timestamp::MAX)))
}
