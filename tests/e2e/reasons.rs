//! What is wrong, each for real: it is named by its reason, and it heals once it is right.
use std::time::Duration;

use anyhow::{Context, Result};
use api::BackupLocation;
use futures::future::try_join_all;
use k8s_openapi::api::{
    apps::v1::Deployment,
    authorization::v1::SubjectAccessReview,
    batch::v1::{CronJob, Job},
    rbac::v1::{ClusterRole, Role},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kubedr_tests::{EtcdMember, Installation, NodePod, message, pair, until, with_kubedr};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// What each location is told.
const OF_LOCATIONS: [(&str, &str); 7] = [
    ("no-host", "HostNotFound"),
    ("untrusted", "TlsUntrusted"),
    ("no-bucket", "BucketMissing"),
    ("not-ours", "BucketForbidden"),
    ("damaged", "RepositoryDamaged"),
    ("half-made", "RepositoryHalfMade"),
    ("taken", "NameTaken"),
];

#[tokio::test]
async fn what_is_wrong_with_a_location_is_named_within_a_minute_and_heals_when_it_is_right() {
    with_kubedr("location-troubles", async |kubedr| {
        let config = location_troubles(kubedr).await?;
        try_join_all(OF_LOCATIONS.map(|(name, _)| kubedr.apply(troubled(kubedr, name)))).await?;
        let told = OF_LOCATIONS.map(|(name, reason)| kubedr.location_is(name, ("False", reason)));
        try_join_all(told).await?;
        kubedr.apply(kubedr.policy("early", "no-host", &json!({}))).await?;
        kubedr.policy_is("early", ("False", "DestinationNotReady")).await?;
        end_location_troubles(kubedr, &config).await?;
        let ready = OF_LOCATIONS.map(|(name, _)| kubedr.location_is(name, ("True", "Ready")));
        try_join_all(ready).await?;
        kubedr.policy_is("early", ("True", "Ready")).await.map(drop)
    })
    .await;
}

/// Each has a folder of its own in the bucket.
fn troubled(kubedr: &Installation, name: &str) -> Value {
    let mut location = kubedr.location(name);
    let spec = &mut location["spec"];
    spec["prefix"] = json!(name);
    match name {
        "no-host" => spec["url"] = json!("http://s3.kubedr.invalid:7070"),
        "untrusted" => spec["url"] = json!(kubedr.cluster.s3_url("versitygw-tls").unwrap_or_default()),
        "no-bucket" => {
            spec["credentials"] = json!(name);
            spec["bucketName"] = json!(format!("{}-none", kubedr.bucket.name));
        }
        "not-ours" => spec["credentials"] = json!(name),
        _ => {}
    }
    location
}

/// What makes a repository of a folder, and where it is as long as it does not.
const CONFIG: &str = "half-made/config";
const ASIDE: &str = "aside";

/// Makes the troubles, and returns the sound bytes of the damaged repository's config.
async fn location_troubles(kubedr: &Installation) -> Result<Vec<u8>> {
    let (access_key, secret_key) = kubedr.cluster.s3_stranger()?;
    let stranger = kubedr_tests::Bucket { access_key, secret_key, ..kubedr.bucket.clone() };
    for name in ["no-bucket", "not-ours"] {
        kubedr.make_secret(name, &stranger.credentials()).await?;
    }
    kubedr.apply(strangers_job("taken-init")).await?;
    kubedr.bucket.at("half-made").restic().args(["init"]).succeed().await?;
    std::fs::rename(kubedr.bucket.folder().join(CONFIG), kubedr.bucket.folder().join(ASIDE))?;
    let damaged = kubedr.bucket.at("damaged");
    damaged.restic().args(["init"]).succeed().await?;
    let file = damaged.folder().join("damaged/config");
    let sound = std::fs::read(&file).context("no config")?;
    let mut bytes = sound.clone();
    bytes[20] ^= 1;
    std::fs::write(file, bytes)?;
    Ok(sound)
}

/// Mends each as its administrator would.
async fn end_location_troubles(kubedr: &Installation, config: &[u8]) -> Result<()> {
    std::fs::write(kubedr.bucket.folder().join("damaged/config"), config)?;
    std::fs::rename(kubedr.bucket.folder().join(ASIDE), kubedr.bucket.folder().join(CONFIG))?;
    for name in ["no-bucket", "not-ours"] {
        kubedr.make_secret(name, &kubedr.bucket.credentials()).await?;
    }
    kubedr.api::<Job>().delete("taken-init", &DeleteParams::background()).await?;
    kubedr.make_authority(&kubedr.cluster.s3_authority()?).await?;
    let trusted = json!({ "spec": { "caBundle": { "configMapName": "s3-ca" } } });
    kubedr.patch::<BackupLocation>("untrusted", trusted).await?;
    let known = json!({ "spec": { "url": kubedr.bucket.endpoint } });
    kubedr.patch::<BackupLocation>("no-host", known).await.map(drop)
}

/// A Job of somebody else, which does nothing.
fn strangers_job(name: &str) -> Value {
    let container = json!({ "name": "idle", "image": "kubedr.test/pause:1" });
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name },
        "spec": { "suspend": true, "template": {
            "spec": { "restartPolicy": "Never", "containers": [container] },
        } },
    })
}

