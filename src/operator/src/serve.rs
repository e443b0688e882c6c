//! Plain HTTP for whoever asks about this process: few connections at once, and none for long.
//!
//! Every pod of a cluster may reach these ports, and the process behind them has backups to watch.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Pause after a connection could not be accepted: too many open files do not pass at once.
const PAUSE: Duration = Duration::from_secs(1);

/// What may come in.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// What is served, for the log.
    pub what: &'static str,
    /// Connections at once; the next one waits.
    pub most: usize,
    /// How long a connection may take, from its first byte to its last.
    pub longest: Duration,
}

/// Serves at the first address that can be bound. Does not return unless none can.
pub async fn serve(door: Door, addresses: &[SocketAddr], router: Router) -> Result<()> {
    let listener = TcpListener::bind(addresses).await;
    let listener =
        listener.with_context(|| format!("failed to listen for {} at {addresses:?}", door.what))?;
    let places = Arc::new(Semaphore::new(door.most));
    loop {
        let place = places.clone().acquire_owned().await.context("no place is left for ever")?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let answering = answer(door, stream, router.clone());
                tokio::spawn(async move {
                    answering.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(door.what, error = model::chain(&error), "failed to accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// One request, one answer: a connection that waits for the next request would keep its place.
async fn answer(Door { what, longest, .. }: Door, stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
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

    const DOOR: Door = Door { what: "tests", most: 2, longest: Duration::from_secs(1) };

    /// The address of a server that says "ok" at `/`.
    async fn server() -> SocketAddr {
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let router = Router::new().route("/", get(|| async { "ok" }));
        tokio::spawn(async move { serve(DOOR, &[address], router).await });
        address
    }

    async fn connected(address: SocketAddr) -> TcpStream {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_answer() {
        let mut stream = connected(server().await).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the connection ends");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    }

    #[tokio::test]
    async fn who_says_nothing_loses_the_place() {
        let address = server().await;
        let mut silent = Vec::new();
        for _ in 0..DOOR.most {
            silent.push(connected(address).await);
        }
        let mut stream = connected(address).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        let patience = DOOR.longest * 10;
        timeout(patience, stream.read_to_string(&mut answer)).await.expect("an answer").expect("whole");
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    }
}
