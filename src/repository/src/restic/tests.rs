use std::{fs, os::unix::fs::PermissionsExt};

use model::{BucketLookup, Store};
use rstest::rstest;

use super::{
    output::{is_message, is_new_enough, last_line, progress, version},
    *,
};
use crate::{access::tests::credentials, empty_server};

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

#[rstest]
#[case::summary(r#"{"message_type":"summary","files_new":1}"#, true)]
#[case::initialized(r#"{"message_type":"initialized","id":"x"}"#, true)]
#[case::status(r#"{"message_type":"status","percent_done":1,"current_files":["\"summary\""]}"#, false)]
#[case::text("summary", false)]
fn a_line_is_kept(#[case] line: &str, #[case] kept: bool) {
    assert_eq!(is_message(line.as_bytes()), kept);
}

#[rstest]
#[case::of_a_backup(r#"{"message_type":"status","percent_done":0,"total_files":1,"bytes_done":1048576}"#, Some(1 << 20))]
#[case::not_yet(r#"{"message_type":"status","percent_done":0}"#, None)]
#[case::its_end(r#"{"message_type":"summary","bytes_done":1048576}"#, None)]
#[case::text("status", None)]
fn a_line_says_how_far_it_is(#[case] line: &str, #[case] bytes: Option<u64>) {
    assert_eq!(progress(line.as_bytes()), bytes);
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

/// A restic that cannot read all, makes a snapshot all the same, forgets with this exit code, and notes what it is told.
async fn half_blind(work: &Path, forgets: i32) -> Restic {
    let summary = format!(r#"{{"message_type":"summary","snapshot_id":"{}"}}"#, "ab".repeat(32));
    let error = r#"{"message_type":"exit_error","code":3,"message":"Warning: at least one source file could not be read"}"#;
    let script = format!(
        "#!/bin/sh\nshift 2\necho \"$*\" >> \"$HOME/told\"\n[ \"$1\" != forget ] || exit {forgets}\n\
         echo '{summary}'\necho '{error}' >&2\nexit 3\n"
    );
    let program = work.join("restic");
    fs::write(&program, script).expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a mode");
    Restic::new(&empty_server::access().await, work).program(program)
}

#[rstest]
#[case::is_forgotten(0)]
#[case::cannot_be_forgotten(1)]
#[tokio::test]
async fn a_snapshot_of_what_could_not_all_be_read(#[case] forgets: i32) {
    let work = tempfile::tempdir().expect("a folder");
    let restic = half_blind(work.path(), forgets).await;
    let request = FilesBackup { host: "c", tags: &[], paths: &["/data".into()] };
    let failure = restic.backup_files(request).await.expect_err("a part of it is no backup");
    assert_eq!(failure.reason, Reason::FileUnreadable, "{failure}");
    assert_eq!(failure.message.contains("could not be forgotten"), forgets != 0, "{failure}");
    let told = fs::read_to_string(work.path().join("told")).expect("it was run");
    let then: Vec<&str> = told.lines().skip(1).collect();
    assert_eq!(then, [format!("forget --json --retry-lock=30s {}", "ab".repeat(32))]);
}
