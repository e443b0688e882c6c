//! Finds out why a connection that came about was of no use.
//!
//! With TLS 1.3 a server refuses a client's certificate only after the client
//! takes the handshake for done and begins to speak. Whether the client then
//! reads the refusal or only notices a closed connection is chance, and so is
//! what becomes of the answer of a server that speaks no HTTP/2. This opens one
//! more connection and does nothing on it but listen.
use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use model::Reason;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tonic::codegen::http::Uri;

use crate::{Credentials, error::tls_reason};

const PATIENCE: Duration = Duration::from_secs(3);
/// What every HTTP/2 client says first, and an empty frame of settings.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// How much of it is said at first: as much as the head of a TLS record has. Who waits for one answers then and closes;
/// were there more to read, the connection would be reset, and the answer lost.
const FIRST: usize = 5;
/// How long such an answer is waited for.
const HESITATION: Duration = Duration::from_millis(500);
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
        None => foreign_tongue(connection),
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
    let name = ServerName::try_from(host(uri).to_owned()).ok()?;
    let session = ClientConnection::new(Arc::new(client_config(credentials)?), name).ok()?;
    let error = StreamOwned::new(session, connection).read(&mut [0; 1]).err()?;
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(Finding { reason: tls_reason(error)?, said: format!("it refuses the client certificate: {error}") })
}

fn client_config(credentials: &Credentials) -> Option<ClientConfig> {
    let certificates =
        |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().ok();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&credentials.authority)?);
    let key = PrivateKeyDer::from_pem_slice(credentials.key.expose().as_bytes()).ok()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&credentials.certificate)?, key)
        .ok()?;
    config.alpn_protocols.push(b"h2".to_vec());
    Some(config)
}

/// An answer that is no frame of settings.
fn foreign_tongue(mut connection: TcpStream) -> Option<Finding> {
    let (first, rest) = GREETING.split_at(FIRST);
    let mut answer = [0; FRAME_TYPE_AT + 1];
    connection.write_all(first).ok()?;
    connection.set_read_timeout(Some(HESITATION)).ok()?;
    let mut read = heard(&mut connection, &mut answer);
    if read == 0 {
        connection.set_read_timeout(Some(PATIENCE)).ok()?;
        connection.write_all(rest).ok()?;
        read = heard(&mut connection, &mut answer);
    }
    let is_foreign = read > 0 && answer.get(FRAME_TYPE_AT) != Some(&SETTINGS);
    let said = || format!("it answers {:?} to HTTP/2", String::from_utf8_lossy(&answer[..read]));
    is_foreign.then(|| Finding { reason: Reason::NotEtcd, said: said() })
}

/// How many bytes of an answer came.
fn heard(connection: &mut TcpStream, answer: &mut [u8]) -> usize {
    let mut read = 0;
    while read < answer.len() {
        match connection.read(&mut answer[read..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => read += more,
        }
    }
    read
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
    fn who_reads_the_head_of_a_record_alone_is_understood() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a client");
            connection.read_exact(&mut [0; FIRST]).expect("a head");
            connection.write_all(b"\x15\x03\x01\0\x02\x02\x16").expect("an alert");
            // Gone before the client has come to read, as on a busy machine.
            drop(connection);
        });
        let finding = probe(&endpoint, None).expect("another protocol");
        assert_eq!(finding.reason, Reason::NotEtcd);
    }

    #[test]
    fn nobody_there_is_nothing_found() {
        assert_eq!(probe("http://127.0.0.1:1", None), None);
        assert_eq!(probe("nonsense", None), None);
    }
}