/// What each policy is told of itself.
const OF_POLICIES: [(&str, &str); 4] = [
    ("outside", "HostPathNotAllowed"),
    ("nowhere", "NoEtcdNode"),
    ("taken", "NameTaken"),
    (TOO_LONG, "NameTooLong"),
];

/// Longer than what leaves room for a CronJob's name.
const TOO_LONG: &str = "a-policy-that-an-older-version-stored-under-a-long-name";

#[tokio::test]
async fn what_is_wrong_with_a_policy_is_named_and_heals_when_it_is_right() {
    with_kubedr("policy-troubles", async |kubedr| {
        kubedr.make_location().await?;
        let cronjob = strangers_job("")["spec"].clone();
        kubedr
            .apply(json!({
                "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "taken-backup-cronjob" },
                "spec": { "schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": { "spec": cronjob } },
            }))
            .await?;
        let specs = [
            ("nowhere", json!({ "options": { "master-node-label-name": "example.org/nowhere" } })),
            ("taken", json!({})),
        ];
        try_join_all(specs.map(|(name, spec)| kubedr.apply(kubedr.policy(name, "s3", &spec)))).await?;
        kubedr.store_unasked(kubedr.policy("outside", "s3", &json!({ "certsDir": "/root" }))).await?;
        kubedr.store_unasked(kubedr.policy(TOO_LONG, "s3", &json!({}))).await?;
        try_join_all(OF_POLICIES.map(|(name, reason)| kubedr.policy_is(name, ("False", reason)))).await?;
        kubedr.api::<CronJob>().delete("taken-backup-cronjob", &DeleteParams::background()).await?;
        kubedr.change_policy("outside", json!({ "certsDir": "/etc/kubernetes/pki" })).await?;
        kubedr.change_policy("nowhere", json!({ "options": null })).await?;
        // A stranger's CronJob is not watched: a change makes kubedr look at once.
        kubedr.change_policy("taken", json!({ "retainNumBackups": 7 })).await?;
        rights_that_are_taken_away(kubedr).await
    })
    .await;
}

/// An operator that may not do its work says so, and goes on as soon as it may.
async fn rights_that_are_taken_away(kubedr: &Installation) -> Result<()> {
    let roles = kubedr.api::<Role>();
    let allowed = roles.get("kubedr-operator").await?.rules.context("no rules")?;
    let mut fewer = allowed.clone();
    for rule in fewer.iter_mut().filter(|rule| rule.api_groups.as_deref() == Some(&["batch".to_owned()])) {
        rule.verbs.retain(|verb| ["get", "list", "watch"].contains(&verb.as_str()));
    }
    set_rules(&roles, "kubedr-operator", &fewer).await?;
    is_allowed(kubedr, ("batch", "cronjobs", "patch"), false).await?;
    kubedr.apply(kubedr.policy("unwritable", "s3", &json!({}))).await?;
    kubedr.policy_is("unwritable", ("False", "ApiWriteFailed")).await?;
    set_rules(&roles, "kubedr-operator", &allowed).await?;
    kubedr.policy_is("unwritable", ("True", "Ready")).await?;

    let roles = Api::<ClusterRole>::all(kubedr.client.clone());
    let name = format!("kubedr-operator.{}", kubedr.namespace);
    let allowed = roles.get(&name).await?.rules.context("no rules")?;
    set_rules(&roles, &name, &[]).await?;
    is_allowed(kubedr, ("", "nodes", "list"), false).await?;
    // As long as a listing of nodes is good for whoever asks.
    tokio::time::sleep(controllers::Nodes::RECENT).await;
    kubedr.apply(kubedr.policy("unreadable", "s3", &json!({}))).await?;
    kubedr.policy_is("unreadable", ("False", "ApiReadFailed")).await?;
    set_rules(&roles, &name, &allowed).await?;
    kubedr.policy_is("unreadable", ("True", "Ready")).await.map(drop)
}

