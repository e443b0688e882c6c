//! A relay between the agent and the real etcd that damages the snapshot's stream.
//!
//! ```text
//! agent ──gRPC──▶ EtcdRelay ──gRPC, mutual TLS──▶ etcd
//!            every answer unchanged, but Maintenance/Snapshot
//! ```
//!
//! The product has no switch for a damaged stream, so the damage happens where it
//! does in life: on the way.
use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{Router, extract::State, response::Response};
use bytes::{Buf, BufMut, Bytes};
use futures::StreamExt;
use http::uri::PathAndQuery;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use crate::Cluster;

/// Method whose answers are damaged.
const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";

/// What happens to the snapshot's stream.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// It ends, without an error, after so many messages.
    EndsAfter(usize),
    /// The byte in the middle of the message of this number is another one.
    FlippedByteIn(usize),
    /// It is whole, but the one of when the relay was started.
    Stale,
}

/// A running relay; it stops when it is dropped.
pub struct EtcdRelay {
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Relay {
    etcd: Channel,
    damage: Damage,
    /// The messages of a snapshot, where an old one is sent.
    old: Arc<Vec<Bytes>>,
}

impl EtcdRelay {
    /// Starts a relay to the cluster's etcd on this machine's address, which pods reach.
    pub async fn start(cluster: &Cluster, damage: Damage) -> Result<Self> {
        let etcd = cluster.etcd(&cluster.etcd_endpoint).await?;
        let old = if matches!(damage, Damage::Stale) { snapshot_of(&etcd).await? } else { Vec::new() };
        let relay = Relay { etcd, damage, old: old.into() };
        let listener =
            TcpListener::bind((cluster.machine_ip.as_str(), 0)).await.context("failed to listen")?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(answer).with_state(relay);
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("serving never ends") });
        Ok(Self { address, server })
    }

    /// The URL for `spec.etcdEndpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The messages of a snapshot as it is now.
async fn snapshot_of(etcd: &Channel) -> Result<Vec<Bytes>> {
    let mut client = tonic::client::Grpc::new(etcd.clone());
    client.ready().await?;
    let nothing = Request::new(Bytes::new());
    let answer = client.server_streaming(nothing, PathAndQuery::from_static(SNAPSHOT), Raw).await?;
    let messages: Vec<Result<Bytes, Status>> = answer.into_inner().collect().await;
    messages.into_iter().collect::<Result<_, _>>().context("etcd sent no whole snapshot")
}

impl Drop for EtcdRelay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(relay): State<Relay>, request: axum::extract::Request) -> Response {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let service = Method { relay, path };
    tonic::server::Grpc::new(Raw).streaming(service, request).await.map(axum::body::Body::new)
}

/// One method of etcd's API, forwarded message by message without a look inside.
struct Method {
    relay: Relay,
    path: PathAndQuery,
}

impl tonic::server::StreamingService<Bytes> for Method {
    type Response = Bytes;
    type ResponseStream = futures::stream::BoxStream<'static, Result<Bytes, Status>>;
    type Future = futures::future::BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let Relay { etcd, damage, old } = self.relay.clone();
        let path = self.path.clone();
        Box::pin(async move {
            let mut client = tonic::client::Grpc::new(etcd);
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let messages = request.into_inner().filter_map(async |message| message.ok());
            let is_snapshot = path == SNAPSHOT;
            let answer = client.streaming(Request::new(messages), path, Raw).await?;
            Ok(answer.map(
                |stream: Streaming<Bytes>| {
                    if is_snapshot { damaged(stream, damage, &old) } else { stream.boxed() }
                },
            ))
        })
    }
}

fn damaged(
    stream: Streaming<Bytes>,
    damage: Damage,
    old: &[Bytes],
) -> futures::stream::BoxStream<'static, Result<Bytes, Status>> {
    match damage {
        Damage::EndsAfter(count) => stream.take(count).boxed(),
        Damage::Stale => futures::stream::iter(old.to_vec()).map(Ok).boxed(),
        Damage::FlippedByteIn(number) => stream
            .enumerate()
            .map(
                move |(index, message)| {
                    if index == number { message.map(|message| flipped(&message)) } else { message }
                },
            )
            .boxed(),
    }
}

fn flipped(message: &Bytes) -> Bytes {
    let mut bytes = message.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x01;
    bytes.into()
}

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
