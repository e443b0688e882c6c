//! The calls.
use std::{collections::BTreeSet, fmt, time::Duration};

use bytes::Bytes;
use model::{Secret, lineage::Position};
use tokio::time::timeout;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

use crate::{Error, Member, message};

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// Longest wait for the next piece of a snapshot; a member under load still sends something.
const NEXT_CHUNK: Duration = Duration::from_mins(1);
/// etcd drops clients that ask whether it lives more often than every 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// What a member may send of a snapshot before it is taken, bytes. With HTTP's own 64 KiB a member waits and is woken
/// for every other message, which costs both sides more than the data; with much more it would never rest while its
/// reader does.
const WINDOW: u32 = 512 << 10;
/// Longest version that is believed, characters; `3.6.16` is one.
const LONGEST_VERSION: usize = 64;

/// What a client authenticates itself with, as PEM.
#[derive(Clone)]
pub struct Credentials {
    /// `ca.crt`: the authorities that signed the server's certificate.
    pub authority: String,
    /// `client.crt`.
    pub certificate: String,
    /// `client.key`.
    pub key: Secret,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials(…)")
    }
}

/// A connection to one member.
///
/// # Guarantees
///
/// Every call ends: with an answer, an error, or `Silent` after its deadline.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    calls: Grpc<Channel>,
}

/// Hash of all keys and values up to a revision, comparable between members
/// that compacted at the same revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// The hash.
    pub hash: u32,
    /// What is older than this is not part of it.
    pub compact_revision: i64,
}

/// The stream of one snapshot.
#[derive(Debug)]
pub struct Snapshot {
    endpoint: String,
    chunks: Streaming<message::SnapshotResponse>,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its bytes.
    pub bytes: Bytes,
    /// Bytes of the database that are still to come. The SHA-256 that follows
    /// them is not counted.
    pub remaining: u64,
}

impl Client {
    /// Connects to one member.
    ///
    /// An `http` endpoint is spoken to without TLS; an `https` one always with
    /// the credentials' authority, never with the system's.
    pub async fn connect(endpoint: &str, credentials: Option<&Credentials>) -> Result<Self, Error> {
        let connecting = configured(endpoint, credentials)?;
        let channel = within(endpoint, "a connection", CONNECT, connecting.connect())
            .await?
            .map_err(|source| Error::Connect { endpoint: endpoint.to_owned(), source: Box::new(source) })?;
        Ok(Self { endpoint: endpoint.to_owned(), calls: Grpc::new(channel) })
    }

    /// Asks the member what it is. It answers without a quorum too.
    pub async fn status(&mut self) -> Result<Member, Error> {
        let answer: message::StatusResponse =
            self.ask("Maintenance/Status", message::StatusRequest {}).await?;
        let header = answer.header.ok_or_else(|| Error::Call {
            endpoint: self.endpoint.clone(),
            call: "Maintenance/Status",
            source: Status::unimplemented("the answer has no header, which etcd always sends").into(),
        })?;
        Ok(Member {
            version: bounded(&answer.version),
            id: header.member_id,
            leader: (answer.leader != 0).then_some(answer.leader),
            is_learner: answer.is_learner,
            corrupt: answer.errors.iter().filter_map(|text| corrupt_member(text)).collect(),
            position: Position {
                cluster_id: format!("{:x}", header.cluster_id),
                revision: header.revision,
                raft_index: answer.raft_index,
                raft_term: answer.raft_term,
            },
            db_size: answer.db_size.unsigned_abs(),
        })
    }

    /// Asks for the members that etcd found to be corrupt; 0 means that it cannot tell which.
    ///
    /// Needs a quorum, unlike [`Client::status`].
    pub async fn corrupt_members(&mut self) -> Result<BTreeSet<u64>, Error> {
        let answer: message::AlarmResponse = self.ask("Maintenance/Alarm", message::AlarmRequest {}).await?;
        let corrupt = answer.alarms.iter().filter(|alarm| alarm.alarm() == message::AlarmType::Corrupt);
        Ok(corrupt.map(|alarm| alarm.member_id).collect())
    }

