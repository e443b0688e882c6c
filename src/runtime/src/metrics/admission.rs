//! What admission answered, and how its certificate stands: of each replica, since each answers.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Histogram, Metric, Page};

/// What was answered.
pub const ANSWERS: Metric = Metric::counter(
    "kubedr_webhook_answers_total",
    &["kind", "allowed"],
    "Answers of this replica to the API server about objects of a kind, by whether it may store or remove them.",
);
/// How long answers take.
pub const DURATION: Metric = Metric::histogram(
    "kubedr_webhook_duration_seconds",
    &["kind"],
    "How long an answer took, from the whole question on: what the network takes is not in it.",
);
/// When the certificate ends that is shown.
pub const EXPIRY: Metric = Metric::gauge(
    "kubedr_webhook_certificate_expiry_timestamp_seconds",
    &[],
    "When the certificate ends that this replica shows to the API server, in seconds since 1970; absent while it has none.",
);
/// Whether a newer certificate is of no use.
pub const REFUSED: Metric = Metric::gauge(
    "kubedr_webhook_certificate_refused",
    &[],
    "Whether the newest certificate is of no use to this replica or not to be had, or a renewal has not ended within a day, 1 or 0: it shows the one before, even past its end, and its log says why.",
);

/// Judging a review takes parts of a millisecond; the API server waits some seconds.
const SECONDS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0];

#[derive(Debug)]
struct Answered {
    allowed: i64,
    refused: i64,
    durations: Histogram,
}

impl Default for Answered {
    fn default() -> Self {
        Self { allowed: 0, refused: 0, durations: Histogram::new(SECONDS) }
    }
}

/// Counts answers by the kind that they are about.
#[derive(Clone, Debug)]
pub struct Answers(Arc<Mutex<BTreeMap<String, Answered>>>);

impl Answers {
    /// Those about these kinds. Begun at 0: the first one is an increase too.
    pub fn about<'a>(kinds: impl IntoIterator<Item = &'a str>) -> Self {
        let kinds = kinds.into_iter().map(|kind| (kind.to_owned(), Answered::default()));
        Self(Arc::new(Mutex::new(kinds.collect())))
    }

    /// One was given; about other kinds there are none.
    pub fn gave(&self, kind: &str, allowed: bool, took: Duration) {
        let mut all = self.all();
        let Some(answered) = all.get_mut(kind) else { return };
        let count = if allowed { &mut answered.allowed } else { &mut answered.refused };
        *count += 1;
        answered.durations.observe(took.as_secs_f64());
    }

    /// Writes what was counted.
    pub fn write(&self, page: &mut Page) {
        let all = self.all();
        let counts = all.iter().flat_map(|(kind, answered)| {
            [([kind.as_str(), "true"], answered.allowed), ([kind.as_str(), "false"], answered.refused)]
        });
        page.numbers(&ANSWERS, counts);
        page.histograms(&DURATION, all.iter().map(|(kind, answered)| ([kind.as_str()], &answered.durations)));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Answered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes when the certificate ends that is shown, in seconds since 1970, and whether a newer one is of no use.
pub fn of_certificate(page: &mut Page, ends: Option<i64>, is_refused: bool) {
    page.numbers(&EXPIRY, ends.map(|ends| ([], ends)));
    page.numbers(&REFUSED, [([], i64::from(is_refused))]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::default();
        write(&mut page);
        page.into_text()
    }

    #[test]
    fn answers_count_from_the_start_by_their_kind_and_by_what_they_are() {
        let answers = Answers::about(["BackupLocation", "MetadataRestore"]);
        answers.gave("BackupLocation", false, Duration::from_micros(300));
        answers.clone().gave("BackupLocation", true, Duration::from_micros(90));
        answers.gave("Pod", true, Duration::ZERO);
        let text = written(|page| answers.write(page));
        for line in [
            r#"kubedr_webhook_answers_total{kind="BackupLocation",allowed="true"} 1"#,
            r#"kubedr_webhook_answers_total{kind="BackupLocation",allowed="false"} 1"#,
            r#"kubedr_webhook_answers_total{kind="MetadataRestore",allowed="false"} 0"#,
            r#"kubedr_webhook_duration_seconds_bucket{kind="BackupLocation",le="0.0001"} 1"#,
            r#"kubedr_webhook_duration_seconds_bucket{kind="BackupLocation",le="0.0005"} 2"#,
            r#"kubedr_webhook_duration_seconds_count{kind="MetadataRestore"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("Pod"), "{text}");
    }

    #[test]
    fn a_certificate_that_is_not_there_has_no_end() {
        let refused = written(|page| of_certificate(page, None, true));
        assert!(!refused.contains("expiry") && refused.ends_with("\nkubedr_webhook_certificate_refused 1\n"));
        let good = written(|page| of_certificate(page, Some(5), false));
        assert!(good.contains("\nkubedr_webhook_certificate_expiry_timestamp_seconds 5\n"), "{good}");
        assert!(good.ends_with("\nkubedr_webhook_certificate_refused 0\n"), "{good}");
    }
}
