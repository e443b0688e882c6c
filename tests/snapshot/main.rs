//! What is read of an etcd snapshot, beside what etcd's own tools say of it.
use std::path::Path;

use anyhow::{Context, Result, ensure};
use kubedr_tests::{EtcdMember, Program, load::Etcd};
use serde::Deserialize;
use snapshot::{Contents, Encrypted, Tally, Unread, Walk};

const LOOPBACK: &str = "127.0.0.1";
/// Bytes that come at once; etcd sends 32 KiB.
const CHUNK: usize = 32 << 10;
/// Files that are damaged at one place each. Of 3,000 none was judged otherwise by one of both.
const DAMAGED: u64 = 200;

/// What `etcdutl snapshot status --write-out json` says.
#[derive(Debug, Deserialize, PartialEq)]
struct Status {
    revision: u64,
    #[serde(rename = "totalKey")]
    keys: u64,
    #[serde(rename = "totalSize")]
    size: u64,
}

impl Status {
    fn of(contents: &Contents) -> Self {
        Self {
            revision: contents.revision.unwrap_or_default(),
            keys: tally(contents).keys,
            size: contents.page_size * contents.pages,
        }
    }
}

fn tally(contents: &Contents) -> &Tally {
    contents.tally.as_ref().expect("few changes")
}

#[tokio::test]
async fn an_etcd_without_keys_is_read() -> Result<()> {
    let member = EtcdMember::start(LOOPBACK).await?;
    let file = member.snapshot("empty.db").await?;
    assert_eq!(agreed(&file).await?.map(|contents| tally(&contents).keys), Some(0));
    Ok(())
}

#[tokio::test]
async fn what_is_read_of_a_snapshot_is_what_etcdutl_says() -> Result<()> {
    let member = EtcdMember::start(LOOPBACK).await?;
    fill(&member).await?;
    let contents = agreed(&member.snapshot("filled.db").await?).await?.context("it is refused")?;
    assert_eq!(tally(&contents).objects["pods"], 369, "{contents:#?}");
    assert_eq!(tally(&contents).objects["certificates.cert-manager.io"], 30);
    let encrypted = Encrypted { provider: "aescbc".to_owned(), key: "key1".to_owned(), values: 5 };
    assert_eq!(tally(&contents).encryption, [encrypted]);
    assert!(contents.compacted.is_none() && contents.changes > tally(&contents).keys);
    let mut etcd = member.etcd().await?;
    etcd.compact().await?;
    etcd.put("/registry/pods/default/new", vec![b'x'; 300]).await?;
    let later = agreed(&member.snapshot("compacted.db").await?).await?.context("it is refused")?;
    assert_eq!(later.compacted, contents.revision, "what a compaction left behind counts no more");
    assert!(later.changes < contents.changes && tally(&later).objects["pods"] == 370, "{later:#?}");
    Ok(())
}

/// One bit of each file is another: mostly in what holds the tree together.
#[tokio::test]
async fn of_damaged_files_as_many_are_refused_as_etcdutl_refuses() -> Result<()> {
    let member = EtcdMember::start(LOOPBACK).await?;
    fill(&member).await?;
    let whole = std::fs::read(member.snapshot("whole.db").await?)?;
    let (mut refused, mut disagreed) = (0, Vec::new());
    for seed in 0..DAMAGED {
        let (at, file) = damaged(&whole, seed);
        let path = member.folder().join("damaged.db");
        std::fs::write(&path, file)?;
        match agreed(&path).await {
            Ok(contents) => refused += u64::from(contents.is_none()),
            Err(error) => disagreed.push(format!("byte {at} (page {}, {}): {error:#}", at / 4096, at % 4096)),
        }
    }
    ensure!(disagreed.is_empty(), "{}", disagreed.join("\n"));
    ensure!(refused > DAMAGED / 8, "only {refused} of {DAMAGED} were refused");
    Ok(())
}

