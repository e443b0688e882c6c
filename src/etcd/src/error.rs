//! What can go wrong with one member, and which reason that is.
use std::{error::Error as StdError, fmt};

use model::{Reason, chain, result::Failure};
use rustls::{AlertDescription, Error as Tls};
use tonic::Code;

/// A step of a conversation with etcd that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is none that can be connected to.
    #[error("{endpoint:?} is not an http or https URL with a host")]
    Endpoint {
        /// The endpoint as it was given.
        endpoint: String,
    },
    /// The endpoint wants TLS and there is nothing to authenticate with.
    #[error("{endpoint:?} needs a client certificate and none is given")]
    NoCredentials {
        /// The endpoint as it was given.
        endpoint: String,
    },
    /// The client's certificates are no certificates, or do not fit their key.
    #[error("failed to use the etcd client's certificate, key and authority")]
    Credentials {
        /// What TLS says of them.
        source: Box<tonic::transport::Error>,
    },
    /// No connection came about.
    #[error("failed to connect to etcd at {endpoint:?}")]
    Connect {
        /// The endpoint.
        endpoint: String,
        /// What the transport says.
        source: Box<tonic::transport::Error>,
    },
    /// The member did not answer in time.
    #[error("etcd at {endpoint:?} did not answer {call} within {seconds} s")]
    Silent {
        /// The endpoint.
        endpoint: String,
        /// The call, or `a connection`.
        call: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The member answered with an error, or what answered is not etcd.
    #[error("the call {call} to etcd at {endpoint:?} failed")]
    Call {
        /// The endpoint.
        endpoint: String,
        /// The call.
        call: &'static str,
        /// The answer.
        source: Refusal,
    },
    /// The endpoint was looked at more closely, and this is what is wrong with it.
    #[error("{endpoint:?} is of no use: {said}")]
    Found {
        /// The endpoint.
        endpoint: String,
        /// As one word.
        reason: Reason,
        /// As a sentence.
        said: String,
    },
}

/// An answer that is an error, in the server's words.
#[derive(Debug)]
pub struct Refusal(Box<tonic::Status>);

impl From<tonic::Status> for Refusal {
    fn from(status: tonic::Status) -> Self {
        Self(Box::new(status))
    }
}

impl Refusal {
    /// Whether what answers has no such call. kine answers like etcd until it is asked for a snapshot, and then in
    /// words only.
    fn is_beyond_it(&self) -> bool {
        self.0.code() == Code::Unimplemented || self.0.message() == "snapshot is not supported"
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The server's own words may be long; what they are about stands at their beginning.
        let said: String = self.0.message().chars().take(300).collect();
        write!(formatter, "{said} ({:?})", self.0.code())
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl Error {
    /// The reason in the closed set.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Endpoint { .. } => Reason::InvalidSpec,
            Self::NoCredentials { .. } => Reason::SecretMissing,
            Self::Credentials { .. } => Reason::EtcdCertificateInvalid,
            Self::Connect { source, .. } => classify(None, &**source),
            Self::Silent { .. } => Reason::EtcdUnreachable,
            Self::Call { source, .. } if source.is_beyond_it() => Reason::NotEtcd,
            Self::Call { source, .. } => classify(Some(source.0.code()), source),
            Self::Found { reason, .. } => *reason,
        }
    }

    /// The failure to report: with all causes, and the field to look at.
    pub fn failure(&self) -> Failure {
        let reason = self.reason();
        let failure = Failure::new(reason, chain(self));
        match reason {
            Reason::EtcdCertificateInvalid if self.blames_server() => failure.at("spec.etcdEndpoint"),
            Reason::EtcdCertificateInvalid | Reason::SecretMissing => failure.at("spec.etcdCreds"),
            _ => failure.at("spec.etcdEndpoint"),
        }
    }

    /// Whether a cluster without a quorum fails in this way a call that needs one: with silence, with one of
    /// `no leader`, `leader changed` and `request timed out`, which are all `Unavailable`, or with raft's own words.
    pub(crate) fn may_be_for_want_of_a_quorum(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Call { source, .. } => {
                matches!(source.0.code(), Code::Unavailable | Code::DeadlineExceeded)
                    || source.0.message().ends_with("raft proposal dropped")
            }
            _ => false,
        }
    }

    /// Whether it is the server's certificate that is out of date or not for this endpoint: no edit of
    /// the client's Secret mends that.
    fn blames_server(&self) -> bool {
        let mut causes = std::iter::successors(self.source(), |error| cause(*error));
        causes.any(|cause| cause.downcast_ref::<Tls>().is_some_and(is_of_server))
    }
}

fn is_of_server(error: &Tls) -> bool {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
    };
    let Tls::InvalidCertificate(why) = error else { return false };
    matches!(
        why,
        Expired
            | ExpiredContext { .. }
            | NotValidForName
            | NotValidForNameContext { .. }
            | NotValidYet
            | NotValidYetContext { .. }
    )
}

/// Finds the reason in an error's causes.
///
/// With TLS 1.3 a server refuses a client's certificate only after the
/// handshake, so that the refusal comes as the failure of the first call.
fn classify(code: Option<Code>, error: &(dyn StdError + 'static)) -> Reason {
    let causes = || std::iter::successors(Some(error), |error| cause(*error));
    let by_tls = causes().find_map(|cause| cause.downcast_ref::<Tls>().and_then(tls_reason));
    by_tls
        .or_else(|| causes().any(speaks_no_http2).then_some(Reason::NotEtcd))
        .unwrap_or_else(|| by_code(code))
}

/// The next cause; unlike `source`, also the error that an `io::Error` wraps.
fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source())
}

