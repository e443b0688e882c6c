//! Paths of the node that a pod may be shown.
use model::Violation;

/// Folders of the node that backups may read from: all below them, nothing beside them.
///
/// A host path is read as the node's root, so the list is a flag of the operator and
/// nothing in the cluster changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHostPaths(Vec<String>);

impl AllowedHostPaths {
    /// The list where no flag says otherwise: where the usual distributions keep certificates.
    pub const DEFAULT: &[&str] = &[
        "/etc/kubernetes",
        "/var/lib/minikube/certs",
        "/var/lib/rancher",
        "/var/lib/k0s/pki",
        "/etc/etcd",
        "/system/secrets",
    ];

    /// A list of the given folders.
    ///
    /// # Errors
    ///
    /// What is wrong with the first one that is not absolute and clean.
    pub fn new<Path: AsRef<str>>(paths: impl IntoIterator<Item = Path>) -> Result<Self, Violation> {
        let checked = paths.into_iter().map(|path| {
            let path = path.as_ref();
            match flaw(path) {
                Some(problem) => Err(Violation::new("--allowed-host-path", problem)),
                None => Ok(path.trim_end_matches('/').to_owned()),
            }
        });
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a clean path is one of the list or lies below one.
    ///
    /// Compared by component: `/etc/kubernetes-old` is not below `/etc/kubernetes`.
    fn allow(&self, path: &str) -> bool {
        self.0.iter().any(|root| {
            path.strip_prefix(root.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Finds what is wrong with the path that stands at `field`.
    pub(crate) fn judge(&self, field: &str, path: &str) -> Option<Violation> {
        if let Some(problem) = flaw(path) {
            return Some(Violation::new(field, problem));
        }
        let outside = !self.allow(path.trim_end_matches('/'));
        outside.then(|| Violation::new(field, format!("{path:?} is not under an allowed host path: {self}")))
    }
}

impl Default for AllowedHostPaths {
    fn default() -> Self {
        Self(Self::DEFAULT.iter().map(|path| (*path).to_owned()).collect())
    }
}

impl std::fmt::Display for AllowedHostPaths {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.join(", "))
    }
}

/// What keeps a path from meaning exactly one place: a reader must see where it leads without
/// resolving it. One slash at the end is harmless, and upstream accepted it.
pub(crate) fn flaw(path: &str) -> Option<String> {
    let problem = match path.strip_prefix('/') {
        None => Some("must be absolute"),
        Some(rest) => relative_flaw(rest.strip_suffix('/').unwrap_or(rest)),
    };
    problem.map(|problem| format!("{path:?} {problem}"))
}

/// What keeps a path without its leading slash from being clean.
pub(crate) fn relative_flaw(path: &str) -> Option<&'static str> {
    let mut parts = path.split('/');
    if path.is_empty() {
        return Some("must name a file or folder");
    }
    if path.contains(':') || path.chars().any(char::is_control) {
        return Some("must not have colons or control characters");
    }
    if path.len() > 1024 {
        return Some("must have at most 1024 bytes");
    }
    parts.any(|part| matches!(part, "" | "." | "..")).then_some("must not have empty parts, . or ..")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_listed_folder("/etc/kubernetes", true)]
    #[case::below_one("/etc/kubernetes/pki/etcd", true)]
    #[case::slash_at_the_end("/var/lib/minikube/certs/", true)]
    #[case::name_with_dots("/etc/kubernetes/..data", true)]
    #[case::beside_one("/etc/kubernetes-old", false)]
    #[case::above_one("/etc", false)]
    #[case::root("/", false)]
    #[case::climbs_out("/etc/kubernetes/../shadow", false)]
    #[case::ends_with_two_dots("/etc/kubernetes/..", false)]
    #[case::ends_with_a_dot("/etc/kubernetes/.", false)]
    #[case::two_slashes("/etc/kubernetes//pki", false)]
    #[case::two_slashes_at_the_end("/etc/kubernetes//", false)]
    #[case::begins_with_two_slashes("//etc/kubernetes", false)]
    #[case::relative("etc/kubernetes", false)]
    #[case::nothing("", false)]
    #[case::colon("/etc/kubernetes/a:b", false)]
    #[case::line_break("/etc/kubernetes/a\nb", false)]
    #[case::nul("/etc/kubernetes/a\0b", false)]
    fn default_list(#[case] path: &str, #[case] allowed: bool) {
        let found = AllowedHostPaths::default().judge("spec.certsDir", path);
        assert_eq!(found.is_none(), allowed, "{found:?}");
    }

    #[test]
    fn a_list_may_hold_the_root_only_if_it_is_asked_for_folder_by_folder() {
        AllowedHostPaths::new(["/"]).expect_err("the root is no folder to allow");
        AllowedHostPaths::new(["/a", "b"]).expect_err("relative");
        assert_eq!(AllowedHostPaths::new(["/a/"]).map(|list| list.to_string()), Ok("/a".to_owned()));
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        let none = AllowedHostPaths::new(Vec::<String>::new()).expect("an empty list");
        assert!(none.judge("spec.certsDir", "/etc/kubernetes").is_some());
    }
}
