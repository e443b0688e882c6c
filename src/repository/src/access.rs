//! What is needed to reach a repository.
use std::path::{Path, PathBuf};

use model::{Secret, Store, result::Failure};

/// The keys of the S3 server and the password of the repository.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// S3 access key.
    pub access_key: Secret,
    /// S3 secret key.
    pub secret_key: Secret,
    /// restic's password.
    pub password: Secret,
    /// Where the password was read from: restic reads it there too.
    password_file: PathBuf,
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
    /// Reads the three keys of a mounted Secret.
    pub fn read(_folder: &Path) -> Result<Self, Failure> {
        todo!()
    }
}
