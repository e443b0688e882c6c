//! A server address that can be dead, slow, cut, or answer with an error, and come back.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional},
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Longest head of a request that is read before it is answered with an error.
const HEAD: usize = 64 << 10;

/// Connections that may wait to be taken.
const BACKLOG: u32 = 1024;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// It is relayed.
    Fair,
    /// It is relayed after this long.
    Slow(Duration),
    /// It is closed once so many bytes were sent to the server.
    Cut(u64),
    /// Each request is answered with this HTTP status and S3 error code, as a server or a proxy in front of it does.
    Answers(u16, &'static str),
}

/// An address of this machine, which pods reach; dead until it is told to relay.
pub struct TcpRelay {
    address: SocketAddr,
    /// Bound and not listening: the port is refused, and nobody else is given it.
    socket: Option<TcpSocket>,
    weather: watch::Sender<Weather>,
    server: Option<JoinHandle<()>>,
}

impl TcpRelay {
    /// Takes a free port of `ip` at which nothing answers.
    pub fn dead(ip: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4().context("no socket")?;
        socket.bind(SocketAddr::new(ip.parse().context("not an address")?, 0)).context("no free port")?;
        let address = socket.local_addr().context("no address")?;
        Ok(Self { address, socket: Some(socket), weather: watch::Sender::new(Weather::Fair), server: None })
    }

    /// Where it answers, or does not, as `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Relays every connection to `target`, as `host:port`, from now on.
    pub fn come_back(&mut self, target: &str) -> Result<()> {
        let socket = self.socket.take().context("it is back already")?;
        let listener = socket.listen(BACKLOG).context("failed to listen")?;
        let (target, weather): (Arc<str>, _) = (target.into(), self.weather.subscribe());
        self.server = Some(tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(relay(connection, target.clone(), weather.clone()));
            }
        }));
        Ok(())
    }

    /// Treats every connection so from now on; those that are open end.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// Whatever breaks here is seen by the two ends, which are what is tested.
async fn relay(near: TcpStream, target: Arc<str>, mut weather: watch::Receiver<Weather>) {
    let now = *weather.borrow_and_update();
    tokio::select! {
        _ = treat(near, &target, now) => {}
        _ = weather.changed() => {}
    }
}

async fn treat(mut near: TcpStream, target: &str, weather: Weather) -> std::io::Result<()> {
    match weather {
        Weather::Answers(status, code) => return answer(&mut near, status, code).await,
        Weather::Slow(wait) => tokio::time::sleep(wait).await,
        Weather::Fair | Weather::Cut(_) => {}
    }
    let mut far = TcpStream::connect(target).await?;
    let Weather::Cut(bytes) = weather else { return copy_bidirectional(&mut near, &mut far).await.map(drop) };
    let (from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    let mut some = from_near.take(bytes);
    tokio::select! {
        sent = copy(&mut some, &mut to_far) => sent.map(drop),
        received = copy(&mut from_far, &mut to_near) => received.map(drop),
    }
}

/// Answers the first request of a connection with an error in S3's form, and closes it.
async fn answer(near: &mut TcpStream, status: u16, code: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
        if near.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code} by the test</Message></Error>"
    );
    let head = format!(
        "HTTP/1.1 {status} Refused\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    near.write_all(format!("{head}{body}").as_bytes()).await?;
    near.shutdown().await
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}
