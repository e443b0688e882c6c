//! What a policy means, and what is wrong with one that the schema lets through.
use std::{collections::BTreeSet, ops::RangeInclusive};

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::{Violation, retention::Retention, retention::Within};

use super::{
    DEFAULT_ETCD_CREDENTIALS, DEFAULT_ETCD_ENDPOINT, DEFAULT_RETAIN, ExtraHostPath, MAX_RETAIN,
    MetadataBackupPolicy, MetadataBackupPolicySpec, MetadataBackupPolicyStatus, OPTION_NODE_LABEL,
    RetentionRules, Verify,
};
use crate::{AllowedHostPaths, Endpoint, names, schedule};

impl MetadataBackupPolicy {
    /// Finds everything wrong that the schema cannot say, and what an older schema let through.
    ///
    /// Admission asks this of what is written, and every reconcile of what is stored: it may have been
    /// stored while nobody asked, or while more was allowed.
    pub fn validate(&self, allowed: &AllowedHostPaths) -> Vec<Violation> {
        let spec = &self.spec;
        let mut found: Vec<Violation> =
            names::length(&self.metadata, names::MAX_POLICY).into_iter().collect();
        found.extend(names::object("spec.destination", &spec.destination));
        found.extend(spec.schedule_violations());
        found.extend(names::object("spec.etcdCreds", spec.etcd_credentials()));
        found.extend(spec.host_paths().filter_map(|(field, path)| allowed.judge(&field, path)));
        found.extend(spec.repeated_paths());
        found.extend(spec.endpoint_violations());
        found.extend(spec.number_violations());
        found.extend(spec.within_violation());
        found.extend(spec.option_violations());
        found
    }
}

impl MetadataBackupPolicySpec {
    /// Which backups stay, as the rules of retention want it said.
    ///
    /// An unreadable `within` is left out here; [`Self::validate`] reports it, and who
    /// deletes asks that first.
    pub fn retention(&self) -> Retention {
        let rules = self.retention.clone().unwrap_or_default();
        let last = if self.retain_num_backups == 0 { DEFAULT_RETAIN } else { self.retain_num_backups };
        Retention {
            last: count(last),
            hourly: count(rules.hourly),
            daily: count(rules.daily),
            weekly: count(rules.weekly),
            monthly: count(rules.monthly),
            yearly: count(rules.yearly),
            within: rules.within.and_then(|within| within.parse().ok()),
        }
    }

    /// Client URLs of etcd, each once, without a slash at the end: `etcdEndpoints` where there
    /// are any, else `etcdEndpoint`, else the default.
    pub fn etcd_endpoints(&self) -> Vec<String> {
        let one = Some(self.etcd_endpoint.as_str()).filter(|url| !url.is_empty());
        let given: Vec<&str> = match self.etcd_endpoints.as_slice() {
            [] => vec![one.unwrap_or(DEFAULT_ETCD_ENDPOINT)],
            several => several.iter().map(String::as_str).collect(),
        };
        let mut urls: Vec<String> =
            given.into_iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let mut seen = BTreeSet::new();
        urls.retain(|url| seen.insert(url.clone()));
        urls
    }

    /// The time zone of the schedule; none where the field is empty.
    pub fn time_zone(&self) -> Option<&str> {
        schedule::given(self.time_zone.as_deref())
    }

    /// Name of the Secret with etcd's client certificate. An empty name means the default, as
    /// upstream's webhook had it.
    pub fn etcd_credentials(&self) -> &str {
        if self.etcd_creds.is_empty() { DEFAULT_ETCD_CREDENTIALS } else { &self.etcd_creds }
    }

    /// Folder with certificates, without a slash at the end; none where the field is empty.
    pub fn certs_dir(&self) -> Option<&str> {
        self.certs_dir.as_deref().map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty())
    }

    /// The node label to use instead of the built-in ones; none where it is empty, as upstream
    /// had it.
    pub fn node_label(&self) -> Option<&str> {
        self.options.get(OPTION_NODE_LABEL).map(String::as_str).filter(|label| !label.is_empty())
    }
}

impl MetadataBackupPolicySpec {
    fn schedule_violations(&self) -> Vec<Violation> {
        let backup = schedule::violations("spec", &self.schedule, self.time_zone());
        let Verify { schedule, time_zone, .. } = &self.verify;
        let verify = schedule::violations("spec.verify", schedule, time_zone.as_deref());
        backup.into_iter().chain(verify).collect()
    }

    /// Every path of the node that the policy asks for, with the field that asks.
    fn host_paths(&self) -> impl Iterator<Item = (String, &str)> {
        let certificates = self.certs_dir.as_deref().filter(|path| !path.is_empty());
        let further = self.extra_host_paths.iter().enumerate();
        let certificates = certificates.map(|path| ("spec.certsDir".to_owned(), path));
        let further =
            further.map(|(index, extra)| (format!("spec.extraHostPaths[{index}].path"), extra.path.as_str()));
        certificates.into_iter().chain(further)
    }

