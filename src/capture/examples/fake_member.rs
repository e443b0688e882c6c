//! Runs an etcd member that lies: `fake_member 127.0.0.1:2399 SNAPSHOT flips`.
//!
//! SNAPSHOT is a file of `etcdctl snapshot save`; the lies are named in
//! `tests/fake_member/mod.rs`.
#[path = "../tests/fake_member/mod.rs"]
mod fake_member;

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(snapshot), Some(lie)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: fake_member ADDRESS SNAPSHOT LIE".into());
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    fake_member::serve(listener, std::fs::read(snapshot)?, lie.parse()?).await?;
    Ok(())
}
