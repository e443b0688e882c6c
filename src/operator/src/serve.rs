//! Plain HTTP for whoever asks about this process: few connections at once, and none for long.
//!
//! Every pod of a cluster may reach these ports, and the process behind them has backups to watch.
use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Pause after a connection could not be accepted: too many open files do not pass at once.
const PAUSE: Duration = Duration::from_secs(1);

/// What may come in.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// What is served, for the log.
    pub what: &'static str,
    /// Connections at once; the next one takes the place of the oldest.
    pub most: usize,
    /// How long a connection may take until it has asked.
    pub silence: Duration,
    /// How long a connection may take, from its first byte to its last.
    pub longest: Duration,
}

/// Listens at the first address that can be bound.
pub async fn listen(what: &str, addresses: &[SocketAddr]) -> Result<TcpListener> {
    let listener = TcpListener::bind(addresses).await;
    listener.with_context(|| format!("failed to listen for {what} at {addresses:?}"))
}

/// Serves whoever comes. Does not return.
pub async fn serve(door: Door, listener: &TcpListener, router: Router) {
    let mut open = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                make_room(door, &mut open).await;
                open.push_back(tokio::spawn(answer(door, stream, router.clone())));
            }
            Err(error) => {
                tracing::warn!(door.what, error = model::chain(&error), "failed to accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Closes the oldest connection where there are as many as there may be.
///
/// Nobody waits for those who say nothing: the kubelet, which gives up after a second, has its answer as long as no
/// more than `most` others come while it asks.
async fn make_room(Door { what, most, .. }: Door, open: &mut VecDeque<JoinHandle<()>>) {
    open.retain(|connection| !connection.is_finished());
    while open.len() >= most {
        let Some(oldest) = open.pop_front() else { return };
        oldest.abort();
        if oldest.await.is_err() {
            tracing::debug!(what, "a connection gave way to a newer one");
        }
    }
}

/// One request, one answer: a connection that waits for the next request would keep its place.
async fn answer(door: Door, stream: TcpStream, router: Router) {
    let Door { what, silence, longest, .. } = door;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(silence)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Who breaks off or is slow is not our trouble, and may do so as often as it likes.
    match timeout(longest, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(what, error = model::chain(&error), "a connection broke"),
        Err(_elapsed) => tracing::debug!(what, "a connection took too long"),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONG: Duration = Duration::from_mins(2);
    const SHORT: Duration = Duration::from_millis(100);
    const DOOR: Door = Door { what: "tests", most: 2, silence: LONG, longest: LONG };

    /// The address of a server that says "ok" at `/`, and nothing at `/never`.
    async fn server(door: Door) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let never = get(std::future::pending::<&'static str>);
        let router = Router::new().route("/", get(|| async { "ok" })).route("/never", never);
        tokio::spawn(async move { serve(door, &listener, router).await });
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
    async fn who_cannot_listen_says_for_what_and_where() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("an address");
        let error = listen("metrics", &[address]).await.expect_err("it is taken");
        assert_eq!(error.to_string(), format!("failed to listen for metrics at [{address}]"));
        let next = SocketAddr::from(([127, 0, 0, 1], 0));
        listen("metrics", &[address, next]).await.expect("the next address is free");
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_answer() {
        let answer = asked(server(DOOR).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    }

    #[tokio::test]
    async fn whoever_comes_takes_the_place_of_the_oldest_that_says_nothing() {
        let address = server(DOOR).await;
        let (oldest, mut other) = (connected(address).await, connected(address).await);
        let answer = timeout(LONG / 20, asked(address)).await.expect("nobody has to wait");
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        assert_eq!(heard(oldest).await, "");
        other.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        assert!(heard(other).await.ends_with("\r\n\r\nok"), "there is room for two");
    }

    #[tokio::test]
    async fn who_says_nothing_loses_the_place() {
        let address = server(Door { silence: SHORT, ..DOOR }).await;
        let mut halfway = connected(address).await;
        halfway.write_all(b"GET / HTTP/1.1\r\nHost").await.expect("sent");
        tokio::join!(heard(connected(address).await), heard(halfway));
    }

    #[tokio::test]
    async fn a_connection_ends_although_its_answer_does_not_come() {
        let mut stream = connected(server(Door { longest: SHORT, ..DOOR }).await).await;
        stream.write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        assert_eq!(heard(stream).await, "");
    }
}
