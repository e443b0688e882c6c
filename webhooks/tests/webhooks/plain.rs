//! The server without TLS: one request each, and none for long.
use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use webhooks::server::{Bounds, Server};

const LONG: Duration = Duration::from_mins(2);
const SHORT: Duration = Duration::from_millis(100);

fn two() -> Bounds {
    Bounds { most: 2, silence: LONG, idle: LONG, answer: LONG, ..Bounds::default() }
}

/// The address of a server that says "ok" at `/`, and nothing at `/never`.
async fn server(bounds: Bounds) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let never = get(std::future::pending::<&'static str>);
    let router = Router::new().route("/", get(|| async { "ok" })).route("/never", never);
    let server = Server::plain(router, bounds);
    tokio::spawn(async move { server.serve(listener, CancellationToken::new()).await });
    address
}

async fn connected(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connected")
}

/// All that comes until the connection ends.
async fn heard(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let end = timeout(LONG / 10, stream.read_to_string(&mut answer)).await.expect("it ends");
    // A connection that is closed before it was read may be reset.
    end.map_or_else(|_| String::new(), |_| answer)
}

async fn asked(address: SocketAddr) -> String {
    let mut stream = connected(address).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    heard(stream).await
}

#[tokio::test]
async fn a_connection_ends_with_its_answer() {
    let answer = asked(server(two()).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn whoever_comes_takes_the_place_of_the_oldest_that_says_nothing() {
    let address = server(two()).await;
    let (oldest, mut other) = (connected(address).await, connected(address).await);
    let answer = timeout(LONG / 20, asked(address)).await.expect("nobody has to wait");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert_eq!(heard(oldest).await, "");
    other.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    assert!(heard(other).await.ends_with("\r\n\r\nok"), "there is room for two");
}

#[tokio::test]
async fn who_does_not_come_to_the_end_of_a_question_loses_the_place() {
    let address = server(Bounds { silence: SHORT, ..two() }).await;
    let mut halfway = connected(address).await;
    halfway.write_all(b"GET / HTTP/1.1\r\nHost").await.expect("sent");
    tokio::join!(heard(connected(address).await), heard(halfway));
}

#[tokio::test]
async fn a_connection_ends_although_its_answer_does_not_come() {
    let mut stream = connected(server(Bounds { answer: SHORT, ..two() }).await).await;
    // Until the server waits for a question, which may be long.
    sleep(SHORT / 2).await;
    stream.write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    assert_eq!(heard(stream).await, "");
}