/// Waits until the API server's own copy of the roles gives the operator a right, or does not.
async fn is_allowed(
    kubedr: &Installation,
    (group, resource, verb): (&str, &str, &str),
    expected: bool,
) -> Result<()> {
    let attributes =
        json!({ "namespace": kubedr.namespace, "group": group, "resource": resource, "verb": verb });
    let user = format!("system:serviceaccount:{}:kubedr-operator", kubedr.namespace);
    let review = json!({ "metadata": {}, "spec": { "user": user, "resourceAttributes": attributes } });
    let review: SubjectAccessReview = serde_json::from_value(review)?;
    let reviews = Api::<SubjectAccessReview>::all(kubedr.client.clone());
    until("the right to be there or not", async || {
        let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        Ok(if status.allowed == expected { Ok(()) } else { Err(status) })
    })
    .await
}

async fn set_rules<Kind>(
    roles: &Api<Kind>,
    name: &str,
    allowed: &[k8s_openapi::api::rbac::v1::PolicyRule],
) -> Result<()>
where
    Kind: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let patch = Patch::Merge(json!({ "rules": allowed }));
    roles.patch(name, &PatchParams::default(), &patch).await.context("failed to change a role").map(drop)
}

/// Bytes per second: a snapshot takes minutes, and is under way when something befalls its pod.
const SLOW: u64 = 100_000;

#[tokio::test]
async fn what_befalls_a_pod_is_named_and_the_next_backup_succeeds() {
    with_kubedr("pod-troubles", async |kubedr| {
        kubedr.make_location().await?;
        tokio::try_join!(
            Box::pin(befalls(kubedr, ("killed", "Killed"), async |pod: &NodePod| {
                pod.signal("agent", Signal::SIGKILL).await
            })),
            Box::pin(befalls(kubedr, ("later", "Unknown"), async |pod: &NodePod| {
                pod.leave(&kubedr.cluster, "agent stream", RESULT_OF_A_LATER_VERSION).await?;
                pod.signal("agent", Signal::SIGKILL).await
            })),
            Box::pin(befalls(kubedr, ("cramped", "NoSpace"), async |pod: &NodePod| {
                // Where restic keeps what is on its way.
                pod.cramp("agent stream", "/work", 16 << 10).await
            })),
            Box::pin(befalls(kubedr, ("starved", "OutOfMemory"), async |pod: &NodePod| {
                // What starts a container needs more than its agent.
                pod.runs("agent").await?;
                pod.starve(TOO_LITTLE).await
            })),
        )?;
        Ok(())
    })
    .await;
}

/// What an agent may say that is of another version than its operator.
const RESULT_OF_A_LATER_VERSION: &str = r#"{"v":2,"verb":"backup","ok":true}"#;

/// Bytes: enough for the agent, too little for restic beside it.
const TOO_LITTLE: u64 = 12 << 20;

/// Starts a slow backup, lets something befall its pod, and sees what is said of it, and the next one succeed.
async fn befalls(
    kubedr: &Installation,
    (name, reason): (&str, &str),
    harm: impl AsyncFn(&NodePod) -> Result<()>,
) -> Result<()> {
    kubedr.make_policy(name, &json!({ "maxRate": SLOW })).await?;
    let job = kubedr.start_backup(name).await?;
    let pod = kubedr.pod_of(&job).await?;
    let harming = async {
        harm(&pod).await?;
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        told = kubedr.told(name, reason) => drop(told?),
        failed = harming => failed?,
    }
    kubedr.end(&job).await?;
    kubedr.change_policy(name, json!({ "maxRate": null })).await?;
    kubedr.successful_backup(name).await.map(drop)
}

#[tokio::test]
async fn an_image_that_is_of_no_use_is_named_and_the_right_one_is_taken_by_itself() {
    with_kubedr("images", async |kubedr| {
        let right = agent_image(kubedr).await?;
        kubedr.make_location().await?;
        for (image, reason) in [
            ("kubedr.test/not-there:1", "ImagePull"),
            ("kubedr.test/broken:1", "ImageBroken"),
            (&right.replace("agent", "operator"), "NoResult"),
        ] {
            set_agent_image(kubedr, image).await?;
            let name = reason.to_lowercase();
            let mut location = kubedr.location(&name);
            location["spec"]["prefix"] = json!(name);
            kubedr.apply(location).await?;
            kubedr.location_is(&name, ("False", reason)).await?;
        }
        set_agent_image(kubedr, &right).await?;
        let ready =
            ["imagepull", "imagebroken", "noresult"].map(|name| kubedr.location_is(name, ("True", "Ready")));
        try_join_all(ready).await.map(drop)
    })
    .await;
}

const IMAGE_FLAG: &str = "--agent-image=";

async fn agent_image(kubedr: &Installation) -> Result<String> {
    let arguments = operators_arguments(kubedr).await?;
    let image = arguments.iter().find_map(|argument| argument.strip_prefix(IMAGE_FLAG));
    image.map(str::to_owned).with_context(|| format!("no image in {arguments:?}"))
}

