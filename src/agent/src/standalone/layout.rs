//! What of a node is seen in the room, and where: each file at the path that it has in a pod.
use std::path::{Path, PathBuf};

use model::{
    Reason,
    environment::{
        CERTIFICATES_MOUNT, CREDENTIALS_MOUNT, ETCD_CREDENTIALS_MOUNT, HOST_MOUNT, RESULT_FILE, WORK_MOUNT,
    },
    result::Failure,
};

use super::request::Request;
use crate::secrets;

/// Where the private authority of the S3 server is.
pub const AUTHORITY: &str = "/store_ca/ca.crt";
/// Where this very program is.
pub const AGENT: &str = "/agent";
const RESTIC: &str = "/restic";

/// What programs find without being told: where nothing goes, and how names are resolved.
const SYSTEM: [&str; 4] = ["/dev/null", "/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"];
/// Where distributions keep the public authorities, in one file.
const PUBLIC_AUTHORITIES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A file or folder of the node, and where it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What the node calls it.
    pub path: PathBuf,
    /// Where it is in the room.
    pub inside: String,
    /// Whether it may be written to.
    pub is_writable: bool,
    /// Whether only a folder will do.
    pub is_folder: bool,
    /// The flag that names it.
    pub flag: &'static str,
    /// What it means if it is not there.
    pub missing: Reason,
}

impl Shown {
    fn new(path: impl Into<PathBuf>, inside: &str, (flag, missing): (&'static str, Reason)) -> Self {
        let inside = inside.to_owned();
        Self { path: path.into(), inside, is_writable: false, is_folder: false, flag, missing }
    }

    fn folder(self) -> Self {
        Self { is_folder: true, ..self }
    }

    fn writable(self) -> Self {
        Self { is_writable: true, ..self }
    }
}

/// Everything that is seen, whatever holds another before it.
///
/// `result_file` is where the result goes besides standard output, where that is asked for.
pub fn of(request: &Request, result_file: Option<&Path>) -> Result<Vec<Shown>, Failure> {
    let mut all = programs(request)?;
    all.extend(system());
    all.extend(keys(request));
    all.extend(host_files(request));
    let named = |flag| (flag, Reason::InvalidSpec);
    let work = request.work_dir.iter().map(|path| Shown::new(path, WORK_MOUNT, named("--work-dir")).folder());
    let result = result_file.iter().map(|path| Shown::new(path, RESULT_FILE, named("--result-file")));
    all.extend(work.chain(result).map(Shown::writable));
    // What is mounted first would hide what is mounted below it.
    all.sort_by_key(|shown| shown.inside.len());
    Ok(all)
}

fn programs(request: &Request) -> Result<Vec<Shown>, Failure> {
    let agent = std::env::current_exe()
        .map_err(|error| Failure::new(Reason::Bug, format!("the agent does not find itself: {error}")))?;
    let restic = request.restic.clone().or_else(|| found(&agent)).ok_or_else(|| {
        let message = format!("there is no restic beside {} nor on the PATH", agent.display());
        Failure::new(Reason::ImageBroken, message).at("--restic")
    })?;
    Ok(vec![
        Shown::new(agent, AGENT, ("--standalone", Reason::Bug)),
        Shown::new(restic, RESTIC, ("--restic", Reason::ImageBroken)),
    ])
}

fn found(agent: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = agent.with_file_name("restic");
    let on_the_path = std::env::split_paths(&path).map(|folder| folder.join("restic"));
    std::iter::once(beside).chain(on_the_path).find(|file| file.is_file())
}

fn system() -> impl Iterator<Item = Shown> {
    let there = |path: &&&str| Path::new(path).exists();
    let same = SYSTEM.iter().filter(there).map(|path| (*path, *path));
    let authorities = PUBLIC_AUTHORITIES.iter().find(there);
    let all = same.chain(authorities.map(|path| (*path, PUBLIC_AUTHORITIES[0])));
    all.map(|(path, inside)| Shown::new(path, inside, ("--standalone", Reason::MountFailed)))
}

fn keys(request: &Request) -> Vec<Shown> {
    let secret = |flag| (flag, Reason::SecretMissing);
    let mut keys =
        vec![Shown::new(&request.credentials_dir, CREDENTIALS_MOUNT, secret("--credentials-dir")).folder()];
    let authority = |file| Shown::new(file, AUTHORITY, ("--ca-file", Reason::InvalidSpec));
    keys.extend(request.ca_file.iter().map(authority));
    if request.needs_etcd_client() {
        let [certificate, key] = request.etcd_client();
        let files = [request.etcd_ca.clone(), certificate, key];
        let flags = ["--etcd-ca", "--etcd-cert", "--etcd-key"];
        let named = files.into_iter().zip(secrets::ETCD).zip(flags);
        keys.extend(named.map(|((file, key), flag)| {
            Shown::new(file, &format!("{ETCD_CREDENTIALS_MOUNT}/{key}"), secret(flag))
        }));
    }
    keys
}

fn host_files(request: &Request) -> impl Iterator<Item = Shown> {
    let missing = |flag| (flag, Reason::HostPathMissing);
    let certificates = request.certs_dir.iter();
    let certificates =
        certificates.map(move |path| Shown::new(path, CERTIFICATES_MOUNT, missing("--certs-dir")).folder());
    let others = request.extra_host_path.iter();
    let others = others
        .map(move |path| Shown::new(path, &format!("{HOST_MOUNT}{path}"), missing("--extra-host-path")));
    certificates.chain(others)
}

#[cfg(test)]
mod tests {
    use model::environment::STORE_CA_MOUNT;

