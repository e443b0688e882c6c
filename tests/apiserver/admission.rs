//! What the API server refuses by itself, and what it lets through while nobody answers its questions.
use std::path::{Component, Path};

use anyhow::{Context, Result};
use api::{BackupLocation, MetadataBackupPolicy, names};
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::Secret,
    },
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use kubedr_tests::{Installation, config, until, with_kinds};
use serde_json::{Value, json};

use crate::objects::{location, merged, policy, record, refused, restore};

/// One that upstream put on its objects.
const FINALIZER: &str = names::UPSTREAM_FINALIZERS[0];

/// The same object in another namespace.
fn within(namespace: &str, mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!(namespace);
    object
}

/// The same object with a finalizer that nobody takes away by himself.
fn held(mut object: Value) -> Value {
    object["metadata"]["finalizers"] = json!([FINALIZER]);
    object
}

/// Applies the policies, and waits until the API server asks them, which takes it a moment.
///
/// Of a namespace that is not there it would not ask them.
async fn police(kubedr: &Installation) -> Result<()> {
    kubedr.make_elsewhere().await?;
    kubedr.install("admission").await?;
    are_asked(kubedr).await
}

async fn are_asked(kubedr: &Installation) -> Result<()> {
    kubedr.make_elsewhere().await?;
    let misplaced = within(&kubedr.elsewhere(), restore(&json!({})));
    // Relative to no folder of any list.
    let outside = policy(&json!({ "certsDir": "/nowhere" }));
    denied(kubedr, &misplaced).await?;
    denied(kubedr, &outside).await
}

async fn denied(kubedr: &Installation, object: &Value) -> Result<()> {
    until("the policies to be asked", async || {
        Ok(match kubedr.try_out(object.clone()).await {
            Ok(()) => Err("let through".to_owned()),
            Err(error) => {
                let said = format!("{error:#}");
                if said.contains("denied request") { Ok(()) } else { Err(said) }
            }
        })
    })
    .await
}

