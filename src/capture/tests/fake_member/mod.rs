//! An etcd member that lies: it answers a status, and sends a snapshot that is
//! not what it should be.
use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, task};

use tokio::net::TcpListener;
use tokio_stream::{Stream, wrappers::TcpListenerStream};
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
    /// Turns one bit in the middle.
    Flips,
    /// Sends nothing at all.
    SendsNothing,
    /// Knows no snapshots, like kine.
    KnowsNoSnapshots,
}

/// Serves `snapshot`, which ends with its hash, until the listener fails.
pub async fn serve(
    listener: TcpListener,
    snapshot: Vec<u8>,
    lie: Lie,
) -> Result<(), tonic::transport::Error> {
    let member = Member { snapshot: Arc::new(snapshot), lie };
    Server::builder().add_service(member).serve_with_incoming(TcpListenerStream::new(listener)).await
}

#[derive(Clone)]
struct Member {
    snapshot: Arc<Vec<u8>>,
    lie: Lie,
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
                    let answer = service_fn(|_: Request<Nothing>| async { Ok(Response::new(status())) });
                    Grpc::new(ProstCodec::<StatusAnswer, Nothing>::default()).unary(answer, request).await
                }
                "Snapshot" => {
                    let answer = service_fn(move |_: Request<Nothing>| {
                        let pieces = member.pieces();
                        async move { pieces.map(Response::new) }
                    });
                    Grpc::new(ProstCodec::<Piece, Nothing>::default()).server_streaming(answer, request).await
                }
                _ => Status::unimplemented("this member only answers Status and Snapshot").into_http(),
            })
        })
    }
}

fn status() -> StatusAnswer {
    StatusAnswer {
        header: Some(Header { cluster_id: 0xc1, member_id: 0x8e, revision: 9 }),
        version: "3.6.16".to_owned(),
        leader: 0x8e,
        raft_index: 12,
        raft_term: 2,
    }
}

impl Member {
    fn pieces(&self) -> Result<Pieces, Status> {
        if self.lie == Lie::KnowsNoSnapshots {
            return Err(Status::unimplemented("unknown method Snapshot"));
        }
        let (database, hash) = self.snapshot.split_at(self.snapshot.len() - TRAILER);
        let half = database.len() / 2;
        let cut = |keep: usize, more: usize| pieces(&database[..keep], more);
        let mut sent = match self.lie {
            Lie::Ends | Lie::Breaks => cut(half, half),
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
