//! Which certificate is in use, and what is said of one that is not taken.
use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use controllers::certificates::{Certificates, State};
use jiff::Timestamp;
use rstest::rstest;
use tempfile::TempDir;

use crate::trust::{Issued, issued};

/// Midnight of every test.
fn now() -> Timestamp {
    year(2030)
}

fn write(issued: &Issued, folder: &Path) {
    fs::write(folder.join("tls.crt"), &issued.certificate).expect("a file");
    fs::write(folder.join("tls.key"), &issued.key).expect("a file");
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// When one ends that holds to the beginning of a year.
fn year(year: i32) -> Timestamp {
    format!("{year}-01-01T00:00:00Z").parse().expect("a timestamp")
}

/// Waits until it stands so.
async fn until(certificates: &Certificates, is_so: impl Fn(&State) -> bool) -> State {
    let seen = async {
        loop {
            let state = certificates.state();
            if is_so(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("in time")
}

/// Follows a folder for as long as the runtime of the test lives.
fn following(folder: &Path) -> Certificates {
    let certificates = Certificates::default();
    let (followed, folder) = (certificates.clone(), folder.to_owned());
    tokio::spawn(async move { followed.follow(&folder, Duration::from_millis(1), now).await });
    certificates
}

fn expired(folder: &Path) {
    write(&issued(2020, 2030), folder);
}

fn of_the_future(folder: &Path) {
    write(&issued(2031, 2050), folder);
}

fn of_another_key(folder: &Path) {
    fs::write(folder.join("tls.key"), issued(2020, 2050).key).expect("a file");
}

fn half_swapped(folder: &Path) {
    fs::write(folder.join("tls.crt"), issued(2020, 2050).certificate).expect("a file");
}

fn without_key(folder: &Path) {
    fs::remove_file(folder.join("tls.key")).expect("a file");
}

fn without_certificate(folder: &Path) {
    fs::remove_file(folder.join("tls.crt")).expect("a file");
}

fn with_an_empty_certificate(folder: &Path) {
    fs::write(folder.join("tls.crt"), "").expect("a file");
}

fn with_an_empty_key(folder: &Path) {
    fs::write(folder.join("tls.key"), "").expect("a file");
}

fn cut_off(folder: &Path) {
    let whole = issued(2020, 2050).certificate;
    fs::write(folder.join("tls.crt"), &whole[..whole.len() / 2]).expect("a file");
}

fn of_nonsense(folder: &Path) {
    let nonsense = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    fs::write(folder.join("tls.crt"), nonsense).expect("a file");
}

fn gone(folder: &Path) {
    fs::remove_dir_all(folder).expect("a folder");
}

#[rstest]
#[case::that_has_expired(expired, "tls.crt has expired, at 2030-01-01T00:00:00Z")]
#[case::that_is_not_valid_yet(of_the_future, "tls.crt is not valid before 2031-01-01T00:00:00Z")]
#[case::of_another_key(of_another_key, "tls.crt is not of tls.key")]
#[case::that_is_half_swapped(half_swapped, "tls.crt is not of tls.key")]
#[case::without_its_key(without_key, "failed to read tls.key: No such file")]
#[case::without_its_certificate(without_certificate, "failed to read tls.crt: No such file")]
#[case::whose_certificate_is_empty(with_an_empty_certificate, "tls.crt has no certificate")]
#[case::whose_key_is_empty(with_an_empty_key, "tls.key is not in PEM")]
#[case::that_is_cut_off(cut_off, "tls.crt is not in PEM")]
#[case::that_is_none(of_nonsense, "tls.crt has no certificate that can be read")]
#[case::whose_folder_is_gone(gone, "failed to read tls.crt: No such file")]
#[tokio::test]
async fn a_pair_is_not_taken(#[case] spoil: fn(&Path), #[case] said: &str) {
    let folder = folder();
    write(&issued(2020, 2040), folder.path());
    let certificates = following(folder.path());
    until(&certificates, |state| state.not_after == Some(year(2040))).await;
    spoil(folder.path());
    let state =
        until(&certificates, |state| state.flaw.as_ref().is_some_and(|flaw| flaw.starts_with(said))).await;
    assert_eq!(state.not_after, Some(year(2040)), "the one before stays");
    if folder.path().exists() {
        write(&issued(2020, 2045), folder.path());
        let state = until(&certificates, |state| state.flaw.is_none()).await;
        assert_eq!(state.not_after, Some(year(2045)), "and a good one is taken again");
    }
}

/// As the kubelet shows a Secret: links to a folder that is swapped as a whole.
#[tokio::test]
async fn the_files_of_a_secret_are_seen_to_be_swapped() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let put = |version: &str, year| {
        fs::create_dir(at(version)).expect("a folder");
        write(&issued(2020, year), &at(version));
        symlink(version, at("..data_tmp")).expect("a link");
        fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
    };
    put("..1", 2040);
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), at(file)).expect("a link");
    }
    let certificates = following(folder.path());
    for version in 2..8 {
        put(&format!("..{version}"), 2040 + version);
        until(&certificates, |state| state.not_after == Some(year(2040 + version)) && state.flaw.is_none())
            .await;
    }
}

#[test]
fn one_in_use_that_ends_stays_in_use_and_is_told() {
    let (certificates, only) = (Certificates::default(), issued(2020, 2031));
    assert_eq!(certificates.state(), State::default(), "nobody can connect");
    certificates.offer(Ok(only.pair()), now());
    assert_eq!(certificates.state(), State { not_after: Some(year(2031)), flaw: None });
    certificates.offer(Ok(only.pair()), year(2032));
    let flaw = Some("tls.crt has expired, at 2031-01-01T00:00:00Z".to_owned());
    assert_eq!(certificates.state(), State { not_after: Some(year(2031)), flaw });
}

/// It may be this machine's clock that is wrong, and those who ask go by theirs.
#[rstest]
#[case::has_expired(issued(2020, 2025), 2025, "tls.crt has expired, at 2025-01-01T00:00:00Z")]
#[case::is_not_valid_yet(issued(2035, 2040), 2040, "tls.crt is not valid before 2035-01-01T00:00:00Z")]
fn any_pair_is_better_than_none_also_one_that(#[case] only: Issued, #[case] end: i32, #[case] said: &str) {
    let certificates = Certificates::default();
    certificates.offer(Ok(only.pair()), now());
    let flaw = Some(said.to_owned());
    assert_eq!(certificates.state(), State { not_after: Some(year(end)), flaw });
    certificates.offer(Ok(issued(2020, 2028).pair()), now());
    assert_eq!(certificates.state().not_after, Some(year(2028)), "the newest of those that are no good");
    certificates.offer(Ok(issued(2020, 2045).pair()), now());
    assert_eq!(certificates.state(), State { not_after: Some(year(2045)), flaw: None });
    certificates.offer(Ok(only.pair()), now());
    assert_eq!(certificates.state().not_after, Some(year(2045)), "there is a better one");
}

#[tokio::test]
async fn one_is_waited_for_until_it_is_taken_and_no_longer() {
    let certificates = Certificates::default();
    let waiting = certificates.clone();
    let waiting = tokio::spawn(async move { waiting.taken().await });
    certificates.refuse("there is none".to_owned());
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "there is none");
    certificates.offer(Ok(issued(2020, 2040).pair()), now());
    waiting.await.expect("it returns");
    certificates.offer(Ok(issued(2020, 2025).pair()), now());
    certificates.taken().await;
}
