//! Keys that API servers encrypt objects with, looked for among the captured files.
//!
//! Only their names are read: what a file is, no path tells, since each distribution has its own.
use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};

use serde::Deserialize;

use super::{Entry, open};

/// Largest file that is taken for a configuration, bytes: the API server's own have some hundreds.
const LARGEST: u64 = 1 << 20;
/// In the kind of each version: `EncryptionConfiguration`, and `EncryptionConfig` before Kubernetes 1.13.
const MARK: &[u8] = b"EncryptionConfig";

/// A key by its provider and name, as `aescbc` and `key1`.
pub type KeyName = (String, String);

/// The keys in every encryption configuration of an API server among `entries`, each with the paths of the files that have
/// it, in the order of `entries`.
///
/// Blocks: call it where that is allowed. A file that cannot be read as one holds no keys, and neither does what was
/// replaced since it was listed: whether it is stored as it was listed shows when all is read again.
pub fn encryption_keys(entries: &[Entry]) -> BTreeMap<KeyName, Vec<String>> {
    let mut keys = BTreeMap::<KeyName, Vec<String>>::new();
    for Entry { path, .. } in entries.iter().filter(|entry| entry.size.is_some_and(|size| size <= LARGEST)) {
        let text = read(Path::new(path)).ok().filter(|text| holds(text, MARK));
        for key in text.iter().flat_map(|text| named(text)) {
            keys.entry(key).or_default().push(path.clone());
        }
    }
    keys
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open(path)?.take(LARGEST).read_to_end(&mut text)?;
    Ok(text)
}

fn holds(text: &[u8], mark: &[u8]) -> bool {
    text.windows(mark.len()).any(|part| part == mark)
}

/// As much of <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/> as names keys.
#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    resources: Vec<Resources>,
}

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    providers: Vec<Provider>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Provider {
    aescbc: Option<Keys>,
    aesgcm: Option<Keys>,
    secretbox: Option<Keys>,
}

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    name: String,
    /// A key without it is none; it is not kept.
    #[serde(rename = "secret")]
    _secret: serde::de::IgnoredAny,
}

fn named(text: &[u8]) -> Vec<KeyName> {
    // Why it cannot be read would repeat what is in it, keys too.
    let Ok(configuration) = serde_saphyr::from_slice::<Configuration>(text) else { return Vec::new() };
    let providers = configuration.resources.into_iter().flat_map(|resources| resources.providers);
    providers.flat_map(of_provider).collect()
}

fn of_provider(provider: Provider) -> Vec<KeyName> {
    let Provider { aescbc, aesgcm, secretbox } = provider;
    let kinds = [("aescbc", aescbc), ("aesgcm", aesgcm), ("secretbox", secretbox)];
    let keys = kinds.into_iter().filter_map(|(kind, keys)| Some((kind, keys?.keys)));
    keys.flat_map(|(kind, keys)| keys.into_iter().map(move |key| (kind.to_owned(), key.name))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;

    use super::*;
    use crate::files::{MOST, walk};

    const YAML: &str = "\
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets, configmaps]
    providers:
      - aescbc:
          keys:
            - name: key2
              secret: c2VjcmV0IGlzIHNlY3VyZSwgb3IgaXMgaXQ/Cg==
            - {name: key1, secret: c2VjcmV0IGlzIHNlY3VyZQ==}
      - kms: {apiVersion: v2, name: vault, endpoint: unix:///tmp/kms.sock}
      - identity: {}
  - resources: ['*.*']
    providers:
      - secretbox: {keys: [{name: box, secret: YWJj}]}
";
    const JSON: &str = r#"{"kind":"EncryptionConfiguration","resources":[{"resources":["secrets"],"providers":
        [{"aesgcm":{"keys":[{"name":"key1","secret":"YWJj"}]}},{"identity":{}}]}]}"#;

    /// What is found in one file with this text.
    fn found(text: &[u8]) -> Vec<KeyName> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("any-name"), text).expect("a file");
        let entries = walk(&[folder.path().to_owned()], MOST).expect("readable");
        encryption_keys(&entries).into_keys().collect()
    }

    #[rstest]
    #[case::as_kubernetes_documents_it(YAML, &[("aescbc", "key1"), ("aescbc", "key2"), ("secretbox", "box")])]
    #[case::as_k3s_writes_it(JSON, &[("aesgcm", "key1")])]
    #[case::of_another_kind("kind: Config\nresources: []\n", &[])]
    #[case::that_only_mentions_it("# see EncryptionConfiguration\n- a\n", &[])]
    #[case::with_a_key_that_is_only_a_name("kind: EncryptionConfig\nresources: [{providers: [{aescbc: {keys: [{name: a}]}}]}]", &[])]
    #[case::that_is_no_yaml("EncryptionConfiguration: [", &[])]
    fn keys_are_found_in_a_file(#[case] text: &str, #[case] expected: &[(&str, &str)]) {
        let expected: Vec<KeyName> =
            expected.iter().map(|(provider, key)| ((*provider).to_owned(), (*key).to_owned())).collect();
        assert_eq!(found(text.as_bytes()), expected);
    }

    #[test]
    fn a_key_is_known_by_each_file_that_has_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in [("a", JSON), ("b", JSON), ("c", YAML)] {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let entries = walk(&[folder.path().to_owned()], MOST).expect("readable");
        let keys = encryption_keys(&entries);
        let files = |provider: &str, key: &str| {
            let files = keys.get(&(provider.to_owned(), key.to_owned())).into_iter().flatten();
            files.filter_map(|file| Path::new(file).file_name()?.to_str()).collect::<Vec<_>>()
        };
        assert_eq!((files("aesgcm", "key1"), files("secretbox", "box")), (vec!["a", "b"], vec!["c"]));
    }

    #[test]
    fn a_file_that_is_far_too_large_is_not_looked_into() {
        let large = format!("{YAML}#{}", " ".repeat(1 << 20));
        assert_eq!(found(large.as_bytes()), []);
    }

    #[test]
    fn what_became_a_link_since_is_not_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("enc.yaml");
        fs::write(&path, YAML).expect("a file");
        let entries = walk(&[folder.path().to_owned()], MOST).expect("readable");
        fs::rename(&path, folder.path().join("moved")).expect("moved");
        std::os::unix::fs::symlink("moved", &path).expect("a link");
        assert!(encryption_keys(&entries).is_empty());
    }
}
