//! Where a repository is.
use serde::{Deserialize, Serialize};

/// How a bucket is addressed in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BucketLookup {
    /// By path for IP addresses, hosts without a dot and private servers; by host name for AWS.
    #[default]
    Auto,
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Dns,
}

impl BucketLookup {
    /// The word of `spec.bucketLookup`, and of restic's option in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "Auto",
            Self::Path => "Path",
            Self::Dns => "DNS",
        }
    }
}

/// One folder of one bucket on one S3 server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// `http` or `https` URL of the server, without path.
    pub url: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Folder in the bucket; empty for its root. No leading slash.
    pub prefix: String,
    /// Region that requests are signed for.
    pub region: String,
    /// How the bucket is addressed.
    pub lookup: BucketLookup,
}

impl Store {
    /// restic's name of the repository: `s3:<url>/<bucket>/<prefix>`.
    pub fn repository(&self) -> String {
        let base = format!("s3:{}/{}", self.url.trim_end_matches('/'), self.bucket);
        match self.prefix.trim_matches('/') {
            "" => base,
            prefix => format!("{base}/{prefix}"),
        }
    }

    /// Key of a repository file, for example `locks/` or `config`.
    pub fn key(&self, name: &str) -> String {
        match self.prefix.trim_matches('/') {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::root_of_the_bucket("http://10.96.57.3:9000", "", "s3:http://10.96.57.3:9000/b")]
    #[case::slash_at_the_end_of_the_url("https://s3/", "", "s3:https://s3/b")]
    #[case::folder("https://s3", "a/c/", "s3:https://s3/b/a/c")]
    fn repository_is_named(#[case] url: &str, #[case] prefix: &str, #[case] named: &str) {
        let store = Store {
            url: url.to_owned(),
            bucket: "b".to_owned(),
            prefix: prefix.to_owned(),
            region: "us-east-1".to_owned(),
            lookup: BucketLookup::Auto,
        };
        assert_eq!(store.repository(), named);
    }
}
