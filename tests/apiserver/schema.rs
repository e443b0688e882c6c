//! Definitions that are accepted, defaults that are filled in, nonsense that is refused.
use api::MetadataBackupRecord;
use kube::{ResourceExt, api::ListParams};
use kubedr_tests::with_kinds;
use serde_json::{Value, json};

use crate::objects::{location, merged, object, policy, refused};

#[tokio::test]
async fn definitions_are_structural_and_samples_are_accepted() {
    with_kinds("samples", async |kubedr| {
        let crds = ["get", "crd", "-o", "json"];
        let crds: Value =
            serde_json::from_str(&kubedr.cluster.program("kubectl").args(crds).succeed().await?)?;
        for crd in crds["items"].as_array().into_iter().flatten() {
            let conditions = crd["status"]["conditions"].to_string();
            assert!(!conditions.contains("NonStructuralSchema"), "{conditions}");
        }
        let samples = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/samples"))?;
        for sample in samples {
            let manifest =
                std::fs::read_to_string(sample?.path())?.replace("kubedr-system", &kubedr.namespace);
            kubedr.cluster.program("kubectl").args(["apply", "-f", "-"]).input(manifest).succeed().await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn defaults_are_filled_in_and_nobody_has_looked_yet() {
    with_kinds("defaults", async |kubedr| {
        kubedr.apply(policy(&json!({}))).await?;
        let policy: api::MetadataBackupPolicy = kubedr.api().get("etcd").await?;
        assert_eq!(policy.spec.retain_num_backups, 120);
        assert_eq!(policy.spec.etcd_endpoint, "https://127.0.0.1:2379");
        assert_eq!(policy.spec.etcd_creds, "etcd-creds");
        assert_eq!(policy.status.unwrap_or_default().observed_generation, Some(-1));
        kubedr.apply(location(&json!({}))).await?;
        let location: api::BackupLocation = kubedr.api().get("s3").await?;
        assert_eq!(location.spec.region, "us-east-1");
        assert_eq!(location.status.unwrap_or_default().observed_generation, Some(-1));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_can_never_work_is_refused_with_its_field() {
    with_kinds("refusals", async |kubedr| {
        refused(kubedr, policy(&json!({ "retainNumBackups": -1 })), "retainNumBackups").await?;
        refused(kubedr, policy(&json!({ "deadlineSeconds": 59 })), "deadlineSeconds").await?;
        refused(kubedr, policy(&json!({ "options": { "color": "blue" } })), "options").await?;
        refused(kubedr, policy(&json!({ "schedule": "*".repeat(257) })), "schedule").await?;
        refused(kubedr, location(&json!({ "url": "ftp://s3.example.org" })), "url").await?;
        refused(kubedr, location(&json!({ "url": "https://user:password@s3.example.org" })), "url").await?;
        refused(kubedr, location(&json!({ "bucketName": "UPPER" })), "bucketName").await?;
        refused(kubedr, location(&json!({ "prefix": "../up" })), "prefix").await?;
        refused(kubedr, location(&json!({ "maintenance": { "maxUnused": "some" } })), "maxUnused").await?;
        let spec = json!({ "destination": "s3", "schedule": "0 * * * *" });
        refused(kubedr, object("MetadataBackupPolicy", &"p".repeat(38), &spec), "37").await?;
        kubedr.apply(object("MetadataBackupPolicy", &"p".repeat(37), &spec)).await
    })
    .await;
}

#[tokio::test]
async fn a_records_backup_cannot_be_changed_but_its_location_be_pinned_once() {
    with_kinds("record", async |kubedr| {
        let record = |spec: Value| object("MetadataBackupRecord", "mbr-9a9808ce", &spec);
        let spec = json!({ "policy": "etcd", "snapshotId": "9a9808ce" });
        kubedr.apply(record(spec.clone())).await?;
        kubedr.apply(record(merged(spec.clone(), &json!({ "backuploc": "s3" })))).await?;
        for (field, value) in [("policy", "other"), ("snapshotId", "12345678"), ("backuploc", "other")] {
            let mut changed = merged(spec.clone(), &json!({ "backuploc": "s3" }));
            let was = std::mem::replace(&mut changed[field], value.into());
            // Between the two some versions say which type the value has.
            refused(kubedr, record(changed.clone()), &format!("spec.{field}: Invalid value: ")).await?;
            let words =
                format!("cannot become {value:?}: it is {was} for good, since a record names one backup");
            refused(kubedr, record(changed), &words).await?;
        }
        refused(kubedr, record(spec), r#"cannot become nothing: it is "s3" for good"#).await
    })
    .await;
}

#[tokio::test]
async fn records_are_selected_by_their_policy() {
    with_kinds("selected", async |kubedr| {
        for (id, policy) in [("11111111", "etcd"), ("22222222", "other"), ("33333333", "etcd")] {
            let spec = json!({ "policy": policy, "snapshotId": id });
            kubedr.apply(object("MetadataBackupRecord", &format!("mbr-{id}"), &spec)).await?;
        }
        let field = format!("{}=etcd", MetadataBackupRecord::POLICY_FIELD);
        let found = kubedr.api::<MetadataBackupRecord>().list(&ListParams::default().fields(&field)).await?;
        let names: Vec<_> = found.items.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["mbr-11111111", "mbr-33333333"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn statuses_that_upstream_stored_stay_writable() {
    with_kinds("upstream", async |kubedr| {
        kubedr.apply(policy(&json!({}))).await?;
        let status = json!({ "status": {
            "backupTime": "Thu Feb 20 10:00:00 2020", "backupStatus": "Something else", "totalDurationSecs": "3.5",
            "filesNew": 3, "snapshotId": "9a9808ce", "backupPod": "etcd-1", "mbrName": "mbr-9a9808ce",
        } });
        let patch = ["patch", "metadatabackuppolicy", "etcd", "-n", &kubedr.namespace, "--subresource=status", "--type=merge"];
        kubedr.cluster.program("kubectl").args(patch).args(["-p", &status.to_string()]).succeed().await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn columns_tell_what_a_person_asks_first() {
    with_kinds("columns", async |kubedr| {
        kubedr.apply(location(&json!({}))).await?;
        kubedr.apply(policy(&json!({}))).await?;
        kubedr
            .apply(object(
                "MetadataBackupRecord",
                "mbr-1",
                &json!({ "policy": "etcd", "snapshotId": "9a9808ce" }),
            ))
            .await?;
        for (kind, columns) in [
            ("backuplocations", ["READY", "URL", "BUCKET"]),
            ("metadatabackuppolicies", ["READY", "SCHEDULE", "LAST"]),
            ("metadatabackuprecords", ["POLICY", "SIZE", "PROOF"]),
        ] {
            let table = kubedr
                .cluster
                .program("kubectl")
                .args(["get", kind, "-n", &kubedr.namespace])
                .succeed()
                .await?;
            let header = table.lines().next().unwrap_or_default();
            assert!(columns.iter().all(|column| header.contains(column)) && header.len() < 120, "{table}");
        }
        let why = json!([{
            "type": "Fresh", "status": "False", "reason": "HostPathMissing", "message": "",
            "lastTransitionTime": "2030-01-01T00:00:00Z",
        }]);
        let patch =
            ["patch", "metadatabackuppolicy", "etcd", "-n", &kubedr.namespace, "--subresource=status"];
        let status = json!({ "status": { "conditions": why } }).to_string();
        let patched = kubedr.cluster.program("kubectl").args(patch).args(["--type=merge", "-p", &status]);
        patched.succeed().await?;
        let get = ["get", "metadatabackuppolicies", "-n", &kubedr.namespace];
        let table = kubedr.cluster.program("kubectl").args(get).succeed().await?;
        assert!(table.contains("HostPathMissing"), "why the last run failed is seen at once: {table}");
        Ok(())
    })
    .await;
}
