//! For how long everything has been as it is.
use std::time::Duration;

use tokio::time::Instant;

use super::{authority::Stored, observe::Configuration};

/// What one process saw last, and since when, by a clock that nobody sets.
///
/// One that begins anew waits anew: that costs minutes of months.
#[derive(Default)]
pub struct Patience(Option<Seen>);

struct Seen {
    stored: Stored,
    configurations: Vec<Configuration>,
    since: Instant,
}

impl Patience {
    /// Takes in what is seen now.
    pub fn with(&mut self, stored: &Stored, configurations: &[Configuration]) -> Duration {
        if !self.0.as_ref().is_some_and(|seen| seen.is_still(stored, configurations)) {
            let (stored, configurations) = (stored.clone(), configurations.to_vec());
            self.0 = Some(Seen { stored, configurations, since: Instant::now() });
        }
        self.0.as_ref().map_or(Duration::ZERO, |seen| seen.since.elapsed())
    }
}

impl Seen {
    fn is_still(&self, stored: &Stored, configurations: &[Configuration]) -> bool {
        self.stored == *stored
            && self.configurations.len() == configurations.len()
            && self.configurations.iter().zip(configurations).all(|(seen, now)| now.is_still(seen))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
    use runtime::Target;

    use super::{super::authority::Bundle, *};

    const MINUTE: Duration = Duration::from_mins(1);

    fn configuration(carried: &[u8]) -> Configuration {
        let target = Target::as_seen(&MutatingWebhookConfiguration::default());
        Configuration { target, generation: Some(1), webhooks: vec![("a".to_owned(), carried.to_vec())] }
    }

    #[tokio::test(start_paused = true)]
    async fn time_counts_from_the_last_change() {
        let (mut patience, stored) = (Patience::default(), Stored::new(&Bundle::default(), None, None));
        let mut seen = async |configurations: &[Configuration]| {
            tokio::time::advance(MINUTE).await;
            patience.with(&stored, configurations)
        };
        assert_eq!(seen(&[configuration(b"old")]).await, Duration::ZERO);
        assert_eq!(seen(&[configuration(b"old")]).await, MINUTE);
        assert_eq!(seen(&[configuration(b"old")]).await, 2 * MINUTE);
        assert_eq!(seen(&[configuration(b"new")]).await, Duration::ZERO);
        assert_eq!(seen(&[configuration(b"new")]).await, MINUTE);
        assert_eq!(seen(&[]).await, Duration::ZERO, "one is gone");
        assert_eq!(seen(&[configuration(b"new")]).await, Duration::ZERO, "and is back");
    }
}