    /// Paths that differ only by a slash: the API server takes them for two.
    fn repeated_paths(&self) -> Vec<Violation> {
        let mut seen = BTreeSet::new();
        let paths = self.extra_host_paths.iter().map(ExtraHostPath::path).enumerate();
        let repeated = paths.filter(|(_, path)| !seen.insert(*path));
        let field = |index| format!("spec.extraHostPaths[{index}].path");
        repeated
            .map(|(index, path)| Violation::new(field(index), format!("{path:?} is given twice")))
            .collect()
    }

    fn endpoint_violations(&self) -> Vec<Violation> {
        let one =
            Some(("spec.etcdEndpoint".to_owned(), &self.etcd_endpoint)).filter(|(_, url)| !url.is_empty());
        let several = self.etcd_endpoints.iter().enumerate();
        let several = several.map(|(index, url)| (format!("spec.etcdEndpoints[{index}]"), url));
        let judged = one.into_iter().chain(several).filter_map(|(field, url)| {
            let error = url.parse::<Endpoint>().err()?;
            Some(Violation::new(field, error.to_string()))
        });
        judged.collect()
    }

    /// Numbers that upstream stored before there were limits, and the others like them.
    fn number_violations(&self) -> Vec<Violation> {
        let none = RetentionRules::default();
        let RetentionRules { hourly, daily, weekly, monthly, yearly, .. } =
            self.retention.as_ref().unwrap_or(&none);
        let limits = [
            ("spec.retainNumBackups", self.retain_num_backups, 0..=MAX_RETAIN),
            ("spec.retention.hourly", *hourly, 0..=MAX_RETAIN),
            ("spec.retention.daily", *daily, 0..=MAX_RETAIN),
            ("spec.retention.weekly", *weekly, 0..=MAX_RETAIN),
            ("spec.retention.monthly", *monthly, 0..=MAX_RETAIN),
            ("spec.retention.yearly", *yearly, 0..=MAX_RETAIN),
            ("spec.shrinkGuard", self.shrink_guard, 0..=100),
            ("spec.deadlineSeconds", self.deadline_seconds, 60..=86_400),
            ("spec.maxRate", self.max_rate.unwrap_or(1), 1..=i64::MAX),
        ];
        let outside = limits.into_iter().filter(|(_, number, limit)| !limit.contains(number));
        outside.map(|(field, number, limit)| Violation::new(field, beyond(number, &limit))).collect()
    }

    fn within_violation(&self) -> Option<Violation> {
        let within = self.retention.as_ref()?.within.as_ref()?;
        let error = within.parse::<Within>().err()?;
        Some(Violation::new("spec.retention.within", error.to_string()))
    }

    fn option_violations(&self) -> Vec<Violation> {
        let unknown = self.options.keys().filter(|key| *key != OPTION_NODE_LABEL);
        let unknown = unknown.map(|key| {
            Violation::new("spec.options", format!("knows the key {OPTION_NODE_LABEL} only, not {key:?}"))
        });
        let label = self.node_label().filter(|label| !names::is_label_key(label));
        let label = label.map(|label| {
            Violation::new(
                format!("spec.options.{OPTION_NODE_LABEL}"),
                format!("{label:?} is not the key of a label"),
            )
        });
        unknown.chain(label).collect()
    }
}

impl MetadataBackupPolicyStatus {
    /// How long the last backup took, where that can be read: kubedr writes a decimal number, upstream a
    /// quantity such as `12500m`.
    pub fn last_duration(&self) -> Option<SignedDuration> {
        let seconds = match self.total_duration_secs.as_ref()? {
            IntOrString::Int(seconds) => f64::from(*seconds),
            IntOrString::String(text) => match text.strip_suffix('m') {
                Some(thousandths) => thousandths.parse::<f64>().ok()? / 1000.0,
                None => text.parse().ok()?,
            },
        };
        SignedDuration::try_from_secs_f64(seconds).ok()
    }
}

impl ExtraHostPath {
    /// Where it is on the node, without a slash at the end.
    pub fn path(&self) -> &str {
        self.path.trim_end_matches('/')
    }
}

/// Says what is wrong with a number, and up to which it may go where there is an end.
fn beyond(number: i64, limit: &RangeInclusive<i64>) -> String {
    match *limit.end() {
        i64::MAX => format!("is {number}, allowed are {} and more", limit.start()),
        most => format!("is {number}, allowed are {} to {most}", limit.start()),
    }
}

/// A number that the schema keeps from being negative.
fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}
