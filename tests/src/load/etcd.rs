//! The calls of etcd's key-value service that are needed, written by hand so that no `protoc` is.
use anyhow::{Context, Result};
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

/// Longest value that is read back, bytes: more than etcd's own limit of a request.
const MOST: usize = 8 << 20;

/// A connection to one etcd.
#[derive(Clone)]
pub struct Etcd {
    calls: Grpc<Channel>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CompactionRequest {
    #[prost(int64, tag = "1")]
    revision: i64,
    #[prost(bool, tag = "2")]
    physical: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CompactionResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct AlarmRequest {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(uint64, tag = "2")]
    member: u64,
    #[prost(int32, tag = "3")]
    alarm: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AlarmResponse {}

/// Raises an alarm.
const ACTIVATE: i32 = 1;
/// The alarm of a member whose data is not that of the others.
const CORRUPT: i32 = 2;

impl Etcd {
    /// Speaks over a connection to one member.
    pub fn new(channel: Channel) -> Self {
        Self { calls: Grpc::new(channel).max_decoding_message_size(MOST) }
    }

    /// Stores a value.
    pub async fn put(&mut self, key: &str, value: Vec<u8>) -> Result<()> {
        let _stored: PutResponse = self.ask("Put", PutRequest { key: key.into(), value }).await?;
        Ok(())
    }

    /// Stores all of them, or none: at most 128, and 1.5 MiB together.
    pub async fn put_all(&mut self, entries: Vec<(String, Vec<u8>)>) -> Result<()> {
        let put = |(key, value): (String, Vec<u8>)| RequestOp {
            put: Some(PutRequest { key: key.into_bytes(), value }),
        };
        let request = TxnRequest { success: entries.into_iter().map(put).collect() };
        let _stored: TxnResponse = self.ask("Txn", request).await?;
        Ok(())
    }

    /// The value of a key.
    pub async fn get(&mut self, key: &str) -> Result<Vec<u8>> {
        let entry = self.range(key).await?.entries.into_iter().next();
        Ok(entry.with_context(|| format!("etcd has no key {key:?}"))?.value)
    }

    /// Forgets what was overwritten up to now, and waits until its pages are free.
    pub async fn compact(&mut self) -> Result<()> {
        let header = self.range("nothing").await?.header.context("an answer without a header")?;
        let request = CompactionRequest { revision: header.revision, physical: true };
        let _compacted: CompactionResponse = self.ask("Compact", request).await?;
        Ok(())
    }

    /// Raises the alarm that no member's data can be trusted, as etcd's own check does that cannot tell which it is.
    pub async fn raise_corrupt_alarm(&mut self) -> Result<()> {
        let request = AlarmRequest { action: ACTIVATE, member: 0, alarm: CORRUPT };
        let _raised: AlarmResponse = self.ask_of("Maintenance", "Alarm", request).await?;
        Ok(())
    }

    async fn range(&mut self, key: &str) -> Result<RangeResponse> {
        self.ask("Range", RangeRequest { key: key.into() }).await
    }

    async fn ask<Question, Answer>(&mut self, call: &str, question: Question) -> Result<Answer>
    where
        Question: prost::Message + Default + 'static,
        Answer: prost::Message + Default + 'static,
    {
        self.ask_of("KV", call, question).await
    }

    async fn ask_of<Question, Answer>(
        &mut self,
        service: &str,
        call: &str,
        question: Question,
    ) -> Result<Answer>
    where
        Question: prost::Message + Default + 'static,
        Answer: prost::Message + Default + 'static,
    {
        self.calls.ready().await.context("etcd is not ready")?;
        let path = PathAndQuery::try_from(format!("/etcdserverpb.{service}/{call}")).context("no path")?;
        let answer = self.calls.unary(Request::new(question), path, ProstCodec::default()).await;
        Ok(answer.with_context(|| format!("{call} failed"))?.into_inner())
    }
}
