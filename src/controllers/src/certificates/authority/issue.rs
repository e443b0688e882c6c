//! Makes an authority that signs one pair.
use std::time::Duration;

use jiff::Timestamp;
use model::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::Pem;

/// How long an authority and its pair hold.
///
/// Long enough that a cluster may be switched off for months, short enough that each sees its rotation.
pub const LIFETIME: Duration = Duration::from_hours(365 * 24);

/// A pair, and who vouches for it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The authority. Its key is gone.
    pub authority: CertificateDer<'static>,
    /// What it has signed.
    pub pair: Pem,
}

/// Why there is no pair.
#[derive(Debug, thiserror::Error)]
#[error("failed to make a certificate")]
pub struct NotMade(#[source] Error);

/// Makes a pair for the service of that namespace, and the authority that vouches for it.
///
/// Serial numbers are taken from the keys, which are random.
pub fn issue(namespace: &str, now: Timestamp) -> Result<Issued, NotMade> {
    let authority_key = key()?;
    let authority = authority(&authority_key, now);
    let signed = authority.self_signed(&*authority_key).map_err(NotMade)?;
    let key = key()?;
    let issuer = Issuer::from_params(&authority, &*authority_key);
    let certificate = leaf(namespace, now)?.signed_by(&*key, &issuer).map_err(NotMade)?;
    let pair = Pem { certificate: Secret::new(certificate.pem()), key: Secret::new(key.serialize_pem()) };
    Ok(Issued { authority: signed.into(), pair })
}

/// One for ECDSA with P-256: every API server knows it, and a handshake with it is cheap.
fn key() -> Result<Zeroizing<KeyPair>, NotMade> {
    KeyPair::generate().map(Zeroizing::new).map_err(NotMade)
}

/// It may sign pairs, but no other authority. Each has a name of its own, so that nobody takes one for another.
fn authority(key: &KeyPair, now: Timestamp) -> CertificateParams {
    let mut authority = CertificateParams::default();
    let id = hex::encode(&authority.key_identifier(key)[..4]);
    last(&mut authority, now);
    authority.distinguished_name = named(&format!("{} {id}", api::names::WEBHOOK_AUTHORITY));
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority
}

fn leaf(namespace: &str, now: Timestamp) -> Result<CertificateParams, NotMade> {
    let mut leaf = CertificateParams::new(api::names::webhook_hosts(namespace)).map_err(NotMade)?;
    last(&mut leaf, now);
    // What it is for is among its other names: a common name has no room for every namespace.
    leaf.distinguished_name = named(api::names::WEBHOOK_SERVICE);
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    Ok(leaf)
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// For a lifetime from now on, within the times that a certificate can tell, and for whatever was before.
///
/// The beginning protects nobody, for the key is new. But what is made by a clock that has jumped ahead would be refused
/// by all clocks that are right.
fn last(certificate: &mut CertificateParams, now: Timestamp) {
    let epoch = date_time_ymd(1970, 1, 1);
    let now = u64::try_from(now.as_second()).unwrap_or_default();
    let latest = u64::try_from(Timestamp::MAX.as_second()).unwrap_or_default();
    certificate.not_before = epoch;
    certificate.not_after = epoch + Duration::from_secs((now + LIFETIME.as_secs()).min(latest));
}
