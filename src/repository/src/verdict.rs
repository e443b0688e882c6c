//! What restic's end means.
//!
//! Pure. restic has exit codes for few things; the rest is told from its own
//! words, which the tests hold as restic 0.19.1 said them.
use model::Reason;
use serde::Deserialize;

/// How restic ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

const NO_REPOSITORY: i32 = 10;
const LOCKED: i32 = 11;
const WRONG_PASSWORD: i32 = 12;
const SIGKILL: i32 = 9;

/// Most messages of restic that are repeated.
const MOST_MESSAGES: usize = 5;

/// The reason for an end that is no success.
pub(crate) fn reason(exit: Exit, last_words: &str) -> Reason {
    match exit {
        Exit::Code(NO_REPOSITORY) => return Reason::RepositoryGone,
        Exit::Code(LOCKED) => return Reason::RepositoryLocked,
        Exit::Code(WRONG_PASSWORD) => return Reason::WrongPassword,
        // Not we: a limit of the pod was reached.
        Exit::Signal(SIGKILL) => return Reason::OutOfMemory,
        Exit::Code(_) | Exit::Signal(_) => {}
    }
    // What it said last, then whatever it complained of before.
    let complaints = last_words.lines().map(message).collect::<Vec<_>>().join("\n");
    by_words(&said(last_words)).or_else(|| by_words(&complaints)).unwrap_or(Reason::Unavailable)
}

/// Words of restic and its libraries, and what they mean; the first that fits counts.
const MEANINGS: &[(&str, Reason)] = &[
    // Of two inits at once: the other one made it, which the next try finds.
    ("config already initialized", Reason::RepositoryLocked),
    ("repository already contains keys", Reason::RepositoryLocked),
    ("repository already contains snapshots", Reason::RepositoryLocked),
    ("failed to start command", Reason::ImageBroken),
    ("command failed: ", Reason::SnapshotTruncated),
    ("all source directories/files do not exist", Reason::HostPathMissing),
    (" does not exist, skipping", Reason::HostPathMissing),
    ("at least one source file could not be read", Reason::FileUnreadable),
    // What versitygw answers; the pod's own folder is told by the kernel's words.
    ("No space left on device.", Reason::QuotaExceeded),
    ("no space left on device", Reason::NoSpace),
    ("out of memory", Reason::OutOfMemory),
    ("repository is already locked", Reason::RepositoryLocked),
    ("wrong password or no key found", Reason::WrongPassword),
    ("x509: ", Reason::TlsUntrusted),
    ("tls: failed to verify certificate", Reason::TlsUntrusted),
    ("tls: first record does not look like a TLS handshake", Reason::TlsUntrusted),
    ("tls: bad certificate", Reason::TlsUntrusted),
    ("tls: unsupported certificate", Reason::TlsUntrusted),
    ("tls: revoked certificate", Reason::TlsUntrusted),
    ("tls: expired certificate", Reason::TlsUntrusted),
    ("tls: unknown certificate", Reason::TlsUntrusted),
    ("tls: certificate required", Reason::TlsUntrusted),
    ("tls: handshake failure", Reason::TlsUntrusted),
    ("tls: protocol version not supported", Reason::TlsUntrusted),
    ("tls: server selected unsupported protocol version", Reason::TlsUntrusted),
    ("tls: insufficient security level", Reason::TlsUntrusted),
    ("tls: unrecognized name", Reason::TlsUntrusted),
    // Any other passes, for example an internal error of the server.
    ("tls: ", Reason::ConnectionRefused),
    ("http: server gave HTTP response to HTTPS client", Reason::TlsUntrusted),
    ("no such host", Reason::HostNotFound),
    ("server misbehaving", Reason::HostNotFound),
    ("WORM protected", Reason::ObjectLocked),
    ("object lock", Reason::ObjectLocked),
    ("specified bucket does not exist", Reason::BucketMissing),
    ("Access Key Id you provided does not exist", Reason::AccessDenied),
    ("request signature we calculated does not match", Reason::AccessDenied),
    ("Access Denied", Reason::AccessDenied),
    ("AccessDenied", Reason::AccessDenied),
    ("the server's time is too large", Reason::ClockSkew),
    ("reduce your request rate", Reason::Throttled),
    ("SlowDown", Reason::Throttled),
    ("minimum free drive threshold", Reason::QuotaExceeded),
    ("QuotaExceeded", Reason::QuotaExceeded),
    ("quota exceeded", Reason::QuotaExceeded),
    ("connection refused", Reason::ConnectionRefused),
    ("connection reset", Reason::ConnectionRefused),
    ("i/o timeout", Reason::ConnectionRefused),
    ("no route to host", Reason::ConnectionRefused),
    ("network is unreachable", Reason::ConnectionRefused),
    ("ciphertext verification failed", Reason::RepositoryDamaged),
    ("invalid data returned", Reason::RepositoryDamaged),
    ("not found in repository", Reason::RepositoryDamaged),
    ("hash mismatch", Reason::RepositoryDamaged),
    ("does not match id", Reason::RepositoryDamaged),
    ("signal interrupt received", Reason::Killed),
    ("signal terminated received", Reason::Killed),
];