    use super::*;
    use crate::standalone::request::tests::request;

    /// Where each file of a request is seen, but for those that every room has.
    fn seen(flags: &str) -> Vec<(String, String)> {
        let all = of(&request(&format!("--restic /bin/restic {flags}")), None).expect("found");
        let asked = all.into_iter().filter(|shown| shown.flag != "--standalone");
        asked.map(|shown| (shown.path.display().to_string(), shown.inside)).collect()
    }

    #[test]
    fn each_file_is_where_a_pod_has_it() {
        let flags = "--ca-file s3.crt --etcd-ca ca --etcd-cert c --etcd-key k --certs-dir /pki/ \
                     --extra-host-path /etc/enc.yaml --work-dir /var/tmp/work";
        let mut seen = seen(flags);
        seen.sort();
        let expected = [
            ("/bin/restic", "/restic"),
            ("/etc/enc.yaml", "/data/host/etc/enc.yaml"),
            ("/pki", "/data/certificates"),
            ("/var/tmp/work", "/work"),
            ("c", "/etcd_creds/client.crt"),
            ("ca", "/etcd_creds/ca.crt"),
            ("k", "/etcd_creds/client.key"),
            ("keys", "/credentials"),
            ("s3.crt", "/store_ca/ca.crt"),
        ];
        assert_eq!(seen, expected.map(|(path, inside)| (path.to_owned(), inside.to_owned())));
        assert!(AUTHORITY.starts_with(STORE_CA_MOUNT));
    }

    #[test]
    fn a_folder_is_there_before_what_lies_in_it() {
        let seen = seen("--extra-host-path /etc/kubernetes/pki --extra-host-path /etc/kubernetes");
        let host = seen.iter().filter(|(_, inside)| inside.starts_with(HOST_MOUNT));
        let host: Vec<&str> = host.map(|(path, _)| path.as_str()).collect();
        assert_eq!(host, ["/etc/kubernetes", "/etc/kubernetes/pki"]);
    }

    #[test]
    fn only_what_is_to_be_written_can_be() {
        let request = request("--restic /bin/restic --work-dir work --certs-dir /pki");
        let all = of(&request, Some(Path::new("result.json"))).expect("found");
        let writable = all.iter().filter(|shown| shown.is_writable).map(|shown| shown.inside.as_str());
        assert_eq!(writable.collect::<Vec<_>>(), [WORK_MOUNT, RESULT_FILE]);
    }

    #[test]
    fn without_tls_no_client_of_etcd_is_looked_for() {
        let seen = seen("--etcd-endpoint http://127.0.0.1:2379");
        assert!(!seen.iter().any(|(_, inside)| inside.starts_with(ETCD_CREDENTIALS_MOUNT)), "{seen:?}");
    }
}
