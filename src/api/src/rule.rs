//! Rules in CEL that several fields share, each with the message that a user reads.
//!
//! Rather than `pattern`: the API server would answer a mistake with the bare expression.
//! All of them stand beside a maxLength, without which it refuses them for their cost.
use kube::core::{Message, Rule};

const SERVER_URL: &str = r"^https?://([A-Za-z0-9_.-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?/?$";
const SERVER_URL_HINT: &str =
    "must be http:// or https://, a host and an optional port, without user, path or query";
const CLEAN: &str = "split('/').exists(part, part == '.' || part == '..')";

/// The name of an object leaves room for those derived from it. Asked at creation only:
/// a name cannot change, and a stored object of upstream must stay writable.
pub fn name_at_most(most: usize, because: &str) -> Rule {
    Rule::new(format!("oldSelf.hasValue() || size(self.metadata.name) <= {most}"))
        .optional_old_self(true)
        .message(format!("metadata.name must have at most {most} characters, so that {because}").as_str())
}

/// The name of an object in the same namespace.
pub fn object_name() -> Rule {
    Rule::new(r"self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')")
        .message("must be the name of an object: lower-case letters, digits, hyphens and dots")
}

/// As [`object_name`]; empty for the default, as upstream had it.
pub fn object_name_or_empty() -> Rule {
    let rule = object_name();
    Rule { rule: format!("self == '' || {}", rule.rule), ..rule }
}

/// The URL of a server.
pub fn server_url() -> Rule {
    Rule::new(format!("self.matches('{SERVER_URL}')")).message(SERVER_URL_HINT)
}

/// As [`server_url`]; empty for the default, as upstream had it.
pub fn server_url_or_empty() -> Rule {
    Rule::new(format!("self == '' || self.matches('{SERVER_URL}')")).message(SERVER_URL_HINT)
}

/// A list of URLs of servers.
pub fn server_urls() -> Rule {
    Rule::new(format!("self.all(url, url.matches('{SERVER_URL}'))")).message(SERVER_URL_HINT)
}

/// A path of the node that means exactly one place; empty for none, as upstream had it.
pub fn host_path() -> Rule {
    Rule::new(format!("self == '' || (self.matches('^(/[^/:[:cntrl:]]+)+/?$') && !self.{CLEAN})"))
        .message("must be absolute, without empty parts, '.', '..', colons or control characters")
}

/// A path below something, that leads nowhere else; empty for none.
pub fn relative_path() -> Rule {
    Rule::new(format!(
        "self == '' || (self.matches('^[^/:[:cntrl:]]+(/[^/:[:cntrl:]]+)*/?$') && !self.{CLEAN})"
    ))
    .message("must be relative, without empty parts, '.', '..', colons or control characters")
}

/// A folder in a bucket that restic, which reads it as part of a URL, and S3 understand alike.
pub fn prefix() -> Rule {
    const PART: &str = "[A-Za-z0-9_.=+@~-]+";
    Rule::new(format!("self == '' || (self.matches('^{PART}(/{PART})*/?$') && !self.{CLEAN})")).message(
        "must have letters, digits and _.=+@~- only, in parts divided by '/', none empty, '.' or '..'",
    )
}

/// The name of an S3 bucket.
pub fn bucket_name() -> Rule {
    Rule::new(r"self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$') && !self.contains('..') && !self.matches('^[0-9]+[.][0-9]+[.][0-9]+[.][0-9]+$')")
        .message("must have lower-case letters, digits, dots and hyphens only, begin and end with a letter or digit, and not look like an IP address")
}

/// A length of time in calendar units.
pub fn within() -> Rule {
    Rule::new("self.matches('^([0-9]{1,4}[ymdh])+$')")
        .message("must be a duration such as 1y6m14d3h: years, months, days, hours")
}

/// How much unused data may stay.
pub fn max_unused() -> Rule {
    Rule::new(r"self.matches('^([0-9]+([.][0-9]+)?%|[0-9]+[KMGT]?|unlimited)$')")
        .message("must be a percentage such as 10%, a size such as 500M, or unlimited")
}

/// How much of the stored data a check reads.
pub fn check_subset() -> Rule {
    Rule::new(r"self.matches('^([0-9]+%|[0-9]+/[0-9]+|[0-9]+[KMGT])$')")
        .message("must be a percentage such as 5%, a part such as 1/12, or a size such as 500M")
}

/// The keys that `spec.options` may have.
pub fn known_option() -> Rule {
    Rule::new("self.all(key, key == 'master-node-label-name')")
        .message("knows the key master-node-label-name only")
}

/// A field of a record's spec that names its backup: once given it stays, as `validate_change` says, too.
///
/// In these words, which begin with `self.` and `oldSelf.`, a policy of the API server has it as well.
pub fn pinned(field: &str) -> Rule {
    let (new, old) = (format!("self.{field}"), format!("oldSelf.{field}"));
    let found = format!("(has({new}) ? '\"' + {new} + '\"' : 'nothing')");
    let said = format!(
        "'cannot become ' + {found} + ': it is \"' + {old} + '\" for good, since a record names one backup'"
    );
    Rule::new(format!("!has({old}) || (has({new}) && {new} == {old})"))
        .message(Message::Expression(said))
        .field_path(format!(".{field}"))
}

/// Exactly one source of a private certificate authority.
pub fn one_authority() -> Rule {
    Rule::new("has(self.configMapName) != has(self.secretName)")
        .message("exactly one of configMapName and secretName must be given")
}