    /// Asks for the hash of everything up to `revision`.
    pub async fn hash(&mut self, revision: i64) -> Result<Hash, Error> {
        let answer: message::HashKvResponse =
            self.ask("Maintenance/HashKV", message::HashKvRequest { revision }).await?;
        Ok(Hash { hash: answer.hash, compact_revision: answer.compact_revision })
    }

    /// Reads the value of one key, if there is one. The member answers without a quorum too.
    pub async fn get(&mut self, key: String) -> Result<Option<Bytes>, Error> {
        let question = message::RangeRequest { key: key.into(), serializable: true };
        let answer: message::RangeResponse = self.ask("KV/Range", question).await?;
        Ok(answer.pairs.into_iter().next().map(|pair| pair.value))
    }

    /// Begins the stream of a snapshot.
    pub async fn snapshot(mut self) -> Result<Snapshot, Error> {
        let call = "Maintenance/Snapshot";
        let asking = async {
            ready(&mut self.calls).await?;
            let codec = ProstCodec::default();
            self.calls.server_streaming(Request::new(message::SnapshotRequest {}), path(call), codec).await
        };
        let answer = within(&self.endpoint, call, ANSWER, asking).await?;
        let chunks = answer.map_err(|status| failed(&self.endpoint, call, status))?.into_inner();
        Ok(Snapshot { endpoint: self.endpoint, chunks })
    }

    async fn ask<Question, Answer>(&mut self, call: &'static str, question: Question) -> Result<Answer, Error>
    where
        Question: prost::Message + 'static,
        Answer: prost::Message + Default + 'static,
    {
        let asking = async {
            ready(&mut self.calls).await?;
            self.calls.unary(Request::new(question), path(call), ProstCodec::default()).await
        };
        let answer = within(&self.endpoint, call, ANSWER, asking).await?;
        answer.map(tonic::Response::into_inner).map_err(|status| failed(&self.endpoint, call, status))
    }
}

impl Snapshot {
    /// The next piece; none after the last.
    ///
    /// The end of the stream alone does not say that the snapshot is whole: a
    /// proxy that gives up may end it just as properly.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let call = "Maintenance/Snapshot";
        let message = within(&self.endpoint, call, NEXT_CHUNK, self.chunks.message()).await?;
        let message = message.map_err(|status| failed(&self.endpoint, call, status))?;
        Ok(message.map(|message| Chunk { bytes: message.blob, remaining: message.remaining_bytes }))
    }
}

fn configured(endpoint: &str, credentials: Option<&Credentials>) -> Result<Endpoint, Error> {
    let malformed = || Error::Endpoint { endpoint: endpoint.to_owned() };
    // tonic would also connect to a socket of the node.
    if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        return Err(malformed());
    }
    let connecting = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| malformed())?;
    let connecting = connecting
        .connect_timeout(CONNECT)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    if endpoint.starts_with("http://") {
        return Ok(connecting);
    }
    let credentials = credentials.ok_or_else(|| Error::NoCredentials { endpoint: endpoint.to_owned() })?;
    connecting.tls_config(tls(credentials)).map_err(|source| Error::Credentials { source: Box::new(source) })
}

fn tls(credentials: &Credentials) -> ClientTlsConfig {
    let Credentials { authority, certificate, key } = credentials;
    ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .identity(Identity::from_pem(certificate, key.expose()))
}

fn path(call: &'static str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/etcdserverpb.{call}"))
        .expect("calls are written in this file and are paths")
}

async fn ready(calls: &mut Grpc<Channel>) -> Result<(), Status> {
    calls.ready().await.map_err(|error| Status::from_error(Box::new(error)))
}

