//! Programs of this machine that listen to this machine alone: where they may, and what they say over plain HTTP.
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Addresses that nobody listens at.
pub fn free<const N: usize>() -> Result<[SocketAddr; N]> {
    // All are held until all are known.
    let held: io::Result<Vec<_>> = (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let held = held.context("no port is free")?;
    let addresses: io::Result<Vec<_>> = held.iter().map(TcpListener::local_addr).collect();
    addresses?.try_into().map_err(|some: Vec<_>| anyhow!("{} addresses, not {N}", some.len()))
}

/// The answer to a question, with its head; an error where that does not say that all is well.
pub async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let asked = async {
        let mut connection = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(ANSWER, asked).await.with_context(|| format!("{path} is not answered"))??;
    let first = answer.lines().next().unwrap_or_default();
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{path} is answered {first:?}");
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers one question.
    async fn answered(head: &'static str) -> Result<String> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let answering = async {
            let (mut connection, _) = listener.accept().await?;
            let mut question = [0; 1024];
            ensure!(connection.read(&mut question).await? > 0, "nothing was asked");
            Ok(connection.write_all(format!("{head}\r\n\r\nfigure 1\n").as_bytes()).await?)
        };
        let (answer, answering) = tokio::join!(get(listener.local_addr()?, "/metrics"), answering);
        answering.and(answer)
    }

    #[tokio::test]
    async fn only_what_says_that_all_is_well_is_an_answer() {
        let answer = answered("HTTP/1.1 200 OK").await.expect("all is well");
        assert!(answer.ends_with("\nfigure 1\n"), "{answer}");
        let error = answered("HTTP/1.1 503 Service Unavailable").await.expect_err("it is not");
        assert_eq!(error.to_string(), r#"/metrics is answered "HTTP/1.1 503 Service Unavailable""#);
    }
}
