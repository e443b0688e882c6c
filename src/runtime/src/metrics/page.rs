//! Prometheus' text format, version 0.0.4.
use std::{
    fmt::{Display, Write},
    iter::zip,
};

use super::Histogram;

/// What a page is, to whoever asks over HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and begins anew with another process.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    /// The word itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric: its name, what it tells, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, part of the API.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, as one sentence, its unit included.
    pub help: &'static str,
}

impl Metric {
    /// A number that only grows.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    /// A number that is what it is now.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    /// How often something took how long.
    pub const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, labels, help }
    }
}

/// A page that is being written: each metric once, one after the other.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Adds a metric whose values are whole numbers, each with the values of its labels.
    ///
    /// A metric of which nothing is known is not on the page at all.
    pub fn numbers<'a, const LABELS: usize>(
        &mut self,
        metric: &Metric,
        samples: impl IntoIterator<Item = ([&'a str; LABELS], i64)>,
    ) {
        debug_assert_eq!(metric.labels.len(), LABELS, "{}", metric.name);
        for (index, (values, number)) in samples.into_iter().enumerate() {
            self.head_before(index, metric);
            self.line((metric.name, ""), zip(metric.labels.iter().copied(), values), number);
        }
    }

    /// Adds a metric whose values are histograms.
    pub fn histograms<'a, const LABELS: usize>(
        &mut self,
        metric: &Metric,
        samples: impl IntoIterator<Item = ([&'a str; LABELS], &'a Histogram)>,
    ) {
        debug_assert_eq!(metric.labels.len(), LABELS, "{}", metric.name);
        for (index, (values, histogram)) in samples.into_iter().enumerate() {
            self.head_before(index, metric);
            let labels = || zip(metric.labels.iter().copied(), values);
            for (bound, count) in histogram.buckets() {
                self.line((metric.name, "_bucket"), labels().chain([("le", &*bound)]), count);
            }
            self.line((metric.name, "_sum"), labels(), histogram.sum());
            self.line((metric.name, "_count"), labels(), histogram.count());
        }
    }

    /// The whole page.
    pub fn into_text(self) -> String {
        self.0
    }

    fn head_before(&mut self, index: usize, Metric { name, kind, help, .. }: &Metric) {
        if index == 0 {
            let help = help.replace('\\', r"\\").replace('\n', r"\n");
            self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()));
        }
    }

    fn line<'a>(
        &mut self,
        (name, suffix): (&str, &str),
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        value: impl Display,
    ) {
        let labels: Vec<String> =
            labels.map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        if labels.is_empty() {
            self.write(format_args!("{name}{suffix} {value}\n"));
        } else {
            self.write(format_args!("{name}{suffix}{{{}}} {value}\n", labels.join(",")));
        }
    }

    fn write(&mut self, text: std::fmt::Arguments) {
        self.0.write_fmt(text).expect("a String takes everything");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Metric = Metric::gauge("size_bytes", &["kind", "name"], "How large.");
    const TIME: Metric = Metric::histogram("time_seconds", &["name"], "How long.");

    #[test]
    fn each_metric_has_one_head_and_a_line_for_each_thing() {
        let mut page = Page::default();
        page.numbers(&SIZE, [(["a", "one"], 5), (["a", "two"], -1)]);
        page.numbers(&Metric::counter("seen_total", &[], "How many."), [([], 7)]);
        let expected = "# HELP size_bytes How large.\n# TYPE size_bytes gauge\n\
                        size_bytes{kind=\"a\",name=\"one\"} 5\nsize_bytes{kind=\"a\",name=\"two\"} -1\n\
                        # HELP seen_total How many.\n# TYPE seen_total counter\nseen_total 7\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn a_histogram_is_its_buckets_its_sum_and_its_count() {
        let mut histogram = Histogram::new(&[0.5, 60.0]);
        histogram.observe(2.25);
        let mut page = Page::default();
        page.histograms(&TIME, [(["etcd"], &histogram)]);
        let expected = "# HELP time_seconds How long.\n# TYPE time_seconds histogram\n\
                        time_seconds_bucket{name=\"etcd\",le=\"0.5\"} 0\n\
                        time_seconds_bucket{name=\"etcd\",le=\"60\"} 1\n\
                        time_seconds_bucket{name=\"etcd\",le=\"+Inf\"} 1\n\
                        time_seconds_sum{name=\"etcd\"} 2.25\ntime_seconds_count{name=\"etcd\"} 1\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn what_nothing_is_known_of_is_absent() {
        let mut page = Page::default();
        page.numbers::<2>(&SIZE, []);
        page.histograms::<1>(&TIME, []);
        assert_eq!(page.into_text(), "");
    }

    #[test]
    fn a_value_cannot_end_its_label_or_its_line() {
        let mut page = Page::default();
        page.numbers(&SIZE, [(["\\", "a\"} 1\nb"], 1)]);
        let text = page.into_text();
        assert_eq!(text.lines().last(), Some(r#"size_bytes{kind="\\",name="a\"} 1\nb"} 1"#));
    }
}