async fn operators_arguments(kubedr: &Installation) -> Result<Vec<String>> {
    let operator = kubedr.api::<Deployment>().get("kubedr-operator").await?;
    let pod = operator.spec.and_then(|spec| spec.template.spec).context("no pod")?;
    pod.containers.into_iter().next().and_then(|container| container.args).context("no arguments")
}

async fn set_agent_image(kubedr: &Installation, image: &str) -> Result<()> {
    let mut arguments = operators_arguments(kubedr).await?;
    arguments.retain(|argument| !argument.starts_with(IMAGE_FLAG));
    arguments.push(format!("{IMAGE_FLAG}{image}"));
    let arguments =
        json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/args", "value": arguments }]);
    let patch = Patch::Json::<()>(serde_json::from_value(arguments)?);
    kubedr.api::<Deployment>().patch("kubedr-operator", &PatchParams::default(), &patch).await?;
    kubedr.wait_until_operator_is_ready().await
}

#[tokio::test]
async fn a_backup_whose_snapshot_vanishes_is_no_backup() {
    with_kubedr("vanishing", async |kubedr| {
        kubedr.ready_policy(&json!({})).await?;
        let folder = kubedr.bucket.folder().join("snapshots");
        let thief = async {
            loop {
                // Not there before the first snapshot.
                for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                    // Gone by itself, or taken at the next turn.
                    drop(std::fs::remove_file(entry.path()));
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            failed = kubedr.failing_backup("etcd", "SnapshotMissing") => failed?,
            () = thief => {}
        }
        assert!(kubedr.records("etcd").await?.is_empty());
        kubedr.successful_backup("etcd").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn backups_that_the_server_locks_are_made_and_stay_until_they_may_go() {
    with_kubedr("object-lock", async |kubedr| {
        kubedr.ready_policy(&json!({ "retainNumBackups": 1 })).await?;
        let first = kubedr.successful_backup("etcd").await?;
        kubedr.bucket.hold_snapshots(true).await?;
        let second = kubedr.successful_backup("etcd").await?;
        kubedr.policy_says("etcd", "Retained", ("False", "ObjectLocked")).await?;
        let stored: Vec<_> = kubedr.bucket.snapshots().await?.into_iter().map(|found| found.id).collect();
        for id in [pair(&first)?, pair(&second)?].concat() {
            assert!(stored.contains(&id), "{id} is gone");
        }
        kubedr.bucket.hold_snapshots(false).await?;
        kubedr.successful_backup("etcd").await?;
        kubedr.policy_says("etcd", "Retained", ("True", "Retained")).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn objects_that_only_a_key_service_can_read_are_said_to_need_it() {
    with_kubedr("kms", async |kubedr| {
        let member = EtcdMember::start(&kubedr.cluster.machine_ip).await?;
        let mut etcd = member.etcd().await?;
        etcd.put("/registry/configmaps/default/a", b"k8s".to_vec()).await?;
        etcd.put("/registry/secrets/default/a", b"k8s:enc:kms:v2:vault:sealed".to_vec()).await?;
        kubedr.ready_policy(&json!({ "etcdEndpoint": member.endpoint() })).await?;
        kubedr.successful_backup("etcd").await?;
        let policy = kubedr.policy_says("etcd", "Complete", ("False", "NeedsKms")).await?;
        let conditions = policy.status.unwrap_or_default().conditions;
        assert!(message(&conditions, "Complete").contains("vault"), "{conditions:#?}");
        member.delete("/registry/secrets/", "/registry/secrets0").await?;
        kubedr.successful_backup("etcd").await?;
        kubedr.policy_says("etcd", "Complete", ("True", "Complete")).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn objects_of_more_kinds_than_are_told_apart_are_stored_and_said_not_to_be() {
    with_kubedr("kinds", async |kubedr| {
        let member = EtcdMember::start(&kubedr.cluster.machine_ip).await?;
        let mut etcd = member.etcd().await?;
        let of_a_kind = |number| (format!("/registry/kind{number}/default/a"), b"k8s".to_vec());
        let all: Vec<_> = (0..MANY_KINDS).map(of_a_kind).collect();
        for some in all.chunks(128) {
            etcd.put_all(some.to_vec()).await?;
        }
        kubedr.ready_policy(&json!({ "etcdEndpoint": member.endpoint() })).await?;
        kubedr.successful_backup("etcd").await?;
        kubedr.policy_says("etcd", "Complete", ("False", "Unsupported")).await.map(drop)
    })
    .await;
}

/// A cluster with all that can be had has some 500.
const MANY_KINDS: usize = 5000;
