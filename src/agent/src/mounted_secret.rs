//! A Secret that the kubelet mounted, whole and `optional`, so that what lacks can be named.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use model::{Reason, Secret, result::Failure};

/// The folder of one Secret.
pub struct MountedSecret {
    folder: PathBuf,
    field: &'static str,
}

impl MountedSecret {
    /// The Secret that the spec's `field` names, mounted at `folder`.
    ///
    /// # Errors
    ///
    /// `SecretMissing` where nothing is mounted, or a Secret that does not exist.
    pub fn open(folder: &Path, field: &'static str) -> Result<Self, Failure> {
        if !holds_a_key(folder) {
            let message = format!("the Secret does not exist or is empty ({})", folder.display());
            return Err(Failure::new(Reason::SecretMissing, message).at(field));
        }
        Ok(Self { folder: folder.to_owned(), field })
    }

    /// The file of a key.
    pub fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key)
    }

    /// The value of a key, as it is stored.
    ///
    /// # Errors
    ///
    /// `SecretKeyMissing` where it is absent, empty or no text.
    pub fn text(&self, key: &str) -> Result<Secret, Failure> {
        let lacks = |why: &str| {
            let message = format!("the Secret's key {key:?} {why}");
            Failure::new(Reason::SecretKeyMissing, message).at(self.field)
        };
        let text = fs::read_to_string(self.path(key)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => lacks("is missing"),
            io::ErrorKind::InvalidData => lacks("is not text"),
            _ => lacks(&format!("cannot be read: {error}")),
        })?;
        let text = Secret::new(text);
        if text.expose().trim().is_empty() { Err(lacks("is empty")) } else { Ok(text) }
    }

    /// The value of a key that is one line: `kubectl create secret --from-file` keeps the
    /// newline that editors add.
    pub fn line(&self, key: &str) -> Result<Secret, Failure> {
        let text = self.text(key)?;
        let line = text.expose().strip_suffix('\n').unwrap_or(text.expose());
        Ok(Secret::new(line.to_owned()))
    }
}

/// For an optional Secret that does not exist the kubelet mounts a folder with nothing but
/// its own `..data` and what that points to.
fn holds_a_key(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".."))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, value) in files {
            fs::write(folder.path().join(name), value).expect("a file");
        }
        folder
    }

    #[rstest]
    #[case::as_kept_by_an_editor("b\n", "b")]
    #[case::with_a_newline_of_its_own("c d\n\n", "c d\n")]
    #[case::without_a_newline("e", "e")]
    fn one_newline_at_the_end_is_no_part_of_a_line(#[case] stored: &str, #[case] line: &str) {
        let folder = mounted(&[("key", stored)]);
        let secret = MountedSecret::open(folder.path(), "spec.credentials").expect("a Secret");
        assert_eq!(secret.line("key").expect("a line").expose(), line);
        assert_eq!(secret.text("key").expect("a text").expose(), stored);
    }

    #[rstest]
    #[case::nothing(&[])]
    #[case::what_the_kubelet_mounts_for_none(&[("..2030_01_01", ""), ("..data", "")])]
    fn an_absent_secret_is_missing_under_its_field(#[case] files: &[(&str, &str)]) {
        let folder = mounted(files);
        for path in [folder.path().to_owned(), folder.path().join("none")] {
            let failure = MountedSecret::open(&path, "spec.etcdCreds").err().expect("absent");
            assert_eq!(
                (failure.reason, failure.field.as_deref()),
                (Reason::SecretMissing, Some("spec.etcdCreds"))
            );
        }
    }

    #[rstest]
    #[case::absent(&[("other", "a")], "is missing")]
    #[case::empty(&[("key", " \n")], "is empty")]
    fn a_missing_key_is_named(#[case] files: &[(&str, &str)], #[case] why: &str) {
        let folder = mounted(files);
        let secret = MountedSecret::open(folder.path(), "spec.credentials").expect("a Secret");
        let failure = secret.text("key").expect_err("unusable");
        assert_eq!(failure.reason, Reason::SecretKeyMissing);
        assert!(failure.message.contains("\"key\"") && failure.message.contains(why), "{}", failure.message);
    }
}
