//! What a location means, and what is wrong with one that the schema lets through.
use model::{Store, Violation};

use super::{BackupLocation, BackupLocationSpec, BucketLookup, CaBundle, Maintenance};
use crate::{Endpoint, names, schedule};

impl BackupLocationSpec {
    /// Where the repository is, as operator and agent share it.
    pub fn store(&self) -> Store {
        Store {
            url: self.url.trim_end_matches('/').to_owned(),
            bucket: self.bucket_name.clone(),
            prefix: self.prefix.trim_matches('/').to_owned(),
            region: self.region.clone(),
            lookup: self.bucket_lookup.into(),
        }
    }

    /// Name of the Secret that forget and prune use.
    pub fn deleting_credentials(&self) -> &str {
        self.maintenance_credentials.as_deref().unwrap_or(&self.credentials)
    }
}

impl BackupLocation {
    /// Finds everything wrong that the schema cannot say, and what an older schema let through.
    ///
    /// Admission asks this of what is written, and every reconcile of what is stored: it may have been
    /// stored while nobody asked.
    pub fn validate(&self) -> Vec<Violation> {
        let spec = &self.spec;
        let server = spec.url.parse::<Endpoint>();
        let reserved = || server.as_ref().ok().and_then(|server| reserved_flaw(server, &spec.bucket_name));
        let bucket = bucket_flaw(&spec.bucket_name)
            .or_else(reserved)
            .map(|problem| Violation::new("spec.bucketName", format!("{:?} {problem}", spec.bucket_name)));
        let url = server.as_ref().err().map(|error| Violation::new("spec.url", error.to_string()));
        let prefix = prefix_flaw(&spec.prefix)
            .map(|problem| Violation::new("spec.prefix", format!("{:?} {problem}", spec.prefix)));
        let deleting = spec.maintenance_credentials.as_deref();
        let names = [
            names::length(&self.metadata, names::MAX_LOCATION),
            names::object("spec.credentials", &spec.credentials),
            deleting.and_then(|name| names::object("spec.maintenanceCredentials", name)),
        ];
        let authority = spec.ca_bundle.as_ref().and_then(CaBundle::violation);
        let Maintenance { schedule, time_zone, .. } = &spec.maintenance;
        let schedule = schedule::violations("spec.maintenance", schedule, time_zone.as_deref());
        names.into_iter().chain([url, bucket, prefix, authority]).flatten().chain(schedule).collect()
    }
}

impl CaBundle {
    fn violation(&self) -> Option<Violation> {
        let exactly_one = self.config_map_name.is_some() != self.secret_name.is_some();
        let problem = "exactly one of configMapName and secretName must be given";
        (!exactly_one).then(|| Violation::new("spec.caBundle", problem))
    }
}

/// Names at which, and below which, Amazon's servers are.
const AMAZONS: [&str; 2] = ["amazonaws.com", "amazonaws.com.cn"];
/// Beginnings of names that Amazon keeps for itself.
const RESERVED_BEGINNINGS: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
/// Ends of such names.
const RESERVED_ENDS: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// What S3, or the library with which restic speaks to it, would refuse.
fn bucket_flaw(name: &str) -> Option<&'static str> {
    let is_outer = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_inner = |byte: u8| is_outer(&byte) || byte == b'.' || byte == b'-';
    let ends = [name.as_bytes().first(), name.as_bytes().last()];
    if !(3..=63).contains(&name.len()) {
        return Some("must have 3 to 63 characters");
    }
    if !name.bytes().all(is_inner) {
        return Some("must have lower-case letters, digits, dots and hyphens only");
    }
    if !ends.into_iter().flatten().all(is_outer) {
        return Some("must begin and end with a letter or digit");
    }
    if ["..", ".-", "-."].iter().any(|pair| name.contains(pair)) {
        return Some("must have letters or digits on both sides of a dot");
    }
    is_like_an_address(name).then_some("must not look like an IP address")
}

/// What Amazon alone would refuse: any other server may have such a bucket, and restic takes it.
fn reserved_flaw(server: &Endpoint, name: &str) -> Option<&'static str> {
    let is_reserved = RESERVED_BEGINNINGS.iter().any(|begin| name.starts_with(begin))
        || RESERVED_ENDS.iter().any(|end| name.ends_with(end));
    (is_reserved && is_amazons(server)).then_some("is of a form that Amazon keeps for itself")
}

fn is_amazons(server: &Endpoint) -> bool {
    let host = server.host().trim_end_matches('.').to_ascii_lowercase();
    let before = AMAZONS.iter().find_map(|name| host.strip_suffix(name));
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whatever the numbers are: both S3 and restic look at the form alone.
fn is_like_an_address(name: &str) -> bool {
    let mut parts = name.split('.');
    parts.clone().count() == 4 && parts.all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What restic and S3 would not understand alike: restic reads the repository's name as a URL
/// and cleans its path, so only what both leave alone is allowed.
fn prefix_flaw(prefix: &str) -> Option<&'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.=+@~-".contains(&byte);
    let parts = || prefix.strip_suffix('/').unwrap_or(prefix).split('/');
    if prefix.is_empty() {
        return None;
    }
    if prefix.len() > 512 {
        return Some("must have at most 512 characters");
    }
    if parts().any(|part| matches!(part, "" | "." | "..")) {
        return Some("must not begin with / nor have empty parts, . or ..");
    }
    let plain = parts().all(|part| part.bytes().all(is_plain));
    (!plain).then_some("must have letters, digits and _.=+@~- only")
}

impl From<BucketLookup> for model::BucketLookup {
    fn from(lookup: BucketLookup) -> Self {
        match lookup {
            BucketLookup::Auto => Self::Auto,
            BucketLookup::Path => Self::Path,
            BucketLookup::Dns => Self::Dns,
        }
    }
}
