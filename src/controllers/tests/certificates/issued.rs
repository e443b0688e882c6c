//! What a pair and its authority say of themselves.
use controllers::certificates::authority::issue;
use jiff::Timestamp;
use rstest::rstest;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::scene::{day, start};

fn certificates(now: Timestamp) -> [CertificateDer<'static>; 2] {
    let issued = issue("backup", now).expect("a pair");
    let leaf = CertificateDer::from_pem_slice(issued.pair.certificate.expose().as_bytes()).expect("PEM");
    [issued.authority, leaf]
}

fn parsed<'a>(der: &'a CertificateDer<'static>) -> X509Certificate<'a> {
    X509Certificate::from_der(der).expect("a certificate").1
}

#[test]
fn an_authority_signs_pairs_and_nothing_else() {
    let [authority, _] = certificates(start());
    let authority = parsed(&authority);
    let constraints = authority.basic_constraints().expect("readable").expect("there");
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = authority.key_usage().expect("readable").expect("there").value;
    assert!(usage.key_cert_sign() && !usage.digital_signature() && !usage.crl_sign());
}

#[test]
fn a_pair_is_for_the_service_and_signs_nobody() {
    let [authority, leaf] = certificates(start());
    let (authority, leaf) = (parsed(&authority), parsed(&leaf));
    assert_eq!(leaf.issuer(), authority.subject());
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().expect("readable").expect("there").value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let usage = leaf.extended_key_usage().expect("readable").expect("there").value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    let names = leaf.subject_alternative_name().expect("readable").expect("there").value;
    let hosts = ["kubedr-webhook.backup.svc", "kubedr-webhook.backup.svc.cluster.local"];
    assert_eq!(names.general_names, hosts.map(GeneralName::DNSName));
}

#[test]
fn no_two_authorities_share_a_name_or_a_number() {
    let [one, other] = [certificates(start()), certificates(start())];
    for (one, other) in one.iter().zip(&other) {
        let (one, other) = (parsed(one), parsed(other));
        assert_ne!(one.raw_serial(), other.raw_serial());
        assert_ne!(one.issuer(), other.issuer());
        assert!(one.raw_serial().len() <= 20 && one.raw_serial().len() >= 16);
    }
}

/// Clocks may show anything: a machine without a battery begins in 1970.
#[rstest]
#[case::now(start(), day(365).as_second())]
#[case::in_1970(Timestamp::UNIX_EPOCH, 365 * 24 * 3600)]
#[case::before_1970(Timestamp::MIN, 365 * 24 * 3600)]
#[case::at_the_end_of_time(Timestamp::MAX, Timestamp::MAX.as_second())]
fn both_hold_for_a_year_and_for_all_that_was_before(#[case] now: Timestamp, #[case] end: i64) {
    for certificate in &certificates(now) {
        let validity = parsed(certificate).validity().clone();
        assert_eq!((validity.not_before.timestamp(), validity.not_after.timestamp()), (0, end));
    }
}

#[test]
fn the_longest_name_of_a_namespace_has_room() {
    let issued = issue(&"n".repeat(63), start()).expect("a pair");
    issued.pair.pair().expect("a pair");
}
