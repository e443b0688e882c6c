//! The server on loopback: its connections, their deadlines, and its certificate while it changes.
use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use api::{
    MetadataBackupPolicy,
    names::{Verb, webhook_path},
    samples,
};
use controllers::certificates::Certificates;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use webhooks::server::{Bounds, Server};

use crate::{
    reviews::{admission, now, review, stored},
    trust::{self, Issued, issued},
};

const LONG: Duration = Duration::from_mins(2);
const SHORT: Duration = Duration::from_millis(100);
const PATIENT: Bounds = Bounds {
    most: 32,
    handshake: LONG,
    silence: LONG,
    idle: LONG,
    answer: LONG,
    parting: Duration::ZERO,
    farewell: LONG,
};

/// A server that judges reviews.
struct Running {
    address: SocketAddr,
    certificates: Certificates,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(bounds: Bounds, shown: Option<&Issued>) -> Self {
        let certificates = Certificates::default();
        if let Some(shown) = shown {
            certificates.offer(Ok(shown.pair()), now());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shown = Arc::new(certificates.clone());
        let server = Server::new(shown, webhooks::router(admission()), bounds).expect("TLS");
        let stop = CancellationToken::new();
        let told = stop.clone();
        let task = tokio::spawn(async move { server.serve(listener, told).await });
        Self { address, certificates, stop, task }
    }

    /// A connection of a client that trusts these.
    async fn connected(&self, trusted: &[&Issued]) -> io::Result<Client> {
        connected(self.address, trusting(trusted)).await
    }
}

/// Whoever speaks HTTP/1.1 over TLS.
struct Client(TlsStream<TcpStream>);

fn trusting(trusted: &[&Issued]) -> TlsConnector {
    let certificates: String = trusted.iter().map(|issued| issued.certificate.as_str()).collect();
    trust::trusting(certificates.as_bytes())
}

async fn connected(address: SocketAddr, connector: TlsConnector) -> io::Result<Client> {
    greeted(TcpStream::connect(address).await?, connector).await
}

async fn greeted(stream: TcpStream, connector: TlsConnector) -> io::Result<Client> {
    let name = ServerName::try_from("localhost").expect("a name");
    timeout(LONG / 6, connector.connect(name, stream)).await.expect("it ends").map(Client)
}

/// A request whose answer is known.
fn request() -> Vec<u8> {
    let policy = stored(&samples::policy(), &json!({}));
    let body = review::<MetadataBackupPolicy>("CREATE", &policy, &Value::Null).to_string();
    let (path, length) = (webhook_path::<MetadataBackupPolicy>(Verb::Validate), body.len());
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// Whether the answer to one request is that it is allowed.
    async fn hears(&mut self) -> io::Result<bool> {
        let heard = self.answer().await?;
        Ok(heard.starts_with("HTTP/1.1 200 OK\r\n") && heard.contains(r#""allowed":true"#))
    }

    async fn answer(&mut self) -> io::Result<String> {
        let mut heard = Vec::new();
        loop {
            if self.0.read_buf(&mut heard).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = String::from_utf8_lossy(&heard);
            if text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with("}}")) {
                return Ok(text.into_owned());
            }
        }
    }

    async fn asks(&mut self) -> io::Result<bool> {
        self.send(&request()).await?;
        self.hears().await
    }

    /// Asks, and says whether this was the connection's last answer.
    async fn asks_for_the_last_time(&mut self) -> io::Result<bool> {
        self.send(&request()).await?;
        let heard = self.answer().await?;
        assert!(heard.contains(r#""allowed":true"#), "{heard}");
        Ok(heard.contains("\r\nconnection: close\r\n"))
    }

    /// Waits until the server has closed the connection.
    async fn ends(&mut self) {
        ended(&mut self.0).await;
    }
}

/// Waits until the other side has closed a connection, and whatever it says before.
async fn ended(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut heard = Vec::new();
    // A connection that is dropped may be reset, or lack the end that TLS has.
    let end = timeout(LONG / 6, stream.read_to_end(&mut heard)).await.expect("it ends");
    drop(end);
}

#[tokio::test]
async fn a_connection_is_kept_for_many_requests() {
    let shown = issued(2020, 2040);
    let server = Running::start(PATIENT, Some(&shown)).await;
    let mut client = server.connected(&[&shown]).await.expect("connected");
    for _ in 0..100 {
        assert!(client.asks().await.expect("an answer"));
    }
    assert_eq!(client.0.get_ref().1.alpn_protocol(), None, "it did not ask for one");
}

#[tokio::test]
async fn nobody_can_connect_before_there_is_a_certificate_and_everybody_after() {
    let shown = issued(2020, 2040);
    let server = Running::start(PATIENT, None).await;
    assert!(server.connected(&[&shown]).await.is_err());
    server.certificates.offer(Ok(shown.pair()), now());
    let mut client = server.connected(&[&shown]).await.expect("connected");
    assert!(client.asks().await.expect("an answer"));
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_who_comes_then() {
    let (old, new) = (issued(2020, 2040), issued(2020, 2041));
    let server = Running::start(PATIENT, Some(&old)).await;
    let mut early = server.connected(&[&old]).await.expect("connected");
    server.certificates.offer(Ok(new.pair()), now());
    assert!(early.asks().await.expect("an answer"), "who was there stays");
    assert!(server.connected(&[&old]).await.is_err(), "the old one is gone");
    let mut late = server.connected(&[&new]).await.expect("connected");
    assert!(late.asks().await.expect("an answer"));
}

#[tokio::test]
async fn a_certificate_that_is_not_taken_changes_nothing_for_who_comes() {
    let (good, expired) = (issued(2020, 2040), issued(2020, 2025));
    let server = Running::start(PATIENT, Some(&good)).await;
    server.certificates.offer(Ok(expired.pair()), now());
    let mut client = server.connected(&[&good]).await.expect("connected");
    assert!(client.asks().await.expect("an answer"));
}

/// Asks over and over, half of the time on a connection that it has already, until it is told to stop.
async fn load(address: SocketAddr, connector: TlsConnector, stop: CancellationToken) -> io::Result<usize> {
    let mut asked = 0;
    while !stop.is_cancelled() {
        let mut client = connected(address, connector.clone()).await?;
        for _ in 0..2 {
            assert!(client.asks().await?);
            asked += 1;
        }
    }
    Ok(asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_certificate_changes() {
    let pairs = [issued(2020, 2040), issued(2020, 2041)];
    let server = Running::start(PATIENT, Some(&pairs[0])).await;
    let (connector, stop) = (trusting(&[&pairs[0], &pairs[1]]), CancellationToken::new());
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(load(server.address, connector.clone(), stop.clone()));
    }
    for turn in 0..200 {
        server.certificates.offer(Ok(pairs[turn % 2].pair()), now());
        sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    for asked in clients.join_all().await {
        assert!(asked.expect("no request failed") > 0);
    }
}

#[tokio::test]
async fn who_says_nothing_loses_the_place() {
    let shown = issued(2020, 2040);
    let hasty = Running::start(Bounds { handshake: SHORT, ..PATIENT }, Some(&shown)).await;
    let mut silent = TcpStream::connect(hasty.address).await.expect("connected");
    ended(&mut silent).await;
    let hasty = Running::start(Bounds { silence: SHORT, ..PATIENT }, Some(&shown)).await;
    let mut silent = hasty.connected(&[&shown]).await.expect("connected");
    silent.ends().await;
    let hasty = Running::start(Bounds { answer: SHORT, ..PATIENT }, Some(&shown)).await;
    let mut slow = hasty.connected(&[&shown]).await.expect("connected");
    let request = request();
    slow.send(&request[..request.len() / 2]).await.expect("sent");
    slow.ends().await;
}

#[tokio::test]
async fn who_has_asked_may_rest_for_longer_but_not_for_ever() {
    let shown = issued(2020, 2040);
    let bounds = Bounds { silence: SHORT, idle: 10 * SHORT, ..PATIENT };
    let server = Running::start(bounds, Some(&shown)).await;
    let mut client = server.connected(&[&shown]).await.expect("connected");
    assert!(client.asks().await.expect("an answer"));
    sleep(3 * SHORT).await;
    assert!(client.asks().await.expect("an answer"), "it rested for longer than one may who has not asked");
    let rests = Instant::now();
    client.ends().await;
    assert!(rests.elapsed() > 5 * SHORT);
}

#[tokio::test]
async fn who_comes_takes_the_place_of_who_asks_nothing() {
    let shown = issued(2020, 2040);
    let server = Running::start(Bounds { most: 2, ..PATIENT }, Some(&shown)).await;
    let mut kept = server.connected(&[&shown]).await.expect("connected");
    assert!(kept.asks().await.expect("an answer"));
    for _ in 0..3 {
        let mut silent = TcpStream::connect(server.address).await.expect("connected");
        let mut other = server.connected(&[&shown]).await.expect("there is room");
        ended(&mut silent).await;
        assert!(other.asks().await.expect("an answer"));
        assert!(kept.asks().await.expect("an answer"), "who asks is the last to go");
    }
}

#[tokio::test]
async fn of_those_who_rest_the_one_goes_that_has_rested_the_longest() {
    let shown = issued(2020, 2040);
    let server = Running::start(Bounds { most: 2, ..PATIENT }, Some(&shown)).await;
    let mut first = server.connected(&[&shown]).await.expect("connected");
    let mut second = server.connected(&[&shown]).await.expect("connected");
    for client in [&mut second, &mut first] {
        assert!(client.asks().await.expect("an answer"));
    }
    let mut third = server.connected(&[&shown]).await.expect("there is room");
    assert!(third.asks().await.expect("an answer"));
    second.ends().await;
    assert!(first.asks().await.expect("an answer"));
}

#[tokio::test]
async fn nobody_keeps_others_out_by_coming_often() {
    let shown = issued(2020, 2040);
    let server = Running::start(Bounds { most: 4, ..PATIENT }, Some(&shown)).await;
    let mut kept = server.connected(&[&shown]).await.expect("connected");
    assert!(kept.asks().await.expect("an answer"));
    let mut many = Vec::new();
    for _ in 0..8 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.2:0".parse().expect("an address")).expect("bound");
        let stream = socket.connect(server.address).await.expect("connected");
        let mut other = greeted(stream, trusting(&[&shown])).await.expect("there is room");
        assert!(other.asks().await.expect("an answer"));
        many.push(other);
    }
    assert!(kept.asks().await.expect("an answer"), "it rested the longest, and was alone from where it came");
}

#[tokio::test]
async fn who_has_gone_takes_nobodys_place() {
    let shown = issued(2020, 2040);
    let server = Running::start(Bounds { most: 2, ..PATIENT }, Some(&shown)).await;
    let mut kept = server.connected(&[&shown]).await.expect("connected");
    assert!(kept.asks().await.expect("an answer"));
    for _ in 0..3 {
        let mut other = server.connected(&[&shown]).await.expect("there is room");
        assert!(other.asks().await.expect("an answer"));
        drop(other);
        // Until the server has seen that it is gone.
        sleep(SHORT).await;
    }
    assert!(kept.asks().await.expect("an answer"), "it rested the longest, and there was room");
}

/// Asks over and over on a connection that it keeps for as long as it may, until it is told to stop.
async fn keeps_asking(
    address: SocketAddr,
    connector: TlsConnector,
    stop: CancellationToken,
) -> io::Result<usize> {
    let mut connections = 0;
    while !stop.is_cancelled() {
        let mut client = connected(address, connector.clone()).await?;
        connections += 1;
        while !client.asks_for_the_last_time().await? && !stop.is_cancelled() {}
    }
    Ok(connections)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_server_parts() {
    let shown = issued(2020, 2040);
    let server = Running::start(Bounds { parting: LONG, ..PATIENT }, Some(&shown)).await;
    let (connector, stop) = (trusting(&[&shown]), CancellationToken::new());
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(keeps_asking(server.address, connector.clone(), stop.clone()));
    }
    sleep(SHORT).await;
    server.stop.cancel();
    sleep(SHORT).await;
    stop.cancel();
    for connections in clients.join_all().await {
        assert!(connections.expect("no request failed") > 2, "each answer was its connection's last");
    }
}

#[tokio::test]
async fn who_comes_while_the_server_parts_is_answered_and_nobody_is_afterwards() {
    let shown = issued(2020, 2040);
    let server = Running::start(Bounds { parting: 10 * SHORT, ..PATIENT }, Some(&shown)).await;
    let mut resting = server.connected(&[&shown]).await.expect("connected");
    assert!(!resting.asks_for_the_last_time().await.expect("an answer"));
    server.stop.cancel();
    let mut late = server.connected(&[&shown]).await.expect("connected");
    assert!(late.asks_for_the_last_time().await.expect("an answer"));
    late.ends().await;
    resting.ends().await;
    assert!(server.connected(&[&shown]).await.is_err(), "nobody answers any more");
    timeout(LONG / 6, server.task).await.expect("it ends at once").expect("no panic");
}

#[tokio::test]
async fn what_was_asked_is_answered_before_the_end_and_nothing_else() {
    let shown = issued(2020, 2040);
    let server = Running::start(PATIENT, Some(&shown)).await;
    let mut resting = server.connected(&[&shown]).await.expect("connected");
    assert!(resting.asks().await.expect("an answer"));
    let mut asking = server.connected(&[&shown]).await.expect("connected");
    let request = request();
    let (begin, rest) = request.split_at(request.len() / 2);
    asking.send(begin).await.expect("sent");
    // Until the server has seen that it is asked.
    sleep(SHORT).await;
    server.stop.cancel();
    resting.ends().await;
    assert!(server.connected(&[&shown]).await.is_err(), "nobody answers any more");
    asking.send(rest).await.expect("sent");
    assert!(asking.hears().await.expect("an answer"));
    asking.ends().await;
    timeout(LONG / 6, server.task).await.expect("it ends at once").expect("no panic");
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever_for_who_does_not_end() {
    let shown = issued(2020, 2040);
    let server = Running::start(Bounds { farewell: SHORT, ..PATIENT }, Some(&shown)).await;
    let mut asking = server.connected(&[&shown]).await.expect("connected");
    // Of a head: a body has a deadline of its own.
    asking.send(b"POST / HTTP/1.1\r\n").await.expect("sent");
    sleep(SHORT).await;
    server.stop.cancel();
    timeout(LONG / 6, server.task).await.expect("it ends").expect("no panic");
    asking.ends().await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_who_has_not_even_greeted() {
    let shown = issued(2020, 2040);
    let server = Running::start(PATIENT, Some(&shown)).await;
    let mut silent = TcpStream::connect(server.address).await.expect("connected");
    let mut client = server.connected(&[&shown]).await.expect("connected");
    assert!(client.asks().await.expect("an answer"), "the one before was accepted");
    server.stop.cancel();
    timeout(LONG / 6, server.task).await.expect("it ends at once").expect("no panic");
    ended(&mut silent).await;
}

#[tokio::test]
async fn who_announces_too_much_is_refused_before_it_comes() {
    let shown = issued(2020, 2040);
    let server = Running::start(PATIENT, Some(&shown)).await;
    let mut client = server.connected(&[&shown]).await.expect("connected");
    let (path, length) = (webhook_path::<MetadataBackupPolicy>(Verb::Validate), 8 << 20);
    let begin = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    // As much as tells what it is about, and no more.
    let begin = begin + &" ".repeat(2 << 10);
    client.send(begin.as_bytes()).await.expect("sent");
    let heard = client.answer().await.expect("an answer");
    assert!(heard.contains(r#""code":413"#), "{heard}");
}

#[tokio::test]
async fn strangers_are_sent_away_and_the_server_goes_on() {
    let shown = issued(2020, 2040);
    let server = Running::start(PATIENT, Some(&shown)).await;
    let mut plain = TcpStream::connect(server.address).await.expect("connected");
    plain.write_all(&request()).await.expect("sent");
    ended(&mut plain).await;
    let mut long = server.connected(&[&shown]).await.expect("connected");
    let head = format!("POST / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(200_000));
    drop(long.send(head.as_bytes()).await);
    long.ends().await;
    let mut client = server.connected(&[&shown]).await.expect("connected");
    assert!(client.asks().await.expect("an answer"));
}
