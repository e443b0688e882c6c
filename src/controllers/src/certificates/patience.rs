//! For how long everything has been as it is.
use std::time::Duration;

use tokio::time::Instant;

use super::{
    authority::{Pem, Stored},
    observe::Configuration,
};

/// What one process saw last, and since when, by a clock that nobody sets.
///
/// One that begins anew waits anew: that costs minutes of months.
#[derive(Default)]
pub struct Patience {
    seen: Option<Seen>,
    next: Option<(Pem, Instant)>,
}

struct Seen {
    stored: Stored,
    configurations: Vec<Configuration>,
    since: Instant,
}

impl Patience {
    /// Takes in what is seen now.
    pub fn with(&mut self, stored: &Stored, configurations: &[Configuration]) -> Duration {
        if !self.seen.as_ref().is_some_and(|seen| seen.is_still(stored, configurations)) {
            let (stored, configurations) = (stored.clone(), configurations.to_vec());
            self.seen = Some(Seen { stored, configurations, since: Instant::now() });
        }
        self.seen.as_ref().map_or(Duration::ZERO, |seen| seen.since.elapsed())
    }

    /// For how long the pair that follows has been there, whatever else has changed.
    pub fn awaited(&mut self, stored: &Stored) -> Duration {
        if self.next.as_ref().map(|(next, _)| next) != stored.next.as_ref() {
            self.next = stored.next.clone().map(|next| (next, Instant::now()));
        }
        self.next.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed())
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
    use model::Secret;
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

    #[tokio::test(start_paused = true)]
    async fn a_pair_that_follows_is_awaited_from_when_it_was_first_seen() {
        let mut patience = Patience::default();
        let secret = |text: &str| Secret::new(text.to_owned());
        let pem = |text: &str| Pem { certificate: secret(text), key: secret(text) };
        let mut awaited = async |next: Option<Pem>| {
            tokio::time::advance(MINUTE).await;
            patience.awaited(&Stored::new(&Bundle::default(), None, next))
        };
        assert_eq!(awaited(None).await, Duration::ZERO);
        assert_eq!(awaited(Some(pem("a"))).await, Duration::ZERO);
        assert_eq!(awaited(Some(pem("a"))).await, MINUTE);
        assert_eq!(awaited(Some(pem("b"))).await, Duration::ZERO);
        assert_eq!(awaited(Some(pem("b"))).await, MINUTE);
        assert_eq!(awaited(None).await, Duration::ZERO);
    }
}
