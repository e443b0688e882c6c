use std::os::unix::fs::PermissionsExt;

use rstest::rstest;

use model::{BucketLookup, Store};

use super::{
    output::{damaged, is_message, is_new_enough, last_line, parse, snapshot_id, version},
    *,
};
use crate::access::tests::credentials;

fn access() -> Access {
    let store = Store {
        url: "http://127.0.0.1:9000".to_owned(),
        bucket: "backups".to_owned(),
        prefix: "prod".to_owned(),
        region: "eu-central-1".to_owned(),
        lookup: BucketLookup::Auto,
    };
    Access { store, credentials: credentials(), ca_file: Some(PathBuf::from("/store_ca/ca.crt")) }
}

fn texts(arguments: &[OsString]) -> Vec<&str> {
    arguments.iter().map(|argument| argument.to_str().expect("text")).collect()
}

fn tags() -> Vec<String> {
    vec!["kubedr".to_owned(), "backup:0123456789abcdef".to_owned()]
}

#[test]
fn a_stream_is_backed_up_with() {
    let command = ["/agent", "stream", "--node=a b"].map(str::to_owned);
    let request =
        StreamBackup { host: "cluster", tags: &tags(), file: "/data/etcd-snapshot.db", command: &command };
    let expected = [
        "backup",
        "--json",
        "--force",
        "--retry-lock=5m",
        "--host=cluster",
        "--tag=kubedr",
        "--tag=backup:0123456789abcdef",
        "--compression=fastest",
        "--stdin-filename=/data/etcd-snapshot.db",
        "--stdin-from-command",
        "--",
        "/agent",
        "stream",
        "--node=a b",
    ];
    assert_eq!(texts(&arguments::stream(&request)), expected);
}

#[test]
fn files_are_backed_up_with() {
    // A path that looks like a flag is still a path.
    let paths = ["/data/certificates", "--password-command=x"].map(PathBuf::from);
    let request = FilesBackup { host: "cluster", tags: &tags(), paths: &paths };
    let told = arguments::files(&request);
    assert_eq!(texts(&told)[7..], ["--", "/data/certificates", "--password-command=x"]);
}

#[test]
fn no_secret_is_in_an_argument() {
    let restic = Restic::new(&access(), Path::new("/work"));
    let command = restic.command(arguments::files(&FilesBackup { host: "c", tags: &tags(), paths: &[] }));
    let secrets = credentials();
    for argument in command.as_std().get_args() {
        let argument = argument.to_str().expect("text");
        assert_eq!(secrets.scrub(argument), argument);
    }
}

#[test]
fn the_environment_is_ours_alone() {
    let restic = Restic::new(&access(), Path::new("/work"));
    let command = restic.command(Vec::new());
    let mut names: Vec<_> = command.as_std().get_envs().filter_map(|(name, _)| name.to_str()).collect();
    names.retain(|name| !INHERITED.contains(name));
    names.sort_unstable();
    let expected = [
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "GOMAXPROCS",
        "HOME",
        "RESTIC_CACHE_DIR",
        "RESTIC_PASSWORD_FILE",
        "RESTIC_PROGRESS_FPS",
        "RESTIC_REPOSITORY",
        "SSL_CERT_FILE",
        "TMPDIR",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_is_handed_on_is_in_the_environment_beside_ours() {
    let handed_on =
        vec![("KUBEDR_ETCD_CREDENTIALS_SECRET", "etcd-creds".to_owned()), ("HOME", "/".to_owned())];
    let restic = Restic::new(&access(), Path::new("/work")).handing_on(handed_on);
    let command = restic.command(Vec::new());
    let value = |wanted: &str| {
        let found = command.as_std().get_envs().find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| value?.to_str().map(str::to_owned))
    };
    assert_eq!(value("KUBEDR_ETCD_CREDENTIALS_SECRET").as_deref(), Some("etcd-creds"));
    assert_eq!(value("HOME").as_deref(), Some("/work"), "ours counts");
}

#[rstest]
#[case::json(
    r#"{"message_type":"version","version":"0.19.1","go_version":"go1.26.8"}"#,
    Some("0.19.1"),
    true
)]
#[case::text("restic 0.18.1 compiled with go1.24.1 on linux/amd64", Some("0.18.1"), false)]
#[case::first_that_will_do("restic 0.19.0 compiled", Some("0.19.0"), true)]
#[case::development("restic 0.19.1-dev (compiled manually) compiled", Some("0.19.1-dev"), true)]
#[case::next_major("restic 1.0.0 compiled", Some("1.0.0"), true)]
#[case::something_else("bash 5.2", None, false)]
fn a_version_is_read(#[case] text: &str, #[case] expected: Option<&str>, #[case] fits: bool) {
    let found = version(text);
    assert_eq!(found.as_deref(), expected);
    assert_eq!(found.is_some_and(|version| is_new_enough(&version)), fits);
}

