//! What an S3 server's refusal means.
//!
//! Pure: an answer or a broken connection becomes one of our reasons, whichever
//! server it was. The codes are those of AWS, `MinIO`, versitygw, Ceph and Garage.
use model::Reason;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal<'a> {
    /// The server answered, with this HTTP status and S3 error code.
    Answered { status: u16, code: Option<&'a str>, message: &'a str },
    /// No answer came; the causes as one text.
    Unreached { chain: &'a str },
}

/// The reason for a refusal.
pub(crate) fn reason(refusal: Refusal<'_>) -> Reason {
    match refusal {
        Refusal::Answered { status, code, message } => {
            code.and_then(|code| by_code(code, message)).unwrap_or_else(|| by_status(status))
        }
        Refusal::Unreached { chain } => by_chain(chain),
    }
}

fn by_code(code: &str, message: &str) -> Option<Reason> {
    Some(match code {
        "NoSuchBucket" => Reason::BucketMissing,
        "BucketAlreadyExists" => Reason::BucketForbidden,
        "RequestTimeTooSkewed" | "RequestExpired" => Reason::ClockSkew,
        // Both come with 400, and both pass.
        "RequestTimeout" | "IncompleteBody" => Reason::Unavailable,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "ThrottlingException"
        | "Throttling"
        | "RequestThrottled" => Reason::Throttled,
        "ObjectLocked" => Reason::ObjectLocked,
        // versitygw and AWS have no code of their own for it.
        _ if is_about_object_lock(message) => Reason::ObjectLocked,
        "QuotaExceeded"
        | "InsufficientStorage"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "StorageFull"
        | "InsufficientCapacity" => Reason::QuotaExceeded,
        "AccessDenied"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "InvalidAccessKeyId"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "Forbidden"
        | "UnauthorizedAccess" => Reason::AccessDenied,
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "IllegalLocationConstraintException"
        | "InvalidLocationConstraint"
        | "InvalidBucketName" => Reason::InvalidSpec,
        _ => return None,
    })
}

fn is_about_object_lock(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("worm protected") || message.contains("object lock")
}

fn by_status(status: u16) -> Reason {
    match status {
        301 | 307 | 400 => Reason::InvalidSpec,
        401 | 403 => Reason::AccessDenied,
        429 => Reason::Throttled,
        507 => Reason::QuotaExceeded,
        _ => Reason::Unavailable,
    }
}

/// What only a person can mend, in rustls' words in lower case. Any other trouble of a
/// handshake passes: one that was cut, or a server with an internal error.
const UNTRUSTED: &[&str] = &[
    "certificate",
    "corrupt message",
    "peer is incompatible",
    "doesn't support any known protocol",
    "alert: unknownca",
    "alert: handshakefailure",
    "alert: protocolversion",
    "alert: insufficientsecurity",
    "alert: unrecogni",
];

fn by_chain(chain: &str) -> Reason {
    let chain = chain.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| chain.contains(word));
    if says(&["dns error", "failed to lookup address", "name or service not known", "no such host"]) {
        return Reason::HostNotFound;
    }
    if says(UNTRUSTED) {
        return Reason::TlsUntrusted;
    }
    Reason::ConnectionRefused
}

