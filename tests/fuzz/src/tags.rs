//! Tags, as whoever may write to the repository may write them.
use jiff::Timestamp;
use model::{
    Reason,
    lineage::Position,
    result::Objects,
    tags::{Common, MARK, Second, Tags},
};

/// Reads tags, one a line: what is taken for kubedr's own is written and read again as it was.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let tags: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let Some(read) = Tags::parse(&tags) else { return };
    assert!(tags.iter().any(|tag| tag == MARK), "what has no mark is foreign");
    assert_eq!(Tags::parse(&read.render()).as_ref(), Some(&read));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let whole = tags();
    let first = Tags { second: None, ..whole.clone() };
    let mut foreign = whole.render();
    foreign.remove(0);
    [whole.render(), first.render(), foreign].map(|tags| tags.join("\n").into_bytes()).into()
}

fn tags() -> Tags {
    let common = Common {
        backup: "0123456789abcdef".parse().expect("16 digits"),
        cluster: "11111111-2222-3333-4444-555555555555".to_owned(),
        policy: "kubedr-system/test-backup".to_owned(),
        lineage: "fedcba9876543210".parse().expect("16 digits"),
        job: Some("99999999-8888-7777-6666-555555555555".to_owned()),
        until: Some(Timestamp::UNIX_EPOCH),
    };
    let position = Position {
        cluster_id: "8e4dc83ccd60bc22".to_owned(),
        revision: 1234,
        raft_index: 5678,
        raft_term: 9,
    };
    let second = Second {
        of: "ab".repeat(32).parse().expect("64 digits"),
        position,
        objects: Some(Objects { count: 42, shrunk: true }),
        incomplete: Some(Reason::EncryptionKeyMissing),
    };
    Tags { common, second: Some(second) }
}
