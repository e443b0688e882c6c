//! A Secret that the kubelet mounted, whole and `optional`, so that what lacks can be named; or the files that are
//! in its place where there is no kubelet.
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use model::{Reason, Secret, result::Failure};

/// Where a Secret is mounted, and what it is called by those who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is called.
    pub name: Name,
    /// Field of the spec that names it, or flag; none where it may be one of several.
    pub field: Option<&'static str>,
    /// The keys that it needs.
    pub keys: &'static [&'static str],
}

/// What those call a Secret who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// By its name, which the operator told.
    Secret(String),
    /// Nobody told its name.
    Untold,
    /// It is none: these are the files of a node that flags name.
    Files(&'static str),
}

impl Name {
    /// The name of a Secret, where one was told.
    pub fn of_secret(&self) -> Option<&str> {
        match self {
            Self::Secret(name) => Some(name),
            Self::Untold | Self::Files(_) => None,
        }
    }
}

/// A Secret that is there.
pub struct MountedSecret<'a>(&'a Mount);

impl Mount {
    /// Looks whether there is a Secret.
    ///
    /// # Errors
    ///
    /// `SecretMissing` where nothing is mounted, or a Secret that does not exist.
    pub fn open(&self) -> Result<MountedSecret<'_>, Failure> {
        if holds_a_key(&self.folder) {
            Ok(MountedSecret(self))
        } else {
            let is_secret = !matches!(self.name, Name::Files(_));
            let what =
                if is_secret { "does not exist in this namespace or is empty" } else { "holds no file" };
            Err(self.failure(Reason::SecretMissing, what))
        }
    }

    /// The same failure, with the Secret that mends it and the field that names that Secret.
    pub fn blamed(&self, failure: Failure) -> Failure {
        let Failure { reason, message, field } = failure;
        let field = field.or_else(|| self.field.map(str::to_owned));
        Failure { reason, message: format!("{self}: {message}"), field }
    }

    fn failure(&self, reason: Reason, what: &str) -> Failure {
        let message = format!("{self} {what}; it needs {}", listed(self.keys));
        Failure { reason, message, field: self.field.map(str::to_owned) }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Secret(name) => write!(formatter, "Secret {name:?}"),
            Name::Files(name) => formatter.write_str(name),
            Name::Untold => write!(formatter, "the Secret mounted at {}", self.folder.display()),
        }
    }
}

impl MountedSecret<'_> {
    /// The file of a key.
    pub fn path(&self, key: &str) -> PathBuf {
        self.0.folder.join(key)
    }

    /// The value of a key, as it is stored.
    ///
    /// # Errors
    ///
    /// `SecretKeyMissing` where it is absent, empty or no text.
    pub fn text(&self, key: &str) -> Result<Secret, Failure> {
        let lacks = |what: &str| self.0.failure(Reason::SecretKeyMissing, what);
        let text = fs::read_to_string(self.path(key)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => lacks(&format!("has no key {key:?}")),
            io::ErrorKind::InvalidData => lacks(&format!("has a key {key:?} that is not text")),
            _ => lacks(&format!("has a key {key:?} that cannot be read ({error})")),
        })?;
        let text = Secret::new(text);
        if text.expose().trim().is_empty() {
            return Err(lacks(&format!("has nothing in its key {key:?}")));
        }
        Ok(text)
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

/// `a, b and c`.
fn listed(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        words => words.concat(),
    }
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

    fn mount(folder: &Path) -> Mount {
        Mount {
            folder: folder.to_owned(),
            name: Name::Secret("etcd-creds".to_owned()),
            field: Some("spec.etcdCreds"),
            keys: &["ca.crt", "client.crt", "client.key"],
        }
    }

    #[rstest]
    #[case::as_kept_by_an_editor("b\n", "b")]
    #[case::with_a_newline_of_its_own("c d\n\n", "c d\n")]
    #[case::without_a_newline("e", "e")]
    fn one_newline_at_the_end_is_no_part_of_a_line(#[case] stored: &str, #[case] line: &str) {
        let folder = mounted(&[("key", stored)]);
        let mount = mount(folder.path());
        let secret = mount.open().expect("a Secret");
        assert_eq!(secret.line("key").expect("a line").expose(), line);
        assert_eq!(secret.text("key").expect("a text").expose(), stored);
    }

    #[rstest]
    #[case::nothing(&[])]
    #[case::what_the_kubelet_mounts_for_none(&[("..2030_01_01", ""), ("..data", "")])]
    fn an_absent_secret_is_named_with_its_field_and_keys(#[case] files: &[(&str, &str)]) {
        let folder = mounted(files);
        for path in [folder.path().to_owned(), folder.path().join("none")] {
            let failure = mount(&path).open().err().expect("absent");
            let message = "Secret \"etcd-creds\" does not exist in this namespace or is empty; \
                           it needs ca.crt, client.crt and client.key";
            assert_eq!(failure, Failure::new(Reason::SecretMissing, message).at("spec.etcdCreds"));
        }
    }

    #[rstest]
    #[case::absent(&[("ca.crt", "a")], "has no key \"client.key\"")]
    #[case::empty(&[("client.key", " \n")], "has nothing in its key \"client.key\"")]
    fn a_missing_key_is_named_with_all_that_are_needed(#[case] files: &[(&str, &str)], #[case] what: &str) {
        let folder = mounted(files);
        let failure =
            mount(folder.path()).open().expect("a Secret").text("client.key").expect_err("unusable");
        let message = format!("Secret \"etcd-creds\" {what}; it needs ca.crt, client.crt and client.key");
        assert_eq!(failure, Failure::new(Reason::SecretKeyMissing, message).at("spec.etcdCreds"));
    }

    #[test]
    fn a_secret_whose_name_nobody_told_is_named_by_its_mount() {
        let nameless = Mount { name: Name::Untold, field: None, ..mount(Path::new("/credentials")) };
        let failure = nameless.open().err().expect("absent");
        assert!(failure.message.starts_with("the Secret mounted at /credentials does not"), "{failure}");
        assert_eq!(failure.field, None);
    }

    #[test]
    fn on_a_bare_node_nobody_is_sent_to_look_for_a_secret() {
        let folder = mounted(&[]);
        let files = Mount { name: Name::Files("the folder of --credentials-dir"), ..mount(folder.path()) };
        let failure = files.open().err().expect("empty");
        assert!(
            failure.message.starts_with("the folder of --credentials-dir holds no file; it"),
            "{failure}"
        );
    }

    #[rstest]
    #[case::one(&["a"], "a")]
    #[case::two(&["a", "b"], "a and b")]
    #[case::three(&["a", "b", "c"], "a, b and c")]
    fn keys_are_listed_as_in_a_sentence(#[case] keys: &[&str], #[case] text: &str) {
        assert_eq!(listed(keys), text);
    }
}
