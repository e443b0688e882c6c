//! `config/cert-manager`: all of kubedr, with webhooks whose certificate cert-manager keeps.
//!
//! ```text
//! Issuer, self-signed ─▶ Certificate of an authority ─▶ Issuer of that ─▶ Certificate ─▶ Secret ─▶ operator's volume
//!                                                                             └─▶ cainjector ─▶ configurations
//! ```
use api::names;
use serde_json::{Value, json};

use crate::{
    kustomize::{self, kustomization},
    operator::{self, Change},
    tree::{File, MARK},
    webhook, yaml,
};

const FOLDER: &str = "cert-manager";
const CERTIFICATES: &str = "certificates.yaml";
const INJECTION: &str = "injection.yaml";

/// Where the operator's container sees the Secret.
const MOUNT: &str = "/webhook-certificates";
/// What is issued to the Service, and is called like it: Certificate, Secret and the Issuer that signs it.
const SERVED: &str = names::WEBHOOK_SERVICE;
/// The authority that signs it: Certificate, Secret, and the Issuer that has it sign itself.
const ROOT: &str = "kubedr-webhook-root";

/// The overlay.
pub fn files() -> Vec<File> {
    let what = "All of kubedr, with webhooks whose certificate cert-manager keeps, which must be there first:\n\
                kubectl apply -k config/cert-manager";
    let resources = [&kustomize::ALL[..], &[CERTIFICATES]].concat();
    let injected =
        webhook::CONFIGURATIONS.map(|kind| json!({ "path": INJECTION, "target": { "kind": kind } }));
    let patches: Vec<Value> = [operator::patch()].into_iter().chain(injected).collect();
    vec![
        kustomization(FOLDER, what, &json!({ "resources": resources, "patches": patches })),
        File::new(format!("config/{FOLDER}/{CERTIFICATES}"), yaml::document(&comment(), &certificates())),
        File::new(
            format!("config/{FOLDER}/{INJECTION}"),
            yaml::document(&injection_comment(), &[injection()]),
        ),
        operator::changes(FOLDER, &change()),
    ]
}

/// What is different about the operator. It starts without the Secret, too: backups do not wait for cert-manager.
pub fn change() -> Change {
    Change {
        certificates: MOUNT.to_owned(),
        volume: Some(json!({ "name": SERVED, "secret": { "secretName": SERVED, "optional": true } })),
        mount: Some(json!({ "name": SERVED, "mountPath": MOUNT, "readOnly": true })),
    }
}

fn comment() -> String {
    format!(
        "{MARK} from src/manifests. Do not edit.\n\n\
         The authority keeps its key when it is renewed, so that what it signed before stays good."
    )
}

fn injection_comment() -> String {
    format!("{MARK} from src/manifests. Do not edit.\n\ncert-manager's cainjector puts the authority in.")
}

fn certificates() -> [Value; 4] {
    [
        object("Issuer", ROOT, &json!({ "selfSigned": {} })),
        object("Certificate", ROOT, &authority()),
        object("Issuer", SERVED, &json!({ "ca": { "secretName": ROOT } })),
        object("Certificate", SERVED, &served()),
    ]
}

/// Ten years, and renewed long before: nothing else is signed with it.
fn authority() -> Value {
    json!({
        "isCA": true,
        "commonName": ROOT,
        "secretName": ROOT,
        "duration": "87600h",
        "privateKey": { "algorithm": "ECDSA", "size": 256, "rotationPolicy": "Never" },
        "issuerRef": issuer(ROOT),
    })
}

fn served() -> Value {
    let service = format!("{}.{}.svc", names::WEBHOOK_SERVICE, names::DEFAULT_NAMESPACE);
    json!({
        "dnsNames": [service],
        "secretName": SERVED,
        "duration": "2160h",
        "privateKey": { "algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always" },
        "usages": ["digital signature", "server auth"],
        "issuerRef": issuer(SERVED),
    })
}

fn issuer(name: &str) -> Value {
    json!({ "group": "cert-manager.io", "kind": "Issuer", "name": name })
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": names::DEFAULT_NAMESPACE,
            "labels": operator::labels("admission"),
        },
        "spec": spec,
    })
}

fn injection() -> Value {
    let from = format!("{}/{SERVED}", names::DEFAULT_NAMESPACE);
    json!([{ "op": "add", "path": "/metadata/annotations", "value": { "cert-manager.io/inject-ca-from": from } }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: &str, name: &Value) -> Value {
        let is_it = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == *name;
        certificates().into_iter().find(is_it).unwrap_or_else(|| unreachable!("no {kind} is called {name}"))
    }

    #[test]
    fn the_certificate_leads_back_to_an_authority_that_signs_itself() {
        let served = named("Certificate", &json!(SERVED));
        let signer = named("Issuer", &served["spec"]["issuerRef"]["name"]);
        let root = named("Certificate", &json!(ROOT));
        assert_eq!(signer["spec"]["ca"]["secretName"], root["spec"]["secretName"]);
        assert_eq!(root["spec"]["isCA"], true);
        let first = named("Issuer", &root["spec"]["issuerRef"]["name"]);
        assert_eq!(first["spec"], json!({ "selfSigned": {} }));
    }

    #[test]
    fn the_operator_shows_what_is_issued_to_the_name_that_the_api_server_asks_for() {
        let spec = named("Certificate", &json!(SERVED))["spec"].clone();
        assert_eq!(spec["dnsNames"], json!(["kubedr-webhook.kubedr-system.svc"]));
        let Change { certificates, volume, mount } = change();
        let (volume, mount) = (volume.expect("a volume"), mount.expect("a mount"));
        assert_eq!(volume["secret"]["secretName"], spec["secretName"]);
        assert_eq!((&mount["name"], &mount["mountPath"]), (&volume["name"], &json!(certificates)));
        assert_eq!(mount["readOnly"], true);
    }

    #[test]
    fn backups_do_not_wait_for_cert_manager() {
        assert_eq!(change().volume.expect("a volume")["secret"]["optional"], true);
    }

    /// Its own Secret, or that of the other overlay would be in the way of cert-manager by its type.
    #[test]
    fn no_secret_is_that_of_the_operators_own_authority() {
        assert!(![SERVED, ROOT].contains(&names::WEBHOOK_AUTHORITY));
    }
}
