//! `docs/metrics.md`: what each metric tells, and what to be woken by.
use std::fmt::Write;

use crate::tree::{File, MARK};

/// Rules for Prometheus.
const ALERTS: &str = include_str!("alerts.yaml");

/// The one file.
pub fn file() -> File {
    let mut page = format!("<!-- {MARK} from src/manifests/src/metrics.rs. Do not edit. -->\n{HEAD}");
    for metric in controllers::metrics::all() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind.as_str(), metric.help);
        let row = writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
        row.expect("a String takes everything");
    }
    page.extend([MIDDLE, "```yaml\n", ALERTS, "```\n"]);
    File::new("docs/metrics.md", page)
}

const HEAD: &str = "# Metrics

The operator answers `GET /metrics` on port 8080 (`--metrics-address`) over plain http, in Prometheus' text format.
The Service `kubedr-operator-metrics` finds its pods; scrape these, as `role: endpoints` and a `ServiceMonitor` do, each
for itself. Whoever reaches the port reads names of kubedr's objects, reasons and figures, and no URL, path or secret.
By hand: `kubectl -n kubedr-system port-forward svc/kubedr-operator-metrics 8080`, and `curl localhost:8080/metrics`.

- What is not known is absent, never 0. An object that is deleted takes its series with it.
- Gauges are read off the objects in the moment of the scrape: they show what `kubectl` shows, also after a restart.
- Counters and histograms begin at 0 with each leader, those of webhooks with each process; ask with `increase()`. A run counts once, when its Job has ended. Where
  the leader changes nothing counts twice; what happened between its last look and the next slot may not count (contract.md).
- Only the leader tells of objects. Another replica says `kubedr_leader` 0, its `kubedr_build_info` and, where it answers the API
  server, `kubedr_webhook_…` of its own answers and certificate, so no figure is there twice.
- A page has about 4 kB for each policy and 0.5 kB for each other object.

| metric | type | labels | what it tells |
|---|---|---|---|
";

const MIDDLE: &str = "
`kubedr_condition` has one series for each condition that stands; each `reason` is explained in [reasons.md](reasons.md).
`True` is good but for `Reconciling` and `Stalled`. Records have none: their names are those of snapshots, and what is
wrong with the newest one its policy says too. The three `kubedr_num_…` are counters in spite of their names, which are upstream's.

## What to be woken by

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_one_row() {
        let page = file().content;
        for metric in controllers::metrics::all() {
            let rows = page.lines().filter(|line| line.starts_with(&format!("| `{}` |", metric.name)));
            assert_eq!(rows.count(), 1, "{}", metric.name);
        }
    }

    #[test]
    fn alerts_ask_only_for_what_there_is() {
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let words = ALERTS.split(|letter| !is_word(letter)).filter(|word| word.starts_with("kubedr_"));
        for word in words {
            assert!(controllers::metrics::all().any(|metric| metric.name == word), "{word}");
        }
    }
}