pub(crate) fn tls_reason(error: &Tls) -> Option<Reason> {
    match error {
        Tls::AlertReceived(AlertDescription::NoApplicationProtocol | AlertDescription::ProtocolVersion)
        | Tls::NoApplicationProtocol
        | Tls::InvalidMessage(_)
        | Tls::PeerIncompatible(_)
        | Tls::PeerMisbehaved(_) => Some(Reason::NotEtcd),
        Tls::AlertReceived(_)
        | Tls::InvalidCertificate(_)
        | Tls::NoCertificatesPresented
        | Tls::InconsistentKeys(_)
        | Tls::UnsupportedNameType => Some(Reason::EtcdCertificateInvalid),
        _ => None,
    }
}

/// Whether the other side answers in another protocol. The types that say so
/// are private to tonic and h2, so their words are compared.
fn speaks_no_http2(error: &(dyn StdError + 'static)) -> bool {
    let said = error.to_string();
    said.starts_with("HTTP/2 was not negotiated")
        || said.starts_with("connection error detected: frame with invalid size")
        || said.starts_with("connection error detected: unspecific protocol error")
}

fn by_code(code: Option<Code>) -> Reason {
    match code {
        Some(Code::PermissionDenied | Code::Unauthenticated) => Reason::EtcdCertificateInvalid,
        _ => Reason::EtcdUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rstest::rstest;
    use rustls::{CertificateError, InvalidMessage};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer {
        text: &'static str,
        source: io::Error,
    }

    fn wrapped(inner: impl Into<Box<dyn StdError + Send + Sync>>) -> Outer {
        Outer { text: "transport error", source: io::Error::other(inner) }
    }

    #[rstest]
    #[case::unknown_authority(
        None,
        wrapped(Tls::InvalidCertificate(CertificateError::UnknownIssuer)),
        Reason::EtcdCertificateInvalid
    )]
    #[case::client_certificate_refused(
        Some(Code::Unavailable),
        wrapped(Tls::AlertReceived(AlertDescription::BadCertificate)),
        Reason::EtcdCertificateInvalid
    )]
    #[case::no_tls_there(
        None,
        wrapped(Tls::InvalidMessage(InvalidMessage::InvalidContentType)),
        Reason::NotEtcd
    )]
    #[case::tls_without_http2(None, wrapped("HTTP/2 was not negotiated."), Reason::NotEtcd)]
    #[case::plain_http1(
        Some(Code::Internal),
        wrapped("connection error detected: frame with invalid size"),
        Reason::NotEtcd
    )]
    #[case::user_without_rights(Some(Code::PermissionDenied), wrapped("x"), Reason::EtcdCertificateInvalid)]
    #[case::refused(
        None,
        wrapped(io::Error::from(io::ErrorKind::ConnectionRefused)),
        Reason::EtcdUnreachable
    )]
    #[case::gone_in_between(Some(Code::Unavailable), wrapped("x"), Reason::EtcdUnreachable)]
    fn is_classified(#[case] code: Option<Code>, #[case] error: Outer, #[case] reason: Reason) {
        assert_eq!(classify(code, &error), reason);
    }

    #[rstest]
    #[case::of_the_server(CertificateError::NotValidForName, "spec.etcdEndpoint")]
    #[case::that_nobody_trusts(CertificateError::UnknownIssuer, "spec.etcdCreds")]
    fn a_certificate(#[case] why: CertificateError, #[case] field: &str) {
        let refused = io::Error::other(Tls::InvalidCertificate(why));
        let source = tonic::Status::from_error(Box::new(refused)).into();
        let failure = Error::Call { endpoint: String::new(), call: "Status", source }.failure();
        assert_eq!((failure.reason, failure.field.as_deref()), (Reason::EtcdCertificateInvalid, Some(field)));
    }

    #[rstest]
    #[case::what_lacks_the_call(tonic::Status::unimplemented("unknown method"), Reason::NotEtcd)]
    #[case::kine(tonic::Status::unknown("snapshot is not supported"), Reason::NotEtcd)]
    #[case::etcd(tonic::Status::unknown("etcdserver: no space"), Reason::EtcdUnreachable)]
    fn answered_by(#[case] answer: tonic::Status, #[case] reason: Reason) {
        let error =
            Error::Call { endpoint: String::new(), call: "Maintenance/Snapshot", source: answer.into() };
        assert_eq!(error.reason(), reason);
    }

    #[rstest]
    #[case::no_leader(tonic::Status::unavailable("etcdserver: no leader"), true)]
    #[case::timed_out(tonic::Status::unavailable("etcdserver: request timed out"), true)]
    #[case::dropped(tonic::Status::unknown("raft proposal dropped"), true)]
    #[case::without_rights(tonic::Status::permission_denied("etcdserver: permission denied"), false)]
    #[case::of_an_old_version(tonic::Status::unimplemented("unknown method"), false)]
    fn for_want_of_a_quorum(#[case] answer: tonic::Status, #[case] may_be: bool) {
        let error = Error::Call { endpoint: String::new(), call: "Maintenance/Alarm", source: answer.into() };
        assert_eq!(error.may_be_for_want_of_a_quorum(), may_be);
    }

    #[test]
    fn a_refused_certificate_is_told_once() {
        let refused = io::Error::other(Tls::InvalidCertificate(CertificateError::UnknownIssuer));
        let source = tonic::Status::from_error(Box::new(refused)).into();
        let endpoint = "https://127.0.0.1:2379".to_owned();
        let failure = Error::Call { endpoint, call: "Maintenance/Status", source }.failure();
        let message = "the call Maintenance/Status to etcd at \"https://127.0.0.1:2379\" failed: \
                       invalid peer certificate: UnknownIssuer (Unknown)";
        assert_eq!(failure, Failure::new(Reason::EtcdCertificateInvalid, message).at("spec.etcdCreds"));
    }
}
