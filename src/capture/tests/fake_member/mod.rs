//! An etcd member that lies: it answers a status, may have lost its cluster, and
//! sends a snapshot that is not what it should be.
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task,
};

use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService},
    transport::Server,
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// Bytes of one message, as etcd sends them.
const CHUNK: usize = 32 * 1024;
const TRAILER: usize = 32;

/// What the member does with the snapshot that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing: all of it comes as it is.
    None,
    /// Ends properly in the middle, and says that there was more to come.
    Ends,
    /// Ends properly in the middle, and says that this was all.
    EndsAsIfWhole,
    /// Ends properly before the hash.
    EndsBeforeHash,
    /// Breaks off in the middle with an error.
    Breaks,
    /// Sends nothing more after the middle, and says nothing.
    Hangs,
    /// Turns one bit in the middle.
    Flips,
    /// Sends nothing at all.
    SendsNothing,
    /// Knows no snapshots, like kine.
    KnowsNoSnapshots,
}

/// How a member stands to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// The cluster answers through it.
    Kept,
    /// Nobody answers, but it still names the leader that it had.
    Lost,
    /// Nobody answers, and it knows no leader.
    Leaderless,
}

/// What a member is like.
#[derive(Clone)]
pub struct Member {
    snapshot: Arc<Vec<u8>>,
    lie: Lie,
    is_learner: bool,
    /// One after the other: each status is of the next, the last one stays.
    quorum: &'static [Quorum],
    statuses: Arc<AtomicUsize>,
    questions: Arc<AtomicUsize>,
}

impl Member {
    /// One of a sound cluster that tells this lie of `snapshot`, which ends with its hash.
    pub fn new(snapshot: Vec<u8>, lie: Lie) -> Self {
        let (statuses, questions) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let quorum = &[Quorum::Kept];
        Self { snapshot: Arc::new(snapshot), lie, is_learner: false, quorum, statuses, questions }
    }

    /// The same, but that its cluster stands like this at each status.
    pub fn of(self, quorum: &'static [Quorum]) -> Self {
        Self { quorum, ..self }
    }

    /// The same without a vote.
    pub fn learning(self) -> Self {
        Self { is_learner: true, ..self }
    }

    /// How often it was asked what only a quorum can answer.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }

    /// Serves until the listener fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), tonic::transport::Error> {
        Server::builder().add_service(self).serve_with_incoming(TcpListenerStream::new(listener)).await
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "1")]
    cluster_id: u64,
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusAnswer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(uint64, tag = "4")]
    leader: u64,
    #[prost(uint64, tag = "5")]
    raft_index: u64,
    #[prost(uint64, tag = "6")]
    raft_term: u64,
    #[prost(bool, tag = "10")]
    is_learner: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Piece {
    #[prost(uint64, tag = "2")]
    remaining_bytes: u64,
    #[prost(bytes = "vec", tag = "3")]
    blob: Vec<u8>,
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, Status>> + Send>>;
type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl NamedService for Member {
    const NAME: &'static str = "etcdserverpb.Maintenance";
}

impl Service<http::Request<Body>> for Member {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let member = self.clone();
        Box::pin(async move {
            let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match call.as_str() {
                "Status" => {
                    let answer = service_fn(move |_: Request<Nothing>| {
                        let status = member.status();
                        async { Ok(Response::new(status)) }
                    });
                    Grpc::new(ProstCodec::<StatusAnswer, Nothing>::default()).unary(answer, request).await
                }
                "Alarm" => {
                    let answer = service_fn(move |_: Request<Nothing>| {
                        let alarms = member.alarms();
                        async { alarms.map(Response::new) }
                    });
                    Grpc::new(ProstCodec::<Nothing, Nothing>::default()).unary(answer, request).await
                }
                "Snapshot" => {
                    let answer = service_fn(move |_: Request<Nothing>| {
                        let pieces = member.pieces();
                        async move { pieces.map(Response::new) }
                    });
                    Grpc::new(ProstCodec::<Piece, Nothing>::default()).server_streaming(answer, request).await
                }
                _ => Status::unimplemented("this member only answers Status, Alarm and Snapshot").into_http(),
            })
        })
    }
}

impl Member {
    /// How its cluster stands at the `index`th status.
    fn quorum_at(&self, index: usize) -> Quorum {
        self.quorum[index.min(self.quorum.len() - 1)]
    }

    fn status(&self) -> StatusAnswer {
        let now = self.quorum_at(self.statuses.fetch_add(1, Ordering::Relaxed));
        StatusAnswer {
            header: Some(Header { cluster_id: 0xc1, member_id: 0x8e, revision: 9 }),
            version: "3.6.16".to_owned(),
            leader: if now == Quorum::Leaderless { 0 } else { 0x8e },
            raft_index: 12,
            raft_term: 2,
            is_learner: self.is_learner,
        }
    }

    /// None is raised, if anybody answers.
    fn alarms(&self) -> Result<Nothing, Status> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        match self.quorum_at(self.statuses.load(Ordering::Relaxed) - 1) {
            Quorum::Kept => Ok(Nothing {}),
            Quorum::Lost | Quorum::Leaderless => Err(Status::unavailable("etcdserver: no leader")),
        }
    }

    fn pieces(&self) -> Result<Pieces, Status> {
        if self.lie == Lie::KnowsNoSnapshots {
            return Err(Status::unimplemented("unknown method Snapshot"));
        }
        let (database, hash) = self.snapshot.split_at(self.snapshot.len() - TRAILER);
        let half = database.len() / 2;
        let cut = |keep: usize, more: usize| pieces(&database[..keep], more);
        let mut sent = match self.lie {
            Lie::Ends | Lie::Breaks | Lie::Hangs => cut(half, half),
            Lie::EndsAsIfWhole => cut(half, 0),
            Lie::SendsNothing => Vec::new(),
            _ => cut(database.len(), 0),
        };
        match self.lie {
            Lie::Flips => sent[0].blob[100] ^= 1,
            Lie::None | Lie::KnowsNoSnapshots => {}
            Lie::Breaks => {
                let breaking = std::iter::once(Err(Status::unavailable("etcdserver: server stopped")));
                let sent: Vec<_> = sent.into_iter().map(Ok).chain(breaking).collect();
                return Ok(Box::pin(tokio_stream::iter(sent)));
            }
            Lie::Hangs => {
                let sent = tokio_stream::iter(sent.into_iter().map(Ok));
                return Ok(Box::pin(sent.chain(tokio_stream::pending())));
            }
            Lie::Ends | Lie::EndsAsIfWhole | Lie::EndsBeforeHash | Lie::SendsNothing => {
                return Ok(Box::pin(tokio_stream::iter(sent.into_iter().map(Ok))));
            }
        }
        sent.push(Piece { remaining_bytes: 0, blob: hash.to_vec() });
        Ok(Box::pin(tokio_stream::iter(sent.into_iter().map(Ok))))
    }
}

/// The bytes in messages that say how many come after them, `more` beyond the last.
fn pieces(bytes: &[u8], more: usize) -> Vec<Piece> {
    let mut remaining = bytes.len() + more;
    let piece = |blob: &[u8]| {
        remaining -= blob.len();
        Piece { remaining_bytes: remaining as u64, blob: blob.to_vec() }
    };
    bytes.chunks(CHUNK).map(piece).collect()
}