/// What a broken connection's causes mean, where they do not say it themselves.
pub(crate) fn hint(chain: &str) -> &'static str {
    if chain.contains("CaUsedAsEndEntity") {
        // restic accepts it, rustls does not.
        return ": the server shows the certificate of an authority (CA:TRUE) as its own; \
                it needs one with CA:FALSE that the authority signed";
    }
    if chain.contains("InvalidContentType") {
        return ": what answers there does not speak TLS: write http:// in spec.url if that is meant";
    }
    ""
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // Codes and texts as the servers sent them.
    #[rstest]
    #[case::unknown_key(
        403,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        Reason::AccessDenied
    )]
    #[case::wrong_key(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match",
        Reason::AccessDenied
    )]
    #[case::not_allowed(403, "AccessDenied", "Access Denied.", Reason::AccessDenied)]
    #[case::clock(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the server's time is too large.",
        Reason::ClockSkew
    )]
    #[case::no_bucket(404, "NoSuchBucket", "The specified bucket does not exist.", Reason::BucketMissing)]
    #[case::bucket_of_another(409, "BucketAlreadyExists", "", Reason::BucketForbidden)]
    #[case::slow_upload(
        400,
        "RequestTimeout",
        "Your socket connection to the server was not read from",
        Reason::Unavailable
    )]
    #[case::cut_upload(
        400,
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
        Reason::Unavailable
    )]
    #[case::slow_down(503, "SlowDown", "Please reduce your request rate.", Reason::Throttled)]
    #[case::minio_slow_down(503, "SlowDownWrite", "", Reason::Throttled)]
    #[case::internal(
        500,
        "InternalError",
        "We encountered an internal error, please try again.",
        Reason::Unavailable
    )]
    #[case::locked_minio(400, "ObjectLocked", "", Reason::ObjectLocked)]
    #[case::locked_versitygw(
        400,
        "InvalidRequest",
        "Object is WORM protected and cannot be overwritten",
        Reason::ObjectLocked
    )]
    #[case::locked_aws(
        403,
        "AccessDenied",
        "Access Denied because object protected by object lock.",
        Reason::ObjectLocked
    )]
    #[case::full_minio(507, "XMinioStorageFull", "", Reason::QuotaExceeded)]
    #[case::full_ceph(403, "QuotaExceeded", "", Reason::QuotaExceeded)]
    #[case::wrong_region(
        400,
        "AuthorizationHeaderMalformed",
        "the region 'us-east-1' is wrong",
        Reason::InvalidSpec
    )]
    #[case::unheard_of(418, "Teapot", "", Reason::Unavailable)]
    fn a_code_becomes(
        #[case] status: u16,
        #[case] code: &str,
        #[case] message: &str,
        #[case] expected: Reason,
    ) {
        assert_eq!(reason(Refusal::Answered { status, code: Some(code), message }), expected);
    }

    #[rstest]
    #[case::forbidden(403, Reason::AccessDenied)]
    #[case::too_many(429, Reason::Throttled)]
    #[case::full(507, Reason::QuotaExceeded)]
    #[case::bad_gateway(502, Reason::Unavailable)]
    #[case::plain_http_to_a_tls_port(400, Reason::InvalidSpec)]
    fn a_status_without_code_becomes(#[case] status: u16, #[case] expected: Reason) {
        assert_eq!(reason(Refusal::Answered { status, code: None, message: "" }), expected);
    }

    // Causes as the SDK chained them.
    #[rstest]
    #[case::unknown_host(
        "client error (Connect): dns error: failed to lookup address information: Name or service not known",
        Reason::HostNotFound
    )]
    #[case::refused(
        "client error (Connect): tcp connect error: Connection refused (os error 111)",
        Reason::ConnectionRefused
    )]
    #[case::reset(
        "client error (SendRequest): connection error: Connection reset by peer (os error 104)",
        Reason::ConnectionRefused
    )]
    #[case::silent(
        "request has timed out: operation timeout (all attempts including retries) occurred after 45s",
        Reason::ConnectionRefused
    )]
    #[case::unknown_authority(
        "client error (Connect): TLS handshake failed: invalid peer certificate: UnknownIssuer",
        Reason::TlsUntrusted
    )]
    #[case::other_name(
        "TLS handshake failed: invalid peer certificate: certificate not valid for name \"127.0.0.1\"",
        Reason::TlsUntrusted
    )]
    #[case::no_tls(
        "TLS handshake failed: received corrupt message of type InvalidContentType",
        Reason::TlsUntrusted
    )]
    #[case::no_common_protocol(
        "TLS handshake failed: received fatal alert: ProtocolVersion",
        Reason::TlsUntrusted
    )]
    #[case::handshake_was_cut("client error (Connect): tls handshake eof", Reason::ConnectionRefused)]
    #[case::server_has_a_trouble_of_its_own(
        "TLS handshake failed: received fatal alert: InternalError",
        Reason::ConnectionRefused
    )]
    fn a_broken_connection_becomes(#[case] chain: &str, #[case] expected: Reason) {
        assert_eq!(reason(Refusal::Unreached { chain }), expected);
    }

    #[test]
    fn a_certificate_that_only_restic_would_accept_is_explained() {
        let chain = "TLS handshake failed: invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))";
        assert!(hint(chain).contains("CA:FALSE"));
        assert_eq!(hint("anything else"), "");
    }
}
