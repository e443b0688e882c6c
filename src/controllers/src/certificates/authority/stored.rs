//! What the Secret holds.
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use model::Secret;

use super::{Bundle, Flaw, Pair};

/// The authorities, newest first: what API servers trust.
const BUNDLE: &str = "ca.crt";
/// What every replica shows.
const SERVED: [&str; 2] = ["tls.crt", "tls.key"];
/// What follows it, during a rotation.
const NEXT: [&str; 2] = ["next.crt", "next.key"];

/// A Secret's data.
type Data = BTreeMap<String, ByteString>;

/// A certificate and its key, as somebody wrote them.
///
/// The certificate is not printed either: who swaps the two by mistake has a key there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    /// The certificate.
    pub certificate: Secret,
    /// Its key.
    pub key: Secret,
}

/// What every replica reads, and one of them writes at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    bundle: Secret,
    /// What every replica shows.
    pub served: Option<Pem>,
    /// What follows it, during a rotation.
    pub next: Option<Pem>,
}

/// Why a pair that is stored is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("there is no pair")]
    Missing,
    /// There is something wrong with it.
    #[error("the pair cannot be used")]
    Unusable(#[source] Flaw),
    /// API servers would not accept it.
    #[error("no authority of the Secret vouches for the pair")]
    Untrusted(#[source] rustls::Error),
}

impl Pem {
    /// The pair, if it is one.
    pub fn pair(&self) -> Result<Pair, Fault> {
        Pair::of(self.certificate.expose().as_bytes(), self.key.expose().as_bytes()).map_err(Fault::Unusable)
    }

    fn read(data: Option<&Data>, keys: [&str; 2]) -> Option<Self> {
        let is_there = keys.iter().any(|key| data.is_some_and(|data| data.contains_key(*key)));
        let [certificate, key] = keys.map(|key| text(data, key));
        is_there.then_some(Self { certificate, key })
    }
}

impl Stored {
    /// Takes a Secret's data as it is: what is damaged is found out later.
    pub fn read(data: Option<&Data>) -> Self {
        Self { bundle: text(data, BUNDLE), served: Pem::read(data, SERVED), next: Pem::read(data, NEXT) }
    }

    /// What those pairs are stored as.
    pub fn new(bundle: &Bundle, served: Option<Pem>, next: Option<Pem>) -> Self {
        Self { bundle: Secret::new(bundle.to_pem()), served, next }
    }

    /// Puts it into a Secret's data, and leaves there what is not ours.
    pub fn write(&self, data: &mut Data) {
        let mut put = |key: &str, value: Option<&Secret>| match value {
            Some(value) => drop(data.insert(key.to_owned(), ByteString(value.expose().as_bytes().to_vec()))),
            None => drop(data.remove(key)),
        };
        put(BUNDLE, Some(&self.bundle));
        for ([certificate, key], pem) in [(SERVED, &self.served), (NEXT, &self.next)] {
            put(certificate, pem.as_ref().map(|pem| &pem.certificate));
            put(key, pem.as_ref().map(|pem| &pem.key));
        }
    }

    /// The authorities that API servers are to trust: certificates, whatever else is beside them.
    pub fn bundle(&self) -> Bundle {
        Bundle::read(self.bundle.expose().as_bytes())
    }

    /// Whether nobody has written anything yet.
    pub(super) fn is_empty(&self) -> bool {
        self.bundle.expose().is_empty() && self.served.is_none() && self.next.is_none()
    }

    /// Whether it is these authorities that are stored, and nothing beside them.
    pub(super) fn is_bundle(&self, bundle: &Bundle) -> bool {
        self.bundle.expose() == bundle.to_pem()
    }
}

fn text(data: Option<&Data>, key: &str) -> Secret {
    let bytes = data.and_then(|data| data.get(key)).map_or(&[][..], |value| &value.0);
    Secret::new(String::from_utf8_lossy(bytes).into_owned())
}
