//! Whoever asks: connections that are kept, each with one question at a time, over TLS and HTTP/1.1.
//!
//! It takes its processor time from those who answer, so it does little: a request is written as it is, and an answer
//! is compared with the first one, which was read. What is offered is what an API server's TLS chooses first.
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName},
    version::TLS13,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout_at,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::review::{Review, UID};

/// Name of who answers.
pub const NAME: &str = "localhost";
/// How long is waited for what must come at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// What ends an answer that comes in pieces.
const LAST_PIECE: &[u8] = b"\r\n0\r\n\r\n";
/// Between the head of an answer and its body.
const GAP: &[u8] = b"\r\n\r\n";

/// What counts.
#[derive(Clone, Copy)]
pub struct Span {
    /// From then on.
    pub begin: Instant,
    /// Until then.
    pub end: Instant,
}

/// Asks one process the same question again and again.
pub struct Asker {
    address: SocketAddr,
    connector: TlsConnector,
    question: Arc<Question>,
}

struct Question {
    request: Vec<u8>,
    /// The body of each answer.
    expected: Vec<u8>,
}

/// A connection that is open.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    heard: Vec<u8>,
}

impl Asker {
    /// Asks once, and sees that the answer is what it must be.
    pub async fn new(
        address: SocketAddr,
        authority: &CertificateDer<'static>,
        review: &Review,
    ) -> Result<Self> {
        let connector = connector(authority)?;
        let request = request(review);
        let mut connection = Connection::open(address, &connector).await?;
        let answered = tokio::time::timeout(PATIENCE, connection.ask(&request)).await;
        let body = answered.context("no answer came")??.to_vec();
        check(&body)?;
        let question = Arc::new(Question { request, expected: body });
        Ok(Self { address, connector, question })
    }

    /// Opens so many connections.
    pub async fn connected(&self, count: usize) -> Result<Vec<Connection>> {
        let opening = (0..count).map(|_| Connection::open(self.address, &self.connector));
        try_join_all(opening).await.with_context(|| format!("failed to open {count} connections"))
    }

    /// Asks on all of them until the end; returns how long each answer took that was asked for in that time,
    /// milliseconds.
    pub async fn ask(&self, connections: Vec<Connection>, span: Span) -> Result<Vec<f64>> {
        let mut asking = JoinSet::new();
        for connection in connections {
            asking.spawn(connection.keep_asking(self.question.clone(), span));
        }
        let all = async {
            let mut took = Vec::new();
            while let Some(one) = asking.join_next().await {
                took.extend(one??);
            }
            anyhow::Ok(took)
        };
        timeout_at((span.end + PATIENCE).into(), all).await.context("an answer did not come")?
    }
}

fn connector(authority: &CertificateDer<'static>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).context("no certificate")?;
    // Else each side would choose another cipher.
    let cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let provider = CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13]);
    let config = builder.context("failed to set up TLS")?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn request(Review { path, body }: &Review) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

impl Connection {
    async fn open(address: SocketAddr, connector: &TlsConnector) -> Result<Self> {
        let opening = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            connector.connect(ServerName::try_from(NAME)?, stream).await.context("the handshake failed")
        };
        let stream = tokio::time::timeout(PATIENCE, opening).await.context("nobody answers")??;
        Ok(Self { stream, heard: Vec::with_capacity(8 << 10) })
    }

    async fn keep_asking(mut self, question: Arc<Question>, Span { begin, end }: Span) -> Result<Vec<f64>> {
        let mut took = Vec::new();
        loop {
            let asked = Instant::now();
            if asked >= end {
                return Ok(took);
            }
            let body = self.ask(&question.request).await?;
            let is_expected = body == question.expected;
            ensure!(is_expected, "answered {:?}", String::from_utf8_lossy(body));
            if asked >= begin {
                took.push(asked.elapsed().as_secs_f64() * 1e3);
            }
        }
    }

    /// The body of the answer, as it came.
    async fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request).await.context("failed to ask")?;
        self.stream.flush().await.context("failed to ask")?;
        self.heard.clear();
        let begin = loop {
            let heard = self.stream.read_buf(&mut self.heard).await.context("failed to hear")?;
            ensure!(heard > 0, "the connection was closed");
            if let Some(begin) = begin_of_body(&self.heard)? {
                break begin;
            }
        };
        Ok(&self.heard[begin..])
    }
}

/// Where the body of an answer begins, once all of it is there: as long as its head says, or in pieces to the last.
fn begin_of_body(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(GAP.len()).position(|bytes| bytes == GAP) else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).context("a head that is no text")?;
    let (status, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    ensure!(status.starts_with("HTTP/1.1 200 "), "answered {status:?}");
    let begin = end + GAP.len();
    let is_whole = match length(fields)? {
        Some(length) => answer.len() >= begin + length,
        None => answer.ends_with(LAST_PIECE),
    };
    Ok(is_whole.then_some(begin))
}

fn length(fields: &str) -> Result<Option<usize>> {
    let mut fields = fields.lines().filter_map(|line| line.split_once(": "));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.map(|(_, length)| length.parse().context("a length that is no number")).transpose()
}