/// Pods and others in many sizes, of which some are changed, and some deleted.
async fn fill(member: &EtcdMember) -> Result<()> {
    let mut etcd = member.etcd().await?;
    for number in 0..400_usize {
        let size = if number % 40 == 7 { 150_000 + number } else { 50 + number * 7 };
        etcd.put(&format!("/registry/pods/default/p{number}"), vec![b'v'; size]).await?;
    }
    for number in 0..30 {
        etcd.put(&format!("/registry/cert-manager.io/certificates/a/c{number}"), b"{}".to_vec()).await?;
    }
    for number in 0..5 {
        let value = b"k8s:enc:aescbc:v1:key1:\x01\x02\x03".to_vec();
        etcd.put(&format!("/registry/secrets/a/s{number}"), value).await?;
    }
    change(&mut etcd).await?;
    member.delete("/registry/pods/default/p1", "/registry/pods/default/p127").await
}

async fn change(etcd: &mut Etcd) -> Result<()> {
    for number in 0..1500_usize {
        etcd.put(&format!("/registry/pods/default/p{}", number % 90), vec![b'w'; 100 + number % 900]).await?;
    }
    etcd.put("compact_rev_key", b"1".to_vec()).await
}

/// What is read of a file; none where both refuse it, or we alone for elements of a page that overlap.
///
/// Those are damage that only we see: both tools read each element by itself, so that one whose length has grown into
/// the next is read with it. No writer of bbolt's files makes them.
///
/// # Errors
///
/// If one of both refuses what the other takes, or if they read something else; or if `bbolt check` refuses it.
async fn agreed(file: &Path) -> Result<Option<Contents>> {
    let (ours, theirs, checked) = (read(file)?, status(file).await?, check(file).await?);
    if let (Ok(contents), Err(why)) = (&ours, &checked) {
        anyhow::bail!("bbolt check refuses {contents:#?}: {why}");
    }
    match (ours, theirs) {
        (Err(_), Err(_)) => Ok(None),
        (Ok(contents), Ok(status)) => {
            ensure!(Status::of(&contents) == status, "{contents:#?}, etcdutl says {status:#?}");
            Ok(Some(contents))
        }
        (Ok(contents), Err(why)) => Err(anyhow::anyhow!("etcdutl refuses {contents:#?}: {why}")),
        (Err(damage), Ok(_)) if damage.to_string().contains("behind the one before it") => Ok(None),
        (Err(damage), Ok(status)) => {
            Err(anyhow::anyhow!("refused ({damage}), etcdutl says {status:#?} and bbolt check {checked:?}"))
        }
    }
}

fn read(file: &Path) -> Result<std::result::Result<Contents, Unread>> {
    let bytes = std::fs::read(file)?;
    let mut walk = Walk::new();
    bytes.chunks(CHUNK).for_each(|chunk| walk.push(chunk));
    Ok(walk.finish())
}

/// What `bbolt check` says of the pages; it knows nothing of etcd.
async fn check(file: &Path) -> Result<std::result::Result<(), String>> {
    let output = Program::new("timeout").args(["20", "bbolt", "check"]).arg(file).output().await?;
    let said = format!("{} {}", output.stdout, output.stderr);
    Ok(if output.code == Some(0) { Ok(()) } else { Err(said.lines().next().unwrap_or_default().to_owned()) })
}

async fn status(file: &Path) -> Result<std::result::Result<Status, String>> {
    // A loop in the tree keeps it busy for ever.
    let etcdutl =
        Program::new("timeout").args(["20", "etcdutl", "snapshot", "status", "--write-out", "json"]);
    let output = etcdutl.arg(file).output().await?;
    Ok(match output.code {
        Some(0) => Ok(serde_json::from_str(&output.stdout).context("no JSON")?),
        _ => Err(output.stderr.lines().next().unwrap_or_default().to_owned()),
    })
}

/// A file with another bit, and where: most often among the first bytes of a page.
fn damaged(whole: &[u8], seed: u64) -> (usize, Vec<u8>) {
    let mut file = whole.to_vec();
    let random = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let at = usize::try_from(random >> 20).unwrap_or_default() % (whole.len() - 32);
    let at = if seed.is_multiple_of(8) { at } else { at / 4096 * 4096 + at % 64 };
    // etcdutl takes memory for each page of an overflow, of which the high bits make billions.
    let at = if matches!(at % 4096, 13..16) { at - 3 } else { at };
    file[at] ^= 1 << (random >> 10 & 7);
    (at, file)
}
