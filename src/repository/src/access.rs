//! What is needed to reach a repository.
use std::path::PathBuf;

use model::{Secret, Store};

/// An access key that is shorter is a word like "minio", and its removal from a
/// message would take the server's name with it.
const SHORTEST_SCRUBBED_ACCESS_KEY: usize = 8;

/// The keys of the S3 server and the password of the repository.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// S3 access key.
    pub access_key: Secret,
    /// S3 secret key.
    pub secret_key: Secret,
    /// restic's password.
    pub password: Secret,
    /// Where the password came from: restic reads it there, so that it is never written again.
    pub password_file: PathBuf,
}

/// A repository and how to get at it.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where it is.
    pub store: Store,
    /// With what it opens.
    pub credentials: Credentials,
    /// A private certificate authority, trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
}

impl Credentials {
    /// Takes the values of the secrets out of a text that others wrote.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let mut secrets =
            vec![self.secret_key.expose(), self.password.expose(), self.password.expose().trim()];
        if self.access_key.expose().len() >= SHORTEST_SCRUBBED_ACCESS_KEY {
            secrets.push(self.access_key.expose());
        }
        // One may be the beginning of another: the longer goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let known = secrets.into_iter().filter(|secret| !secret.is_empty());
        known.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn credentials() -> Credentials {
        Credentials {
            access_key: Secret::new("AKIAEXAMPLEKEY".to_owned()),
            secret_key: Secret::new("s3cr3t-of-the-server".to_owned()),
            password: Secret::new("p4ssw0rd-of-the-repository".to_owned()),
            password_file: PathBuf::from("/credentials/restic_repo_password"),
        }
    }

    #[test]
    fn no_secret_is_left_in_a_scrubbed_text() {
        let text = "key AKIAEXAMPLEKEY, s3cr3t-of-the-server and p4ssw0rd-of-the-repository";
        assert_eq!(credentials().scrub(text), "key …, … and …");
        let short = Credentials { access_key: Secret::new("minio".to_owned()), ..credentials() };
        assert_eq!(short.scrub("http://minio:9000"), "http://minio:9000");
    }
}