#[test]
fn a_listing_of_restic_is_read() {
    let json = r#"[{"time":"2026-11-21T11:18:37.079528465+01:00","tree":"d78fa8776f89af33096ff2689e6e9000b50b6bf3199466c7fc2c1c99ddf584f2","paths":["/data/etcd-snapshot.db"],"hostname":"h","username":"root","tags":["kubedr","a:b","c"],"program_version":"restic 0.19.1","summary":{"backup_start":"2026-11-21T10:18:37.079528465Z","backup_end":"2026-11-21T10:18:38.058485752Z","files_new":1,"data_added":3000789,"total_bytes_processed":3000000},"id":"646c7d1cf0a7b62b78ee7ecae74dee9931dd91be717b02038a80c1a6794c0011","short_id":"646c7d1c"},
        {"time":"2015-01-02T18:10:50.895208559+01:00","tree":"2da81727b6585232894cfbb8f8bdab8d1eccd3d8f7c92bc934d62e62e618ffdf","paths":["/x"],"id":"abababababababababababababababababababababababababababababababab"}]"#;
    let listed: Vec<Snapshot> = parse("snapshots", json.as_bytes()).expect("as restic writes it");
    assert_eq!(listed[0].time.to_string(), "2026-11-21T10:18:37.079528465Z");
    assert_eq!(listed[0].tags, ["kubedr", "a:b", "c"]);
    assert_eq!(listed[0].summary.as_ref().map(|it| it.data_added), Some(3_000_789));
    assert_eq!(listed[1].summary, None);
}

fn listing(listed: &str, unreadable: &str) -> Listing {
    let json = format!(r#"[{{"time":"2026-11-21T11:18:37Z","id":"{}"}}]"#, listed.repeat(64));
    let snapshots = parse("snapshots", json.as_bytes()).expect("as restic writes it");
    Listing { snapshots, unreadable: vec![unreadable.repeat(64)] }
}

#[test]
fn a_snapshot_that_restic_left_out_without_a_word_is_found_in_the_bucket() {
    let stored = ["a", "b", "c"].map(|digit| digit.repeat(64)).to_vec();
    assert_eq!(listing("a", "b").lacks(stored), ["c".repeat(64)]);
    assert_eq!(listing("a", "b").lacks(vec!["a".repeat(64)]), Vec::<String>::new());
}

#[test]
fn only_what_has_the_name_of_a_snapshot_is_one() {
    let id = "0f".repeat(32);
    assert_eq!(snapshot_id(&format!("snapshots/{id}")), Some(id.clone()));
    for name in [format!("index/{id}"), "snapshots/.tmp".to_owned(), format!("snapshots/{id}.bak")] {
        assert_eq!(snapshot_id(&name), None);
    }
}

#[test]
fn snapshots_that_cannot_be_read_are_named_as_damage() {
    let failure = damaged(&vec!["0f".repeat(32); 100]);
    assert_eq!(failure.reason, Reason::RepositoryDamaged);
    assert!(failure.message.starts_with("100 snapshots cannot be read: 0f0f"), "{failure}");
    assert!(failure.message.len() < 1000 && failure.message.ends_with(Reason::RepositoryDamaged.advice()));
}

#[tokio::test]
async fn a_listing_that_failed_is_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("restic");
    let script = "#!/bin/sh\necho '[]'; echo 'could not load snapshots: Access Denied.' >&2\n";
    std::fs::write(&program, script).expect("a script");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("a mode");
    let restic = Restic::new(&access(), folder.path()).program(program);
    assert_eq!(restic.listing().await.expect_err("failed").reason, Reason::AccessDenied);
}

#[rstest]
#[case::summary(r#"{"message_type":"summary","files_new":1}"#, true)]
#[case::initialized(r#"{"message_type":"initialized","id":"x"}"#, true)]
#[case::status(r#"{"message_type":"status","percent_done":1,"current_files":["\"summary\""]}"#, false)]
#[case::text("summary", false)]
fn a_line_is_kept(#[case] line: &str, #[case] kept: bool) {
    assert_eq!(is_message(line.as_bytes()), kept);
}

#[test]
fn the_last_summary_counts() {
    assert_eq!(last_line(b"a\nb\n"), b"b");
    assert_eq!(last_line(b""), b"");
}

#[tokio::test]
async fn a_missing_restic_is_a_broken_image() {
    let restic =
        Restic::new(&access(), Path::new("/nonexistent")).program(PathBuf::from("/nonexistent/restic"));
    assert_eq!(restic.version().await.expect_err("missing").reason, Reason::ImageBroken);
}
