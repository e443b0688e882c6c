//! What becomes of a snapshot when the member, its cluster or the network fails.
mod fake_member;

use std::{pin::Pin, task, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use capture::etcd::{Interrupted, StreamFacts, Wanted, stream};
use etcd::{Client, choose, survey};
use fake_member::{Lie, Member, Quorum};
use model::Reason;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, duplex},
    net::TcpListener,
    pin, select,
    task::yield_now,
    time::{advance, pause},
};

/// A database of 1.2 MB, most of it free, and its hash.
fn snapshot() -> Vec<u8> {
    let mut file = snapshot::fixture::database(2400);
    let hash = digest(&SHA256, &file);
    file.extend_from_slice(hash.as_ref());
    file
}

/// The endpoint of a member.
async fn serving(member: Member) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(member.serve(listener));
    endpoint
}

async fn streamed(lie: Lie, out: &mut (impl AsyncWrite + Unpin)) -> Result<StreamFacts, Interrupted> {
    let endpoint = serving(Member::new(snapshot(), lie)).await;
    let client = Client::connect(&endpoint, None).await.expect("a member");
    stream(client, out, Wanted::default()).await
}

#[tokio::test]
async fn a_whole_snapshot_is_passed_on_as_it_is() {
    let mut out = Vec::new();
    let facts = streamed(Lie::None, &mut out).await.expect("whole");
    assert_eq!(facts.bytes, out.len() as u64);
    assert!(out == snapshot());
}

#[rstest]
#[case::in_the_middle(Lie::Ends, Reason::SnapshotTruncated)]
#[case::in_the_middle_as_if_whole(Lie::EndsAsIfWhole, Reason::SnapshotTruncated)]
#[case::before_the_hash(Lie::EndsBeforeHash, Reason::SnapshotTruncated)]
#[case::with_an_error(Lie::Breaks, Reason::SnapshotTruncated)]
#[case::with_one_bit_turned(Lie::Flips, Reason::SnapshotDamaged)]
#[case::without_a_byte(Lie::SendsNothing, Reason::SnapshotTruncated)]
#[case::at_a_member_that_knows_none(Lie::KnowsNoSnapshots, Reason::NotEtcd)]
#[tokio::test]
async fn a_snapshot_that_ends(#[case] lie: Lie, #[case] reason: Reason) {
    let Err(Interrupted::Source(failure)) = streamed(lie, &mut Vec::new()).await else {
        panic!("it was taken for whole")
    };
    assert_eq!(failure.reason, reason, "{failure}");
}

/// Lets time pass second by second, in each of which whatever is asked can be answered.
async fn seconds(count: u32) {
    for _ in 0..count {
        advance(Duration::from_secs(1)).await;
        for _ in 0..20 {
            yield_now().await;
        }
    }
}

/// It answers when it is asked whether it lives, so that only what it does not send tells.
#[tokio::test]
async fn a_snapshot_that_hangs_in_the_middle_is_given_up_after_a_minute() {
    let half = (snapshot().len() - 32) / 2;
    let (mut reader, mut writer) = duplex(2 * half);
    let (streaming, mut read) = (streamed(Lie::Hangs, &mut writer), vec![0; half]);
    pin!(streaming);
    select! {
        _ = &mut streaming => panic!("it ended before its middle"),
        read = reader.read_exact(&mut read) => assert_eq!(read.expect("the first half comes"), half),
    }
    // Not before: a clock that stands still does not wait for a network.
    pause();
    select! {
        _ = &mut streaming => panic!("a member under load may take its time"),
        () = seconds(58) => {}
    }
    let ended = select! {
        ended = &mut streaming => ended,
        () = seconds(4) => panic!("it is still waited for"),
    };
    let Err(Interrupted::Source(failure)) = ended else { panic!("it was taken for whole") };
    assert_eq!(failure.reason, Reason::SnapshotTruncated, "{failure}");
    assert!(failure.message.contains(&format!("after {half} bytes")), "{failure}");
}

/// A pipe whose reader is gone.
struct Closed;

impl AsyncWrite for Closed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        _: &[u8],
    ) -> task::Poll<std::io::Result<usize>> {
        task::Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> task::Poll<std::io::Result<()>> {
        task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> task::Poll<std::io::Result<()>> {
        task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_fault_of_etcd() {
    assert!(matches!(streamed(Lie::None, &mut Closed).await, Err(Interrupted::Reader(_))));
}

/// One that nobody asks for a snapshot.
fn honest() -> Member {
    Member::new(Vec::new(), Lie::None)
}

#[tokio::test]
async fn a_member_is_read_from_its_answers() {
    let answers = survey(&[serving(honest()).await], None).await;
    let choice = choose(&answers).expect("a member is fit");
    let position = &choice.member.position;
    assert_eq!((position.cluster_id.as_str(), position.revision, position.raft_index), ("c1", 9, 12));
    assert_eq!((choice.member.id, choice.member.leader, choice.suspect), (0x8e, Some(0x8e), None));
}

#[rstest]
#[case::answers(&[Quorum::Kept], None, 1)]
#[case::elects_another_leader(&[Quorum::Lost, Quorum::Kept], None, 2)]
#[case::elects_another_leader_and_said_so(&[Quorum::Leaderless, Quorum::Kept], None, 1)]
#[case::does_not_answer(&[Quorum::Lost, Quorum::Lost, Quorum::Kept], Some(Reason::NoQuorum), 2)]
#[case::notices_late_that_nobody_answers(&[Quorum::Lost, Quorum::Leaderless], Some(Reason::NoQuorum), 1)]
#[tokio::test]
async fn a_member_whose_cluster(
    #[case] quorum: &'static [Quorum],
    #[case] suspect: Option<Reason>,
    #[case] questions: usize,
) {
    let member = honest().of(quorum);
    let answers = survey(&[serving(member.clone()).await], None).await;
    assert_eq!(choose(&answers).expect("it is taken all the same").suspect, suspect);
    assert_eq!(member.questions(), questions);
}

/// It may not ask, so what it says of its leader is all there is.
#[tokio::test]
async fn a_learner_is_not_asked_what_only_a_quorum_answers() {
    let member = honest().of(&[Quorum::Lost]).learning();
    let answers = survey(&[serving(member.clone()).await], None).await;
    assert_eq!(answers[0].found.as_ref().map(|found| found.leader), Ok(Some(0x8e)));
    assert_eq!(member.questions(), 0);
}
