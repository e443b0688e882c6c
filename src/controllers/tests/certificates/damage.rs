//! Whatever somebody made of the Secret: it is replaced, and nothing of it is told.
use std::collections::BTreeMap;

use controllers::certificates::authority::{Step, issue};
use k8s_openapi::ByteString;
use rstest::rstest;

use crate::scene::{Scene, day, start};

type Data = BTreeMap<String, ByteString>;

fn text(data: &Data, key: &str) -> String {
    String::from_utf8(data[key].0.clone()).expect("text")
}

fn put(data: &mut Data, key: &str, value: impl Into<Vec<u8>>) {
    data.insert(key.to_owned(), ByteString(value.into()));
}

fn without_certificate(data: &mut Data) {
    data.remove("tls.crt");
}

fn without_key(data: &mut Data) {
    data.remove("tls.key");
}

fn without_authorities(data: &mut Data) {
    data.remove("ca.crt");
}

fn of_another_authority(data: &mut Data) {
    put(data, "ca.crt", text(&Scene::first().data(), "ca.crt"));
}

fn of_another_key(data: &mut Data) {
    put(data, "tls.key", text(&Scene::first().data(), "tls.key"));
}

fn swapped(data: &mut Data) {
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| text(data, name));
    put(data, "tls.crt", key);
    put(data, "tls.key", certificate);
}

fn cut_off(data: &mut Data) {
    let key = text(data, "tls.key");
    put(data, "tls.key", &key[..key.len() / 2]);
}

fn in_one_line(data: &mut Data) {
    let key = text(data, "tls.key").replace('\n', "");
    put(data, "tls.key", key);
}

fn in_one_line_and_open(data: &mut Data) {
    let key = text(data, "tls.key").replace('\n', "");
    put(data, "tls.key", format!("{}=", key.trim_end_matches('-')));
}

fn of_no_text(data: &mut Data) {
    put(data, "tls.crt", [0xff, 0, 0xfe]);
}

fn of_another_service(data: &mut Data) {
    let mut elsewhere = Scene::empty();
    elsewhere.namespace = "elsewhere";
    *data = elsewhere.done(Step::Anew).data();
}

#[rstest]
#[case::that_lacks_its_certificate(without_certificate, "tls.crt has no certificate")]
#[case::that_lacks_its_key(without_key, "tls.key is not in PEM")]
#[case::that_lacks_its_authority(without_authorities, "no authority of the Secret vouches for the pair")]
#[case::of_another_authority(of_another_authority, "no authority of the Secret vouches for the pair")]
#[case::of_another_key(of_another_key, "tls.crt is not of tls.key")]
#[case::that_is_swapped(swapped, "is not in PEM")]
#[case::that_is_cut_off(cut_off, "tls.key is not in PEM")]
#[case::that_is_in_one_line(in_one_line, "tls.key is not in PEM")]
#[case::that_is_in_one_line_and_open(in_one_line_and_open, "tls.key is not in PEM")]
#[case::that_is_no_text(of_no_text, "tls.crt has no certificate")]
#[case::of_another_service(of_another_service, "no authority of the Secret vouches for the pair")]
fn a_pair_is_replaced(#[case] damage: fn(&mut Data), #[case] why: &str) {
    let sound = Scene::first();
    let key = text(&sound.data(), "tls.key");
    let damaged = sound.with(damage);
    let decision = damaged.decision();
    assert_eq!((decision.step, decision.is_mishap), (Step::Anew, true), "{}", decision.why);
    assert!(decision.why.contains(why), "{}", decision.why);
    tells_nothing(&format!("{damaged:?} {decision:?}", damaged = damaged.stored), &key);
    let replaced = damaged.done(Step::Anew).told();
    assert_eq!(replaced.decision().step, Step::Rest);
}

/// Neither as text nor as the numbers of its bytes. Its first line says only what kind of key it is.
fn tells_nothing(said: &str, key: &str) {
    let piece = &key.lines().nth(2).expect("the middle of a key")[..20];
    let numbers = format!("{:?}", piece.as_bytes());
    assert!(!said.contains(piece) && !said.contains(numbers.trim_matches(['[', ']'])), "{said}");
}

#[rstest]
#[case::is_withdrawn(day(100), Step::Withdraw)]
#[case::is_replaced_where_one_is_needed(day(250), Step::Begin)]
fn a_next_pair_that_is_damaged(#[case] now: jiff::Timestamp, #[case] expected: Step) {
    for damage in ["next.key", "next.crt"] {
        let damaged = Scene::begun().with(|data| drop(data.remove(damage))).at(now);
        assert_eq!(
            (damaged.decision().step, damaged.decision().is_mishap),
            (expected, expected == Step::Withdraw)
        );
        let mended = damaged.done(expected).told().unchanged_for(300);
        assert_ne!(mended.decision().step, expected, "it is mended");
    }
}

/// Whoever put a key there by mistake would have it told to everybody who may read webhooks.
#[test]
fn what_is_beside_the_authorities_is_not_told_to_api_servers_and_goes() {
    let scene = Scene::first();
    let key = text(&scene.data(), "tls.key");
    let pasted = scene.with(|data| {
        let both = text(data, "ca.crt") + &text(data, "tls.key");
        put(data, "ca.crt", both);
    });
    tells_nothing(&pasted.stored.bundle().to_pem(), &key);
    assert_eq!(pasted.decision().step, Step::Trim);
    let trimmed = pasted.done(Step::Trim);
    assert_eq!(trimmed.decision().step, Step::Rest);
    tells_nothing(&text(&trimmed.data(), "ca.crt"), &key);
}

#[test]
fn nothing_of_what_is_stored_or_made_is_printed() {
    let begun = Scene::begun();
    let issued = issue("n", start()).expect("a pair");
    let said = format!("{:?} {:?} {issued:?}", begun.stored, begun.decision());
    for key in ["tls.key", "next.key"] {
        tells_nothing(&said, &text(&begun.data(), key));
    }
    tells_nothing(&said, issued.pair.key.expose());
}
