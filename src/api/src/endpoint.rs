//! URLs of servers: scheme, host and port, nothing else.
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// A URL that names a server and nothing on it.
///
/// One slash at the end is accepted and dropped: upstream accepted it, and users paste it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: Option<u16>,
}

/// Whether the server is spoken to in clear or over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// A text that is not the URL of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} {problem}")]
pub struct NotAnEndpoint {
    found: String,
    problem: &'static str,
}

impl Endpoint {
    /// In clear or over TLS.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Name or address of the server, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, where one is given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether only the node itself, or its own link, can reach the server, so that a pod needs
    /// the node's network for it.
    pub fn is_node_local(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
            Ok(IpAddr::V6(address)) => is_node_local(address),
            Err(_) => self.host == "localhost" || self.host.ends_with(".localhost"),
        }
    }

    /// Whether only the cluster's own DNS can know the name: no dot in it, or a Service's name.
    pub fn needs_cluster_dns(&self) -> bool {
        let host = self.host.trim_end_matches('.');
        let is_name = host.parse::<IpAddr>().is_err();
        let is_service = || host.split('.').any(|label| label == "svc") || host.ends_with(".cluster.local");
        is_name && host != "localhost" && (!host.contains('.') || is_service())
    }
}

fn is_node_local(address: Ipv6Addr) -> bool {
    let embedded = address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback() || v4.is_link_local());
    address.is_loopback() || address.is_unicast_link_local() || embedded
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|problem| NotAnEndpoint { found: shown(text), problem })
    }
}

/// The URL with its password left out, should someone have put one there.
fn shown(text: &str) -> String {
    let visible = match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => text.to_owned(),
    };
    visible.chars().take(120).collect()
}

fn parse(text: &str) -> Result<Endpoint, &'static str> {
    let (scheme, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (Scheme::Https, rest),
        (_, Some(rest)) => (Scheme::Http, rest),
        _ => return Err("must begin with http:// or https://"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err("must not have a user or password");
    }
    if authority.contains(['/', '?', '#']) {
        return Err("must not have a path, query or fragment");
    }
    let (host, port) = split_port(authority)?;
    Ok(Endpoint { scheme, host, port })
}

fn split_port(authority: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("lacks the ] of an IPv6 address")?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_address = authority.starts_with('[');
    if is_address && host.parse::<Ipv6Addr>().is_err() {
        return Err("has a malformed IPv6 address");
    }
    if !is_address && !is_host(host) {
        return Err("must have a host name of letters, digits, dots and hyphens");
    }
    Ok((host.to_owned(), parse_port(port)?))
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(inner)
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

fn parse_port(text: &str) -> Result<Option<u16>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_prefix(':').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let port = digits.and_then(|text| text.parse().ok()).filter(|port| *port > 0);
    port.map(Some).ok_or("must have a port between 1 and 65535")
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let brackets = self.host.contains(':');
        let (open, close) = if brackets { ("[", "]") } else { ("", "") };
        write!(formatter, "{scheme}://{open}{}{close}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::address("http://10.96.57.3:9000", "http://10.96.57.3:9000")]
    #[case::name("https://s3.eu-central-1.amazonaws.com", "https://s3.eu-central-1.amazonaws.com")]
    #[case::slash_at_the_end("https://s3.example.com/", "https://s3.example.com")]
    #[case::version_6("https://[::1]:2379", "https://[::1]:2379")]
    #[case::underscore("http://my_minio:9000", "http://my_minio:9000")]
    fn accepts(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(shown.to_owned()));
    }

    #[rstest]
    #[case::nothing("")]
    #[case::no_scheme("127.0.0.1:2379")]
    #[case::other_scheme("unix:///run/etcd.sock")]
    #[case::no_host("https://")]
    #[case::only_a_port("https://:2379")]
    #[case::user("https://user@host")]
    #[case::path("https://host/bucket")]
    #[case::two_slashes("https://host//")]
    #[case::query("https://host?x=1")]
    #[case::fragment("https://host#x")]
    #[case::port_zero("https://host:0")]
    #[case::port_too_large("https://host:65536")]
    #[case::port_with_a_sign("https://host:+1")]
    #[case::no_port_after_the_colon("https://host:")]
    #[case::version_6_without_brackets("https://::1:2379")]
    #[case::unclosed_bracket("https://[::1")]
    #[case::text_after_the_bracket("https://[::1]x")]
    #[case::space("https://ho st")]
    #[case::list("https://a:2379,https://b:2379")]
    #[case::empty_label("https://a..b")]
    fn refuses(#[case] text: &str) {
        text.parse::<Endpoint>().expect_err("not an endpoint");
    }

    #[test]
    fn a_refusal_does_not_repeat_a_password() {
        for text in ["https://user:hunter2@host/path", "user:hunter2@host", "https://a:hunter2@b@c"] {
            let error = text.parse::<Endpoint>().expect_err("refused").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[rstest]
    #[case::loopback("https://127.0.0.1:2379", true)]
    #[case::all_of_127("https://127.9.9.9:2379", true)]
    #[case::loopback_6("https://[::1]:2379", true)]
    #[case::mapped_loopback("https://[::ffff:127.0.0.1]:2379", true)]
    #[case::localhost("https://localhost:2379", true)]
    #[case::link_local("https://169.254.1.1:2379", true)]
    #[case::link_local_6("https://[fe80::1]:2379", true)]
    #[case::node_address("https://10.0.0.5:2379", false)]
    #[case::name("https://etcd.example.com:2379", false)]
    fn node_local(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.is_node_local()), Ok(expected));
    }

    #[rstest]
    #[case::no_dot("http://minio:9000", true)]
    #[case::service("http://minio.storage.svc:9000", true)]
    #[case::service_in_full("http://minio.storage.svc.cluster.local:9000", true)]
    #[case::public("https://s3.amazonaws.com", false)]
    #[case::address("http://10.96.57.3:9000", false)]
    #[case::address_6("http://[fd00::1]:9000", false)]
    #[case::localhost("http://localhost:9000", false)]
    fn cluster_dns(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.needs_cluster_dns()), Ok(expected));
    }
}
