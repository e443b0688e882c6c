//! What of Kubernetes is behind a key of etcd's.

/// Where API servers keep their objects: Kubernetes' own default, and `OpenShift`'s two.
const PREFIXES: [&str; 3] = ["/registry/", "/kubernetes.io/", "/openshift.io/"];
/// What encrypted values begin with, before the name of what encrypted them.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// Longest name of a resource that is believed, bytes.
const LONGEST: usize = 253;
/// Longest provider and name of a key that are told apart, bytes: Kubernetes has no limit.
const LONGEST_KEY: usize = 1024;
/// Provider of what is encrypted in a way that is not known.
const UNKNOWN: &str = "unknown";

/// The resource of an object, as `kubectl get` takes it: `pods`, `certificates.cert-manager.io`. None for a key that
/// is no object's.
///
/// Keys of custom resources have their group in them; those of built-in ones seldom do.
pub fn of_key(key: &[u8]) -> Option<String> {
    let key = std::str::from_utf8(key).ok()?;
    let path = PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix))?;
    let mut parts = path.split('/');
    let first = parts.next().filter(|part| !part.is_empty() && part.len() <= LONGEST)?;
    let second = parts.next().filter(|part| !part.is_empty());
    match (first, second) {
        // The API servers' own book-keeping, and `/registry/health` and the like.
        ("masterleases" | "ranges", _) | (_, None) => None,
        // Older than the names that they have today.
        ("minions", Some(_)) => Some("nodes".to_owned()),
        ("controllers", Some(_)) => Some("replicationcontrollers".to_owned()),
        ("ingress", Some(_)) => Some("ingresses".to_owned()),
        ("podsecuritypolicy", Some(_)) => Some("podsecuritypolicies".to_owned()),
        ("services", Some("endpoints")) => Some("endpoints".to_owned()),
        (group, Some(plural)) if group.contains('.') && plural.len() <= LONGEST => {
            parts.next().map(|_| format!("{plural}.{group}"))
        }
        (plural, Some(_)) => Some(plural.to_owned()),
    }
}

/// The keys under which API servers may keep an object: `namespaces/kube-system`.
pub fn stored_at(object: &str) -> impl Iterator<Item = String> {
    PREFIXES.iter().map(move |prefix| format!("{prefix}{object}"))
}

/// What encrypted a value: provider and key of the API server's configuration, as `aescbc` and `key1`. None for a value
/// that can be read.
///
/// Such a value begins with `k8s:enc:<provider>:<version>:<key>:`. One that does not go on like that cannot be read
/// either: it is of the provider [`UNKNOWN`].
pub fn encryption(value: &[u8]) -> Option<(String, String)> {
    let rest = value.strip_prefix(ENCRYPTED)?;
    let mut parts = rest[..rest.len().min(LONGEST_KEY)].split(|byte| *byte == b':');
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        // What follows the key is its end.
        (Some(provider), Some(_version), Some(key), Some(_)) => Some((text(provider), text(key))),
        _ => Some((UNKNOWN.to_owned(), String::new())),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/registry/pods/default/idle", Some("pods"))]
    #[case("/registry/namespaces/default", Some("namespaces"))]
    #[case("/registry/minions/node1", Some("nodes"))]
    #[case("/registry/controllers/default/old", Some("replicationcontrollers"))]
    #[case("/registry/services/specs/default/kubernetes", Some("services"))]
    #[case("/registry/services/endpoints/default/kubernetes", Some("endpoints"))]
    #[case("/registry/cert-manager.io/certificates/default/web", Some("certificates.cert-manager.io"))]
    #[case(
        "/registry/apiregistration.k8s.io/apiservices/v1.apps",
        Some("apiservices.apiregistration.k8s.io")
    )]
    #[case("/kubernetes.io/secrets/default/token", Some("secrets"))]
    #[case("/registry/ingress/default/web", Some("ingresses"))]
    #[case("/registry/masterleases/10.0.0.1", None)]
    #[case("/registry/ranges/serviceips", None)]
    #[case("/registry/health", None)]
    #[case("compact_rev_key", None)]
    #[case("/registry/", None)]
    fn a_key_belongs_to_a_resource(#[case] key: &str, #[case] expected: Option<&str>) {
        assert_eq!(of_key(key.as_bytes()).as_deref(), expected);
    }

    #[rstest]
    #[case::aes(b"k8s:enc:aescbc:v1:key1:\x01:\x02", Some(("aescbc", "key1")))]
    #[case::kms(b"k8s:enc:kms:v2:vault:\x01", Some(("kms", "vault")))]
    #[case::plain(b"k8s\0\n\x0c", None)]
    #[case::custom_resource(b"{\"kind\":\"X\"}", None)]
    #[case::cut_off(b"k8s:enc:aescbc", Some(("unknown", "")))]
    fn a_value_says_what_encrypted_it(#[case] value: &[u8], #[case] expected: Option<(&str, &str)>) {
        let expected = expected.map(|(provider, key)| (provider.to_owned(), key.to_owned()));
        assert_eq!(encryption(value), expected);
    }
}