fn by_words(text: &str) -> Option<Reason> {
    MEANINGS.iter().find(|(words, _)| text.contains(words)).map(|(_, reason)| *reason)
}

/// Why restic tries in vain, if a line of its says so. It tries everything but a refused key for a quarter of an hour,
/// while etcd's stream and the lock wait.
pub(crate) fn in_vain(line: &str) -> Option<Reason> {
    let is_in_vain = |reason: &Reason| {
        matches!(
            reason,
            Reason::QuotaExceeded
                | Reason::ObjectLocked
                | Reason::AccessDenied
                | Reason::BucketMissing
                | Reason::ClockSkew
                | Reason::TlsUntrusted
                | Reason::NoSpace
        )
    };
    line.contains("returned error, retrying").then(|| by_words(line)).flatten().filter(is_in_vain)
}

#[derive(Deserialize)]
struct Line {
    message_type: String,
    message: Option<String>,
    error: Option<LineError>,
    item: Option<String>,
}

#[derive(Deserialize)]
struct LineError {
    message: String,
}

/// The last things that restic said, as one text for people.
pub(crate) fn said(last_words: &str) -> String {
    let mut messages: Vec<_> = last_words.lines().map(message).collect();
    // Whoever follows its advice to unlock removes the locks of backups that run: see `locks`.
    messages.retain(|text| !text.is_empty() && !text.contains("`unlock` command"));
    if messages.is_empty() {
        return "it said nothing".to_owned();
    }
    // restic says some things both as they happen and at the end.
    messages.dedup();
    messages.split_off(messages.len().saturating_sub(MOST_MESSAGES)).join("; ")
}