async fn within<Answer>(
    endpoint: &str,
    call: &'static str,
    longest: Duration,
    asking: impl Future<Output = Answer>,
) -> Result<Answer, Error> {
    timeout(longest, asking).await.map_err(|_elapsed| Error::Silent {
        endpoint: endpoint.to_owned(),
        call,
        seconds: longest.as_secs(),
    })
}

fn failed(endpoint: &str, call: &'static str, status: Status) -> Error {
    Error::Call { endpoint: endpoint.to_owned(), call, source: status.into() }
}

/// A version as far as it can be one: results carry it, and they have a largest size.
fn bounded(version: &str) -> String {
    version.chars().filter(char::is_ascii_graphic).take(LONGEST_VERSION).collect()
}

/// Reads an alarm out of the text of a status: `memberID:1234 alarm:CORRUPT`.
fn corrupt_member(text: &str) -> Option<u64> {
    text.contains("alarm:CORRUPT").then(|| {
        let id = text.split_whitespace().find_map(|word| word.strip_prefix("memberID:"));
        id.and_then(|id| id.parse().ok()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use model::Reason;
    use rstest::rstest;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[rstest]
    #[case::named("memberID:10501334649042878790 alarm:CORRUPT ", Some(10_501_334_649_042_878_790))]
    #[case::nobody_named("alarm:CORRUPT", Some(0))]
    #[case::full("memberID:1 alarm:NOSPACE", None)]
    #[case::no_leader("etcdserver: no leader", None)]
    fn alarm_is_read(#[case] text: &str, #[case] member: Option<u64>) {
        assert_eq!(corrupt_member(text), member);
    }

    #[rstest]
    #[case::of_etcd("3.6.16".to_owned(), "3.6.16".to_owned())]
    #[case::of_a_fork("3.5.0-rc.1+k3s1".to_owned(), "3.5.0-rc.1+k3s1".to_owned())]
    #[case::endless("3".repeat(10_000), "3".repeat(64))]
    #[case::no_text("\u{1}\n".repeat(10_000), String::new())]
    fn a_version_is_read(#[case] said: String, #[case] expected: String) {
        assert_eq!(bounded(&said), expected);
    }

    fn nonsense() -> Credentials {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        Credentials { authority: pem.clone(), certificate: pem, key: Secret::new("no key".to_owned()) }
    }

    #[rstest]
    #[case::no_scheme("127.0.0.1:2379", None, Reason::InvalidSpec)]
    #[case::other_scheme("unix:///run/etcd", None, Reason::InvalidSpec)]
    #[case::no_credentials("https://127.0.0.1:2379", None, Reason::SecretMissing)]
    #[case::no_certificates("https://127.0.0.1:2379", Some(nonsense()), Reason::EtcdCertificateInvalid)]
    #[case::nobody_listens("http://127.0.0.1:9", None, Reason::EtcdUnreachable)]
    #[tokio::test]
    async fn connecting_fails(
        #[case] endpoint: &str,
        #[case] credentials: Option<Credentials>,
        #[case] reason: Reason,
    ) {
        let error = Client::connect(endpoint, credentials.as_ref()).await.expect_err("no etcd there");
        assert_eq!(error.reason(), reason, "{error:?}");
    }

    #[tokio::test]
    async fn why_no_connection_came_about_is_told_once() {
        let error = Client::connect("http://127.0.0.1:9", None).await.expect_err("nobody listens");
        let message = "failed to connect to etcd at \"http://127.0.0.1:9\": transport error: \
                       tcp connect error: Connection refused (os error 111)";
        assert_eq!(error.failure().message, message);
    }

    #[tokio::test]
    async fn a_web_server_is_not_etcd() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
                // A connection that is closed with unread data is reset, and its answer lost.
                while connection.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            }
        });
        let asked = async { Client::connect(&endpoint, None).await?.status().await };
        let error = asked.await.expect_err("no etcd there");
        assert_eq!(error.reason(), Reason::NotEtcd, "{}", model::chain(&error));
    }
}
