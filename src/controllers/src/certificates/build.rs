//! What is written.
use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde_json::{Value, json};

use super::{
    authority::{Bundle, Stored},
    observe::Configuration,
};

/// The Secret as it was read, with other certificates.
pub fn secret(read: &Secret, stored: &Stored) -> Secret {
    let mut secret = read.clone();
    stored.write(secret.data.get_or_insert_default());
    secret
}

/// What is to change so that each webhook of a configuration carries these authorities; nothing where it does.
pub fn change(seen: &Configuration, bundle: &Bundle) -> Option<Value> {
    let wanted = bundle.to_pem().into_bytes();
    let others = seen.webhooks.iter().filter(|(_, carried)| *carried != wanted);
    let webhooks: Vec<Value> = others.map(|(name, _)| carrying(name, &wanted)).collect();
    (!bundle.is_empty() && !webhooks.is_empty()).then(|| json!({ "webhooks": webhooks }))
}

fn carrying(name: &str, bundle: &[u8]) -> Value {
    json!({ "name": name, "clientConfig": { "caBundle": ByteString(bundle.to_vec()) } })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
    use runtime::Target;

    use super::{
        super::authority::{Step, World, after, issue},
        *,
    };

    fn empty() -> Stored {
        Stored::new(&Bundle::default(), None, None)
    }

    fn bundle() -> Bundle {
        let now: Timestamp = "2030-01-01T12:00:00Z".parse().expect("a timestamp");
        let stored = empty();
        let (unchanged, awaited) = (Duration::ZERO, Duration::ZERO);
        let world = World { stored: &stored, carried: &[], unchanged, awaited, namespace: "n", now };
        after(&world, Step::Anew, issue).expect("a pair").bundle()
    }

    fn seen(carried: &[&[u8]]) -> Configuration {
        let webhooks = carried.iter().zip(["a", "b"]).map(|(bytes, name)| (name.to_owned(), bytes.to_vec()));
        let target = Target::as_seen(&MutatingWebhookConfiguration::default());
        Configuration { target, generation: None, webhooks: webhooks.collect() }
    }

    #[test]
    fn only_webhooks_that_carry_others_are_changed() {
        let bundle = bundle();
        let wanted = bundle.to_pem();
        assert_eq!(change(&seen(&[wanted.as_bytes()]), &bundle), None);
        let change = change(&seen(&[wanted.as_bytes(), b"other"]), &bundle).expect("a change");
        let expected = ByteString(wanted.into_bytes());
        assert_eq!(
            change,
            json!({ "webhooks": [{ "name": "b", "clientConfig": { "caBundle": expected } }] })
        );
    }

    #[test]
    fn what_is_carried_is_never_taken_away() {
        assert_eq!(change(&seen(&[b"other"]), &Bundle::default()), None);
    }

    #[test]
    fn what_others_keep_in_the_secret_stays() {
        let data = ["a", "next.key"].map(|key| (key.to_owned(), ByteString(b"b".to_vec())));
        let read = Secret { data: Some(data.into()), ..Secret::default() };
        let written = secret(&read, &empty()).data.expect("data");
        assert_eq!(written.keys().collect::<Vec<_>>(), ["a", "ca.crt"]);
    }
}