fn message(line: &str) -> String {
    let line = line.trim();
    let Ok(parsed) = serde_json::from_str::<Line>(line) else { return line.to_owned() };
    let text = match parsed {
        Line { message_type, .. } if message_type == "status" || message_type == "summary" => String::new(),
        Line { message: Some(message), .. } => message,
        Line { error: Some(error), item: Some(item), .. } if !item.is_empty() => {
            format!("{item}: {}", error.message)
        }
        Line { error: Some(error), .. } => error.message,
        Line { .. } => String::new(),
    };
    text.trim().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::full(
        "Save(<data/0a1b2c3d4e>) returned error, retrying after 716.07ms: client.PutObject: No space left on device.",
        Some(Reason::QuotaExceeded)
    )]
    #[case::passes(
        "Save(<data/0a1b2c3d4e>) returned error, retrying after 552.33ms: connection reset by peer",
        None
    )]
    #[case::no_retry("Fatal: unable to save snapshot: client.PutObject: No space left on device.", None)]
    fn what_no_retry_heals_is_known(#[case] line: &str, #[case] expected: Option<Reason>) {
        assert_eq!(in_vain(line), expected);
    }

    #[rstest]
    #[case::no_repository(10, "", Reason::RepositoryGone)]
    #[case::locked(11, "", Reason::RepositoryLocked)]
    #[case::wrong_password(
        12,
        r#"{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}"#,
        Reason::WrongPassword
    )]
    #[case::stream_failed(130, concat!(
        "subprocess sh: oops\n",
        r#"{"message_type":"error","error":{"message":"failed to save /data/etcd-snapshot.db: Fatal: command failed: exit status 3"},"during":"archival","item":"/data/etcd-snapshot.db"}"#, "\n",
        r#"{"message_type":"error","error":{"message":"no result"},"during":"archival","item":""}"#, "\n",
        r#"{"message_type":"exit_error","code":130,"message":"Fatal: unable to save snapshot: context canceled"}"#,
    ), Reason::SnapshotTruncated)]
    #[case::stream_program_is_missing(1, r#"{"message_type":"exit_error","code":1,"message":"failed to start command: fork/exec /nonexistent: no such file or directory"}"#, Reason::ImageBroken)]
    #[case::one_path_is_missing(3, concat!(
        "nonexist does not exist, skipping\n",
        r#"{"message_type":"exit_error","code":3,"message":"Warning: at least one source file could not be read"}"#,
    ), Reason::HostPathMissing)]
    #[case::all_paths_are_missing(1, r#"{"message_type":"exit_error","code":1,"message":"Fatal: all source directories/files do not exist"}"#, Reason::HostPathMissing)]
    #[case::no_bucket_until_stopped(130, concat!(
        "Stat(<config/>) returned error, retrying after 36.926619583s: Stat: The specified bucket does not exist.\n",
        "signal terminated received, cleaning up \n",
        r#"{"message_type":"exit_error","code":130,"message":"Fatal: unable to open config file: context canceled\ns3:http://127.0.0.1:17070/bucket/pre"}"#,
    ), Reason::BucketMissing)]
    #[case::wrong_key(1, r#"{"message_type":"exit_error","code":1,"message":"Fatal: Fatal: create repository at s3:http://127.0.0.1:17070/bucket/pre failed: client.BucketExists: The request signature we calculated does not match the signature you provided. Check your key and signing method."}"#, Reason::AccessDenied)]
    #[case::unknown_key(
        130,
        "Stat(<config/>) returned error, retrying after 9.77s: Stat: The AWS Access Key Id you provided does not exist in our records.\nsignal terminated received, cleaning up",
        Reason::AccessDenied
    )]
    #[case::server_is_down(1, r#"{"message_type":"exit_error","code":1,"message":"Fatal: Fatal: create repository at s3:http://127.0.0.1:1/bucket/pre failed: client.BucketExists: Get \"http://127.0.0.1:1/bucket/?location=\": dial tcp 127.0.0.1:1: connect: connection refused"}"#, Reason::ConnectionRefused)]
    #[case::host_is_unknown(1, r#"{"message_type":"exit_error","code":1,"message":"Fatal: Fatal: create repository at s3:http://no-such-host.invalid/bucket/pre failed: client.BucketExists: Get \"http://no-such-host.invalid/bucket/?location=\": dial tcp: lookup no-such-host.invalid on 10.255.255.53:53: no such host"}"#, Reason::HostNotFound)]
    #[case::no_tls(1, r#"{"message_type":"exit_error","code":1,"message":"Fatal: Fatal: create repository at s3:https://127.0.0.1:17070/bucket/pre failed: client.BucketExists: Get \"https://127.0.0.1:17070/bucket/?location=\": http: server gave HTTP response to HTTPS client"}"#, Reason::TlsUntrusted)]
    #[case::damaged_config(1, r#"{"message_type":"exit_error","code":1,"message":"Fatal: config or key 458b374d0f9994bb9864e4d0b419286ff3ed4a14c6f91cbdab810c591716ec57 is damaged: ciphertext verification failed"}"#, Reason::RepositoryDamaged)]
    #[case::made_by_another(1, r#"{"message_type":"exit_error","code":1,"message":"Fatal: Fatal: create key in repository at s3:http://127.0.0.1:17070/bucket/pre failed: repository master key and config already initialized"}"#, Reason::RepositoryLocked)]
    #[case::made_half_by_another(1, r#"{"message_type":"exit_error","code":1,"message":"Fatal: Fatal: create key in repository at s3:http://127.0.0.1:17099/bucket/pre failed: repository already contains keys"}"#, Reason::RepositoryLocked)]
    #[case::used_by_another(1, r#"{"message_type":"exit_error","code":1,"message":"Fatal: Fatal: create key in repository at s3:http://127.0.0.1:17099/bucket/pre failed: repository already contains snapshots"}"#, Reason::RepositoryLocked)]
    #[case::server_refuses_our_authority(
        1,
        "Fatal: Get \"https://s3/bucket/\": remote error: tls: bad certificate",
        Reason::TlsUntrusted
    )]
    #[case::server_has_a_trouble_of_its_own(
        1,
        "Fatal: Get \"https://s3/bucket/\": remote error: tls: internal error",
        Reason::ConnectionRefused
    )]
    #[case::interrupted(130, "signal interrupt received, cleaning up \n", Reason::Killed)]
    #[case::silent(1, "", Reason::Unavailable)]
    fn an_exit_code_becomes(#[case] code: i32, #[case] last_words: &str, #[case] expected: Reason) {
        assert_eq!(reason(Exit::Code(code), last_words), expected);
    }

    #[test]
    fn a_kill_by_the_kernel_is_want_of_memory() {
        assert_eq!(reason(Exit::Signal(9), ""), Reason::OutOfMemory);
    }

    #[test]
    fn people_are_told_the_end_without_the_json() {
        let last_words = concat!(
            "nonexist does not exist, skipping\n",
            r#"{"message_type":"summary","files_new":1}"#,
            "\n",
            r#"{"message_type":"error","error":{"message":"open: permission denied"},"during":"archival","item":"/data/x"}"#,
            "\n",
            r#"{"message_type":"exit_error","code":3,"message":"Warning: at least one source file could not be read"}"#,
        );
        let expected = "nonexist does not exist, skipping; /data/x: open: permission denied; \
                        Warning: at least one source file could not be read";
        assert_eq!(said(last_words), expected);
        let dangerous =
            "repository is already locked by PID 1\nthe `unlock` command can be used to remove stale locks";
        assert_eq!(said(dangerous), "repository is already locked by PID 1");
        assert_eq!(said("\n"), "it said nothing");
    }
}
