//! HTTP for whoever asks: a bounded number of connections, each with deadlines, and an end that loses no answer.
//!
//! ```text
//! accept ─▶ room? ─▶ handshake, if there is TLS ─▶ request, answer, request, … ─▶ too long at one thing, or told to leave
//! ```
//!
//! Every pod of the cluster may open connections, and the process behind them has backups to watch: where there is no
//! room, one goes of whoever has the most. The API server keeps those that it has over TLS for as long as it likes.
//!
//! It does not ask again what it asked in the moment in which a connection is closed. So at the end each answer says
//! that it is its connection's last, and those on which nothing is asked are closed some seconds later.
mod seat;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, ResolvesServerCert},
};
use tokio::{
    net::{TcpListener, TcpStream},
    pin,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken};

use self::seat::{Seat, Seats};

/// Pause after a connection could not be accepted: too many open files do not pass at once.
const PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of a connection that are kept unread, and so the longest head of a request.
const LONGEST_HEAD: usize = 64 << 10;

/// How many may come, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub most: usize,
    /// How long the handshake may take.
    pub handshake: Duration,
    /// How long from a connection's begin to the end of the first request's head.
    pub silence: Duration,
    /// How long from one answer, which has to be read, to the end of the next request's head. By default more than the
    /// 90 s for which the API server keeps a connection.
    pub idle: Duration,
    /// How long from there to the answer; by default longer than the API server waits.
    pub answer: Duration,
    /// How long all goes on after the word to stop, so that every API server hears that nobody is here: of the Service,
    /// or of the last answer on a connection that it keeps.
    pub parting: Duration,
    /// How long those who are told to leave may then take to hear the answer to what they asked.
    pub farewell: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            most: 256,
            handshake: Duration::from_secs(5),
            silence: Duration::from_secs(10),
            idle: Duration::from_mins(2),
            answer: Duration::from_secs(10),
            parting: Duration::from_secs(5),
            farewell: Duration::from_secs(10),
        }
    }
}

/// The protocol cannot be set up as this program has it.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up TLS")]
pub struct NoTls(#[source] rustls::Error);

/// Serves a router.
#[derive(Clone)]
pub struct Server(Arc<Parts>);

struct Parts {
    tls: Option<TlsAcceptor>,
    http: http1::Builder,
    router: Router,
    bounds: Bounds,
}

impl Server {
    /// A server over TLS, which shows the certificate that is in use when somebody connects.
    pub fn new(
        certificates: Arc<dyn ResolvesServerCert>,
        router: Router,
        bounds: Bounds,
    ) -> Result<Self, NoTls> {
        let tls = TlsAcceptor::from(Arc::new(tls(certificates).map_err(NoTls)?));
        Ok(Self::of(Some(tls), router, bounds))
    }

    /// A server without TLS, for few words: a connection that waited for the next request would keep its place, so each
    /// ends with its first answer.
    pub fn plain(router: Router, bounds: Bounds) -> Self {
        Self::of(None, router, bounds)
    }

    fn of(tls: Option<TlsAcceptor>, router: Router, bounds: Bounds) -> Self {
        let mut http = http1::Builder::new();
        http.max_buf_size(LONGEST_HEAD).keep_alive(tls.is_some());
        Self(Arc::new(Parts { tls, http, router, bounds }))
    }

    /// Serves whoever comes until some time after it was told to stop, and then whoever has asked; returns when all are
    /// gone.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) {
        let Bounds { most, parting, farewell, .. } = self.0.bounds;
        let over = async {
            stop.cancelled().await;
            sleep(parting).await;
        };
        pin!(over);
        let mut seats = Seats::default();
        while let Some((stream, from)) = unless(over.as_mut(), accepted(&listener)).await {
            seats.make_room(most);
            let (server, stop) = (self.0.clone(), stop.clone());
            seats.take(from, |seat| async move { server.answer(stream, &seat, &stop).await });
        }
        // Nobody else may come to believe that somebody answers here.
        drop(listener);
        seats.clear(farewell).await;
    }
}

/// What comes first: the end, or something else.
async fn unless<T>(end: impl Future<Output = ()>, other: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = end => None,
        other = other => Some(other),
    }
}

/// The next connection, and the address that it comes from.
async fn accepted(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from.ip()),
            Err(error) => {
                let address = listener.local_addr().ok();
                tracing::warn!(?address, error = model::chain(&error), "failed to accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// No session is kept for another connection: those that come again are few, and would have to be remembered.
fn tls(certificates: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

impl Parts {
    /// One connection, from its first byte to its last. Who breaks off or is slow is not our trouble.
    async fn answer(&self, stream: TcpStream, seat: &Seat, stop: &CancellationToken) {
        let stream = match seat.leave.run_until_cancelled(self.greeted(stream)).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return tracing::debug!(error = model::chain(&error), "a handshake failed"),
            None => return,
        };
        let routed = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|request: Request<Incoming>| async {
            let answer = seat.during(routed.call(request)).await;
            answer.map(|answer| if stop.is_cancelled() { last(answer) } else { answer })
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = seat.leave.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
            () = seat.overstays(&self.bounds) => return,
        };
        if let Err(error) = ended {
            tracing::debug!(error = model::chain(&error), "a connection broke");
        }
    }

    async fn greeted(&self, stream: TcpStream) -> io::Result<Either<TcpStream, TlsStream<TcpStream>>> {
        // An answer is one piece, and nothing follows that it could wait for.
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Either::Left(stream)) };
        timeout(self.bounds.handshake, tls.accept(stream)).await?.map(Either::Right)
    }
}

/// An answer after which the other side asks elsewhere.
fn last<B>(mut answer: Response<B>) -> Response<B> {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