/// Sees that an answer allows what was asked, and says nothing of it.
fn check(body: &[u8]) -> Result<()> {
    let text = if body.ends_with(LAST_PIECE) { joined(body)? } else { body.to_vec() };
    let review: Value = serde_json::from_slice(&text).context("an answer that is no JSON")?;
    let response = &review["response"];
    let is_right = response["allowed"] == true && response["uid"] == UID && response["warnings"].is_null();
    ensure!(is_right, "answered {response}");
    Ok(())
}

/// What came in pieces, each behind its length in hexadecimal digits.
fn joined(mut pieces: &[u8]) -> Result<Vec<u8>> {
    let mut joined = Vec::new();
    loop {
        let end = pieces.windows(2).position(|bytes| bytes == b"\r\n").context("a piece without a length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&pieces[..end])?, 16)?;
        let piece = pieces.get(end + 2..end + 2 + length).context("half a piece")?;
        if piece.is_empty() {
            return Ok(joined);
        }
        joined.extend_from_slice(piece);
        match pieces.get(end + 2 + length + 2..) {
            Some(rest) => pieces = rest,
            None => bail!("no last piece"),
        }
    }
}

#[cfg(test)]
mod tests {
    use api::AllowedHostPaths;
    use controllers::certificates::{Certificates, Pair};
    use jiff::Timestamp;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;
    use webhooks::{
        Admission, Others,
        server::{Bounds, Server},
    };

    use super::{
        super::{answerer::Shown, review},
        *,
    };

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nDate: today\r\n\r\n";
    const PIECES: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn body(heard: &str) -> Option<&str> {
        begin_of_body(heard.as_bytes()).expect("an answer").map(|begin| &heard[begin..])
    }

    #[test]
    fn an_answer_is_whole_when_all_of_its_body_is_there() {
        let answer = format!("{HEAD}true");
        assert_eq!(body(&answer), Some("true"));
        for part in [&answer[..5], HEAD, &answer[..answer.len() - 1]] {
            assert_eq!(body(part), None, "{part}");
        }
        let answer = format!("{PIECES}2\r\ntr\r\n2\r\nue\r\n0\r\n\r\n");
        assert_eq!(body(&answer), Some(&answer[PIECES.len()..]));
        assert_eq!(body(&answer[..answer.len() - 5]), None);
        assert!(begin_of_body(b"HTTP/1.1 500 Internal Server Error\r\n\r\n").is_err());
    }

    #[test]
    fn pieces_make_one_body() {
        assert_eq!(joined(b"2\r\ntr\r\n2\r\nue\r\n0\r\n\r\n").expect("pieces"), b"true");
        assert!(joined(b"5\r\ntr\r\n0\r\n\r\n").is_err());
        assert!(joined(b"tr").is_err());
    }

    #[test]
    fn only_an_answer_that_allows_without_a_word_is_right() {
        let answer = |allowed: bool, more: &str| {
            check(format!(r#"{{"response":{{"uid":"{UID}","allowed":{allowed}{more}}}}}"#).as_bytes())
        };
        assert!(answer(true, "").is_ok());
        assert!(answer(false, "").is_err());
        assert!(answer(true, r#","warnings":["spec: is odd"]"#).is_err());
    }

    /// A time at which certificates of tests are valid.
    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().expect("a timestamp")
    }

    /// A server like the operator's, and where it is.
    async fn serving(shown: &Shown) -> SocketAddr {
        let certificates = Certificates::default();
        let pair = Pair::of(shown.certificate.as_bytes(), shown.key.as_bytes());
        certificates.offer(pair, now());
        let router = webhooks::router(Admission {
            namespace: "kubedr-bench".to_owned(),
            allowed_host_paths: AllowedHostPaths::default(),
            others: Others::default(),
            services: None,
            now,
            told: Arc::new(|_| {}),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Server::new(Arc::new(certificates), router, Bounds::default()).expect("TLS");
        tokio::spawn(async move { server.serve(listener, CancellationToken::new()).await });
        address
    }

    #[tokio::test]
    async fn each_connection_asks_again_and_again_until_the_end() {
        let shown = Shown::new().expect("a certificate");
        let address = serving(&shown).await;
        let review = review::ours("kubedr-bench").expect("a review");
        let asker = Asker::new(address, &shown.authority, &review).await.expect("allowed");
        let connected = asker.connected(8).await.expect("connections");
        let begin = Instant::now() + Duration::from_millis(50);
        let end = begin + Duration::from_millis(200);
        let took = asker.ask(connected, Span { begin, end }).await.expect("answers");
        assert!(took.len() > 16 && took.iter().all(|took| *took > 0.0), "{}", took.len());
    }

    #[tokio::test]
    async fn whoever_refuses_is_not_measured() {
        let shown = Shown::new().expect("a certificate");
        let address = serving(&shown).await;
        let review = review::ours("elsewhere").expect("a review");
        assert!(Asker::new(address, &shown.authority, &review).await.is_err());
    }
}
