//! A server address that can be dead and come back.
use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// An address of this machine, which pods reach; dead until it is told to relay.
pub struct TcpRelay {
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

impl TcpRelay {
    /// Takes a free port of `ip` at which nothing answers.
    pub async fn dead(ip: &str) -> Result<Self> {
        // Closed at once: the port stays free for the moment that the test needs, as
        // the kernel hands out others first.
        let address = TcpListener::bind((ip, 0)).await.context("failed to listen")?.local_addr()?;
        Ok(Self { address, server: None })
    }

    /// Where it answers, or does not, as `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Relays every connection to `target`, as `host:port`, from now on.
    pub async fn come_back(&mut self, target: &str) -> Result<()> {
        let listener = TcpListener::bind(self.address).await.context("failed to listen again")?;
        let target = target.to_owned();
        self.server = Some(tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(relay(connection, target.clone()));
            }
        }));
        Ok(())
    }
}

async fn relay(mut near: TcpStream, target: String) {
    // Whatever breaks here is seen by the two ends, which are what is tested.
    if let Ok(mut far) = TcpStream::connect(target).await {
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}