#[tokio::test]
async fn objects_are_made_in_the_operators_namespace_only() {
    with_kinds("misplaced", async |kubedr| {
        police(kubedr).await?;
        let (own, elsewhere) = (&kubedr.namespace, kubedr.elsewhere());
        let words = format!(
            "WrongNamespace: metadata.namespace: is {elsewhere:?}, and kubedr works in namespace {own:?} only"
        );
        for made in [location, policy, record, restore].map(|object| object(&json!({}))) {
            kubedr.apply(made.clone()).await?;
            refused(kubedr, within(&elsewhere, made), &words).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_was_made_elsewhere_before_can_be_changed_and_removed() {
    with_kinds("leftovers", async |kubedr| {
        kubedr.make_elsewhere().await?;
        let elsewhere = kubedr.elsewhere();
        let made = |changes: Value| within(&elsewhere, held(policy(&changes)));
        kubedr.apply(made(json!({ "certsDir": "/etc/ssh" }))).await?;
        police(kubedr).await?;
        kubedr.apply(made(json!({ "certsDir": "/etc/ssh", "suspend": true }))).await?;
        let policies = Api::<MetadataBackupPolicy>::namespaced(kubedr.client.clone(), &elsewhere);
        said(&policies, "etcd").await?;
        goes(&policies, "etcd").await
    })
    .await;
}

/// Writes a status, as the operator does.
async fn said(policies: &Api<MetadataBackupPolicy>, name: &str) -> Result<()> {
    let status = json!({ "status": { "backupErrorMessage": "WrongNamespace" } });
    let written = policies.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
    let message = written.status.and_then(|status| status.backup_error_message);
    anyhow::ensure!(message.as_deref() == Some("WrongNamespace"), "{message:?}");
    Ok(())
}

/// Deletes an object that is held, takes away what holds it, and sees it gone.
async fn goes<K>(objects: &Api<K>, name: &str) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    objects.delete(name, &DeleteParams::default()).await.context("failed to delete it")?;
    let left = objects.get(name).await.context("its finalizer holds it")?;
    anyhow::ensure!(left.meta().deletion_timestamp.is_some(), "{} is not on its way", left.name_any());
    let free = json!({ "metadata": { "finalizers": null } });
    objects.patch(name, &PatchParams::default(), &Patch::Merge(free)).await.context("failed to free it")?;
    until("the object to go", async || {
        Ok(match objects.get_opt(name).await? {
            None => Ok(()),
            Some(left) => Err(left),
        })
    })
    .await
}

#[tokio::test]
async fn a_policy_names_allowed_paths_only() {
    with_kinds("paths", async |kubedr| {
        police(kubedr).await?;
        let extra = |path| json!({ "extraHostPaths": [{ "path": "/etc/etcd/a" }, { "path": path }] });
        // What is no clean path the definition refuses, which is asked before.
        for (fields, words) in [
            (
                json!({ "certsDir": "/etc/ssh" }),
                r#"HostPathNotAllowed: spec.certsDir: "/etc/ssh" is not under"#,
            ),
            (json!({ "certsDir": "/etc" }), r#"HostPathNotAllowed: spec.certsDir: "/etc" is not under"#),
            (json!({ "certsDir": "/etc/kubernetes-old" }), r#""/etc/kubernetes-old" is not under"#),
            (
                extra("/root/.ssh"),
                r#"HostPathNotAllowed: spec.extraHostPaths[1].path: "/root/.ssh" is not under"#,
            ),
            (extra("/root"), &api::AllowedHostPaths::DEFAULT.join(", ")),
            (json!({ "certsDir": "/etc/kubernetes/../ssh" }), "must be absolute, without empty parts"),
            (json!({ "certsDir": "etc/kubernetes" }), "must be absolute, without empty parts"),
            (json!({ "certsDir": "/" }), "must be absolute, without empty parts"),
        ] {
            refused(kubedr, policy(&fields), words).await?;
        }
        for fields in [
            json!({}),
            json!({ "certsDir": "" }),
            json!({ "certsDir": "/etc/kubernetes" }),
            json!({ "certsDir": "/var/lib/minikube/certs/" }),
            json!({ "certsDir": "/etc/kubernetes/..data" }),
            extra("/system/secrets/kubernetes"),
        ] {
            kubedr.apply(policy(&fields)).await?;
        }
        refused(kubedr, policy(&json!({ "certsDir": "/etc/ssh" })), "HostPathNotAllowed: ").await
    })
    .await;
}

#[tokio::test]
async fn a_path_that_has_become_forbidden_keeps_its_policy_from_nothing_else() {
    with_kinds("forbidden", async |kubedr| {
        let naming = |changes: Value| held(policy(&merged(json!({ "certsDir": "/etc/ssh" }), &changes)));
        kubedr.apply(naming(json!({}))).await?;
        police(kubedr).await?;
        kubedr.apply(naming(json!({ "suspend": true }))).await?;
        kubedr.annotate::<MetadataBackupPolicy>("etcd", "run-now", "1").await?;
        said(&kubedr.api(), "etcd").await?;
        let more = naming(json!({ "extraHostPaths": [{ "path": "/root" }] }));
        refused(kubedr, more, r#"HostPathNotAllowed: spec.extraHostPaths[0].path: "/root""#).await?;
        kubedr.apply(naming(json!({ "certsDir": "/etc/etcd" }))).await?;
        refused(kubedr, naming(json!({})), r#"HostPathNotAllowed: spec.certsDir: "/etc/ssh""#).await?;
        goes(&kubedr.api::<MetadataBackupPolicy>(), "etcd").await
    })
    .await;
}

/// The kind of records as by a definition that pins nothing, as upstream's, and the policy that does: in a group of
/// their own, for the definition is one for all tests.
async fn without_rules(kubedr: &Installation) -> Result<Vec<Value>> {
    let mut objects = kubedr.rendered(&config().join("crd")).await?;
    objects.retain(|object| object["spec"]["names"]["kind"] == "MetadataBackupRecord");
    let [kind] = &mut objects[..] else { anyhow::bail!("one definition: {objects:#?}") };
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let spec = kind.pointer_mut(spec).and_then(Value::as_object_mut).context("a kind without spec")?;
    spec.remove("x-kubernetes-validations").context("a definition that pins nothing itself")?;
    let admission = kubedr.rendered(&config().join("admission")).await?;
    let pins =
        |object: &Value| object["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("records."));
    objects.extend(admission.into_iter().filter(pins));
    Ok(objects)
}

/// The object, in another group.
fn older(object: &Value) -> Value {
    let text = object.to_string().replace(api::GROUP, &format!("older.{}", api::GROUP));
    serde_json::from_str(&text).expect("JSON with another name in it")
}

#[tokio::test]
async fn a_record_stays_of_its_backup_also_by_a_definition_that_pins_nothing() {
    with_kinds("pinned", async |kubedr| {
        for object in without_rules(kubedr).await? {
            kubedr.apply(older(&object)).await?;
        }
        let pinned = |changes: Value| older(&held(record(&merged(json!({ "backuploc": "s3" }), &changes))));
        kubedr.apply(older(&held(record(&json!({}))))).await?;
        kubedr.apply(pinned(json!({}))).await?;
        denied(kubedr, &pinned(json!({ "policy": "other" }))).await?;
        let because = "for good, since a record names one backup";
        for (change, words) in [
            (
                json!({ "policy": "other" }),
                r#"InvalidSpec: spec.policy: cannot become "other": it is "etcd""#,
            ),
            (
                json!({ "snapshotId": "12345678" }),
                r#"InvalidSpec: spec.snapshotId: cannot become "12345678": it is "9a9808ce""#,
            ),
            (
                json!({ "backuploc": "other" }),
                r#"InvalidSpec: spec.backuploc: cannot become "other": it is "s3""#,
            ),
        ] {
            refused(kubedr, pinned(change), &format!("{words} {because}")).await?;
        }
        let words = r#"InvalidSpec: spec.backuploc: cannot become nothing: it is "s3""#;
        refused(kubedr, older(&held(record(&json!({})))), words).await?;
        // What holds it can be taken away.
        kubedr.apply(older(&record(&json!({ "backuploc": "s3" })))).await
    })
    .await;
}

/// An overlay as an administrator writes it, with a list of his own.
fn overlay(folder: &Path) -> Result<()> {
    let config = config().canonicalize()?;
    // kustomize takes no absolute paths.
    let up = folder.canonicalize()?.components().filter(|part| *part != Component::RootDir).count();
    let config = |name: &str| {
        format!("{}{}", "../".repeat(up), config.join(name).display().to_string().trim_start_matches('/'))
    };
    let kustomization = json!({
        "resources": [config("manager"), config("admission")],
        "components": [config("allowed-host-paths")],
        "configMapGenerator": [{
            "name": "kubedr-allowed-host-paths",
            "literals": ["paths=/srv/pki,/etc/ssh"],
            "options": { "annotations": { "config.kubernetes.io/local-config": "true" } },
        }],
    });
    std::fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).context("failed to write it")
}

#[tokio::test]
async fn an_administrators_own_list_is_written_once() {
    with_kinds("own-list", async |kubedr| {
        let folder = tempfile::tempdir()?;
        overlay(folder.path())?;
        let objects = kubedr.rendered(folder.path()).await?;
        let of =
            |kind: &str| objects.iter().filter(|object| object["kind"] == kind).cloned().collect::<Vec<_>>();
        assert!(of("ConfigMap").is_empty(), "the list is not installed itself");
        let [operator] = &of("Deployment")[..] else { anyhow::bail!("one operator: {objects:#?}") };
        let flag = &operator["spec"]["template"]["spec"]["containers"][0]["args"][0];
        assert_eq!(*flag, "--allowed-host-path=/srv/pki,/etc/ssh");
        for object in [of("ValidatingAdmissionPolicy"), of("ValidatingAdmissionPolicyBinding")].concat() {
            kubedr.apply(object).await?;
        }
        are_asked(kubedr).await?;
        kubedr.apply(policy(&json!({ "certsDir": "/etc/ssh/keys" }))).await?;
        let words = r#""/etc/kubernetes" is not under an allowed host path: /srv/pki, /etc/ssh"#;
        refused(kubedr, policy(&json!({ "certsDir": "/etc/kubernetes" })), words).await
    })
    .await;
}

#[tokio::test]
async fn while_nobody_answers_nothing_new_is_asked_for_and_everything_can_go() {
    with_kinds("unanswered", async |kubedr| {
        kubedr.apply(held(location(&json!({})))).await?;
        kubedr.apply(policy(&json!({}))).await?;
        kubedr.install("webhook").await?;
        until("the webhooks to be asked", async || {
            let changed = kubedr.try_out(policy(&json!({ "suspend": true }))).await;
            Ok(changed.err().map(|error| format!("{error:#}")).ok_or("let through"))
        })
        .await?;
        let unanswered = "failed calling webhook";
        refused(kubedr, policy(&json!({ "suspend": true })), unanswered).await?;
        refused(kubedr, held(location(&json!({ "region": "eu-1" }))), unanswered).await?;
        // What is asked for stays the same.
        kubedr.annotate::<MetadataBackupPolicy>("etcd", "run-now", "1").await?;
        said(&kubedr.api(), "etcd").await?;
        // No backup is made of these.
        kubedr.apply(record(&json!({}))).await?;
        kubedr.apply(restore(&json!({}))).await?;
        goes(&kubedr.api::<BackupLocation>(), "s3").await?;
        let policies = kubedr.api::<MetadataBackupPolicy>();
        policies.delete("etcd", &DeleteParams::default()).await.context("failed to delete the policy")?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_put_in_later_stays_when_all_is_applied_again() {
    with_kinds("again", async |kubedr| {
        let objects = kubedr.rendered(&config().join("self-signed")).await?;
        let filled =
            ["Secret", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"].map(Value::from);
        let objects: Vec<_> = objects.into_iter().filter(|object| filled.contains(&object["kind"])).collect();
        let manifest = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        let kubectl = async |verb: &str| {
            let kubectl = kubedr.cluster.program("kubectl").args([verb, "-f", "-"]);
            kubectl.input(manifest.clone()).succeed().await
        };
        kubectl("apply").await?;
        let authority = put_in(kubedr).await?;
        let said = kubectl("apply").await?;
        assert!(said.lines().all(|line| line.ends_with(" unchanged")), "{said}");
        let found = found(kubedr).await?;
        assert!(found.len() == 7 + 1 && found.iter().all(|found| *found == authority), "{found:?}");
        kubectl("delete").await.map(drop)
    })
    .await;
}

/// Does what the operator does: its authority into its Secret, and into each webhook.
async fn put_in(kubedr: &Installation) -> Result<ByteString> {
    let authority =
        ByteString(std::fs::read(kubedr.cluster.certificates.join("ca.crt")).context("no authority")?);
    kubedr.patch::<Secret>(names::WEBHOOK_AUTHORITY, json!({ "data": { "ca.crt": authority } })).await?;
    let name = names::webhooks(&kubedr.namespace);
    let put = |count: usize| {
        let put = |index| json!({ "op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": authority });
        serde_json::from_value(Value::from((0..count).map(put).collect::<Vec<_>>())).map(Patch::<()>::Json)
    };
    let mutating = Api::<MutatingWebhookConfiguration>::all(kubedr.client.clone());
    mutating.patch(&name, &PatchParams::default(), &put(2)?).await?;
    let validating = Api::<ValidatingWebhookConfiguration>::all(kubedr.client.clone());
    validating.patch(&name, &PatchParams::default(), &put(5)?).await?;
    Ok(authority)
}

/// What is in the Secret and in each webhook.
async fn found(kubedr: &Installation) -> Result<Vec<ByteString>> {
    let secret = kubedr.api::<Secret>().get(names::WEBHOOK_AUTHORITY).await?;
    Ok(kubedr.carried().await?.into_iter().chain(secret.data.unwrap_or_default().into_values()).collect())
}
