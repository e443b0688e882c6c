//! All through a rotation, whoever goes by what may be carried then is answered.
//!
//! Pairs are made by the real clock: whoever connects looks at no other.
use std::{io, sync::Arc};

use controllers::certificates::{
    Certificates,
    authority::{Step, shown},
};
use jiff::{SignedDuration, Timestamp};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsAcceptor;

use crate::{scene::Scene, trust::trusting};

#[expect(clippy::disallowed_methods, reason = "TLS has no clock of tests")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// One replica, which shows what it should.
#[derive(Default)]
struct Replica(Certificates);

impl Replica {
    fn looks(&self, scene: &Scene) {
        if let Some(pair) = shown(&scene.world(), self.0.in_use().as_ref()) {
            self.0.offer(Ok(pair), scene.now);
        }
    }

    /// Whether an API server that trusts these is answered.
    async fn answers(&self, trusted: &[u8]) -> io::Result<()> {
        let (ours, theirs) = duplex(1 << 16);
        let acceptor = self.acceptor();
        let server = tokio::spawn(async move { acceptor.accept(ours).await?.write_all(b"ok").await });
        let host = ServerName::try_from("kubedr-webhook.kubedr-system.svc").expect("a name");
        let mut client = trusting(trusted).connect(host, theirs).await?;
        server.await.expect("no panic")?;
        client.read_exact(&mut [0; 2]).await.map(drop)
    }

    fn acceptor(&self) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let config = builder.with_no_client_auth().with_cert_resolver(Arc::new(self.0.clone()));
        TlsAcceptor::from(Arc::new(config))
    }
}

#[tokio::test]
async fn nobody_is_refused_by_a_fast_or_a_slow_replica() {
    let (fast, slow) = (Replica::default(), Replica::default());
    // The first pair was made long ago, and is in force to this day.
    let first =
        Scene::empty().at(now() - SignedDuration::from_hours(24 * 300)).done(Step::Anew).told().at(now());
    let old = first.carried[0].clone();
    for replica in [&fast, &slow] {
        replica.looks(&first);
        replica.answers(&old).await.expect("before the rotation");
    }
    assert_eq!(first.decision().step, Step::Begin);
    let begun = first.done(Step::Begin);
    let new = begun.stored.bundle().to_pem().into_bytes();
    fast.looks(&begun);
    for trusted in [&old, &new] {
        fast.answers(trusted).await.expect("while API servers hear of it");
    }
    let told = begun.told().unchanged_for(300);
    assert_eq!(told.decision().step, Step::Promote);
    let promoted = told.done(Step::Promote);
    fast.looks(&promoted);
    fast.answers(&new).await.expect("by the new pair");
    slow.answers(&new).await.expect("by the old one, until it looks");
    fast.answers(&old).await.expect_err("it is the new pair that is shown");
    slow.looks(&promoted);
    slow.answers(&new).await.expect("by the new pair");
}

#[tokio::test]
async fn a_pair_that_took_the_place_of_a_damaged_one_is_shown_once_it_is_trusted() {
    let replica = Replica::default();
    let first = Scene::empty().at(now()).done(Step::Anew).told();
    replica.looks(&first);
    let replaced = first.clone().with(|data| drop(data.remove("tls.key"))).done(Step::Anew);
    replica.looks(&replaced);
    replica.answers(&first.carried[0]).await.expect("API servers have not heard of the new one");
    let told = replaced.told();
    replica.answers(&told.carried[0]).await.expect("by the one that is gone from the Secret");
    replica.looks(&told);
    replica.answers(&told.carried[0]).await.expect("by the new one");
    replica.answers(&first.carried[0]).await.expect_err("the new one is shown");
}
