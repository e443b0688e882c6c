//! What is needed to reach a repository.
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use model::{Reason, Secret, Store, result::Failure};

/// File of the Secret that restic reads itself.
const PASSWORD: &str = "restic_repo_password";

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
    ///
    /// # Errors
    ///
    /// `SecretMissing` where the folder is absent or empty, `SecretKeyMissing`
    /// with the key's name where that file is absent or empty.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let entries = fs::read_dir(folder).map_err(|error| missing(folder, &error.to_string()))?;
        // The kubelet mounts an optional Secret that does not exist as a folder with nothing
        // but its own `..data` and what that points to.
        let is_key = |name: &OsStr| !name.as_encoded_bytes().starts_with(b"..");
        if !entries.flatten().any(|entry| is_key(&entry.file_name())) {
            return Err(missing(folder, "it is empty"));
        }
        Ok(Self {
            access_key: key(folder, "access_key")?,
            secret_key: key(folder, "secret_key")?,
            password: key(folder, PASSWORD)?,
            password_file: folder.join(PASSWORD),
        })
    }

    pub(crate) fn password_file(&self) -> &Path {
        &self.password_file
    }

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

fn missing(folder: &Path, why: &str) -> Failure {
    let message = format!(
        "no Secret is mounted at {}: {why}; it must hold access_key, secret_key and {PASSWORD}",
        folder.display()
    );
    Failure::new(Reason::SecretMissing, message)
}

fn key(folder: &Path, name: &str) -> Result<Secret, Failure> {
    let lacks = |why: &str| {
        Failure::new(Reason::SecretKeyMissing, format!("the Secret's key {name:?} {why}")).at(name)
    };
    let text = fs::read_to_string(folder.join(name)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => lacks("is missing"),
        io::ErrorKind::InvalidData => lacks("is not text"),
        _ => lacks(&format!("cannot be read: {error}")),
    })?;
    // `kubectl create secret --from-file` keeps the newline that editors add.
    let secret = Secret::new(text.strip_suffix('\n').unwrap_or(&text).to_owned());
    drop(Secret::new(text));
    if secret.expose().trim().is_empty() {
        return Err(lacks("is empty"));
    }
    Ok(secret)
}

#[cfg(test)]
pub(crate) mod tests {
    use rstest::rstest;

    use super::*;

    pub(crate) fn credentials() -> Credentials {
        Credentials {
            access_key: Secret::new("AKIAEXAMPLEKEY".to_owned()),
            secret_key: Secret::new("s3cr3t-of-the-server".to_owned()),
            password: Secret::new("p4ssw0rd-of-the-repository".to_owned()),
            password_file: PathBuf::from("/credentials/restic_repo_password"),
        }
    }

    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, value) in files {
            fs::write(folder.path().join(name), value).expect("a file");
        }
        folder
    }

    const WHOLE: [(&str, &str); 3] = [("access_key", "a"), ("secret_key", "b\n"), (PASSWORD, "c d\n\n")];

    #[test]
    fn one_newline_at_the_end_is_no_part_of_a_secret() {
        let folder = mounted(&WHOLE);
        let read = Credentials::read(folder.path()).expect("whole");
        assert_eq!(
            [read.access_key, read.secret_key, read.password].map(|it| it.expose().to_owned()),
            ["a", "b", "c d\n"]
        );
    }

    #[rstest]
    #[case::access_key(0, "access_key")]
    #[case::secret_key(1, "secret_key")]
    #[case::password(2, PASSWORD)]
    fn a_missing_or_empty_key_is_named(#[case] index: usize, #[case] name: &str) {
        for value in [None, Some(""), Some("\n"), Some(" \n")] {
            let mut files = WHOLE.to_vec();
            match value {
                None => drop(files.remove(index)),
                Some(value) => files[index].1 = value,
            }
            let failure = Credentials::read(mounted(&files).path()).expect_err("lacks a key");
            assert_eq!(
                (failure.reason, failure.field.as_deref()),
                (Reason::SecretKeyMissing, Some(name)),
                "{value:?}"
            );
        }
    }

    #[test]
    fn an_absent_secret_is_an_empty_or_missing_folder() {
        let folder = mounted(&[]);
        let of_the_kubelet = mounted(&[("..2030_01_01", ""), ("..data", "")]);
        for path in [folder.path().to_owned(), folder.path().join("none"), of_the_kubelet.path().to_owned()] {
            assert_eq!(Credentials::read(&path).expect_err("absent").reason, Reason::SecretMissing);
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
