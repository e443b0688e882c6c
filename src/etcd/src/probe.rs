//! Finds out why a connection that came about was of no use.
//!
//! With TLS 1.3 a server refuses a client's certificate only after the client
//! takes the handshake for done and begins to speak. Whether the client then
//! reads the refusal or only notices a closed connection is chance, and so is
//! what becomes of the answer of a server that speaks no HTTP/2. This opens one
//! more connection, or two, and does nothing on them but listen.
use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use model::Reason;
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, Error as Tls, RootCertStore, StreamOwned, WantsVerifier,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tonic::codegen::http::Uri;

use crate::{Credentials, error::tls_reason};

const PATIENCE: Duration = Duration::from_secs(3);
/// What every HTTP/2 client says first, and an empty frame of settings.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Where a frame says of what type it is, and the type with which every HTTP/2 server begins.
const FRAME_TYPE_AT: usize = 3;
const SETTINGS: u8 = 4;

/// What is wrong with an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// As one word.
    pub reason: Reason,
    /// As a sentence.
    pub said: String,
}

/// Listens to an endpoint; nothing is found where it behaves like etcd or says nothing.
///
/// Blocks for some seconds at most.
pub(crate) fn probe(endpoint: &str, credentials: Option<&Credentials>) -> Option<Finding> {
    let uri: Uri = endpoint.parse().ok()?;
    let connection = connected(&uri).ok()?;
    match credentials.filter(|_| uri.scheme_str() == Some("https")) {
        Some(credentials) => refusal(connection, &uri, credentials),
        None => foreign_tongue(connection).or_else(|| tls_in_spite_of_its_scheme(&uri)),
    }
}

fn connected(uri: &Uri) -> io::Result<TcpStream> {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let address = (host(uri), port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// The alert that follows a handshake with a certificate that is not accepted.
fn refusal(connection: TcpStream, uri: &Uri, credentials: &Credentials) -> Option<Finding> {
    let error = handshake(connection, uri, client_config(credentials)?)?;
    Some(Finding { reason: tls_reason(&error)?, said: format!("it refuses the client certificate: {error}") })
}

/// A server that closes what is no TLS without a word, as many do: it is trusted by nobody here, and that is told it.
fn tls_in_spite_of_its_scheme(uri: &Uri) -> Option<Finding> {
    let config = tls().ok()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let error = handshake(connected(uri).ok()?, uri, config)?;
    let speaks_tls = matches!(error, Tls::InvalidCertificate(_) | Tls::AlertReceived(_));
    let said = "it speaks TLS, and the endpoint begins with http:".to_owned();
    speaks_tls.then_some(Finding { reason: Reason::NotEtcd, said })
}

/// How a handshake fails, or what comes after one.
fn handshake(connection: TcpStream, uri: &Uri, config: ClientConfig) -> Option<Tls> {
    let name = ServerName::try_from(host(uri).to_owned()).ok()?;
    let session = ClientConnection::new(Arc::new(config), name).ok()?;
    let error = StreamOwned::new(session, connection).read(&mut [0; 1]).err()?;
    error.get_ref()?.downcast_ref::<Tls>().cloned()
}

fn client_config(credentials: &Credentials) -> Option<ClientConfig> {
    let certificates =
        |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().ok();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&credentials.authority)?);
    let key = PrivateKeyDer::from_pem_slice(credentials.key.expose().as_bytes()).ok()?;
    let mut config = tls()
        .ok()?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&credentials.certificate)?, key)
        .ok()?;
    config.alpn_protocols.push(b"h2".to_vec());
    Some(config)
}

fn tls() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Tls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// An answer that is no frame of settings.
fn foreign_tongue(mut connection: TcpStream) -> Option<Finding> {
    connection.write_all(GREETING).ok()?;
    let mut answer = [0; FRAME_TYPE_AT + 1];
    let mut read = 0;
    while read < answer.len() {
        match connection.read(&mut answer[read..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => read += more,
        }
    }
    let is_foreign = read > 0 && answer.get(FRAME_TYPE_AT) != Some(&SETTINGS);
    let said = || format!("it answers {:?} to HTTP/2", String::from_utf8_lossy(&answer[..read]));
    is_foreign.then(|| Finding { reason: Reason::NotEtcd, said: said() })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rstest::rstest;

    use super::*;

    /// An endpoint that answers like this, whatever it is told.
    fn answering(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a client");
            _ = connection.read(&mut [0; 100]);
            _ = connection.write_all(answer);
        });
        endpoint
    }

    #[rstest]
    #[case::http1(b"HTTP/1.1 400 Bad Request\r\n\r\n", true)]
    #[case::tls_alert(b"\x15\x03\x01\0\x02\x02\x16", true)]
    #[case::a_word(b"no", true)]
    #[case::http2(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0", false)]
    #[case::silence(b"", false)]
    fn another_protocol_is_found_out(#[case] answer: &'static [u8], #[case] found: bool) {
        let finding = probe(&answering(answer), None);
        assert_eq!(finding.map(|finding| finding.reason), found.then_some(Reason::NotEtcd));
    }

    #[test]
    fn a_server_that_speaks_tls_alone_is_found_out() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let mut head = [0; 5];
                connection.read_exact(&mut head).expect("a head");
                // The head of a handshake's record, answered with an alert; all else is closed without a word.
                if head[0] == 22 {
                    connection.write_all(b"\x15\x03\x03\0\x02\x02\x28").expect("an alert");
                    _ = connection.read_to_end(&mut Vec::new());
                }
            }
        });
        let finding = probe(&endpoint, None).expect("another protocol");
        assert_eq!(finding.reason, Reason::NotEtcd, "{finding:?}");
    }

    #[test]
    fn nobody_there_is_nothing_found() {
        assert_eq!(probe("http://127.0.0.1:1", None), None);
        assert_eq!(probe("nonsense", None), None);
    }
}
