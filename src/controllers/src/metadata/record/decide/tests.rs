use model::Reason;
use rstest::rstest;

use super::*;
use crate::fixtures::{
    NOW, at, backed_up, backup_job, cronjob, ended_pod, failure, forgotten, id, job, object, policy, record,
    settings,
};

/// A backup Job that ended a moment ago and left this.
fn backup(phase: &str, left: &str) -> JobWorld {
    let end = if phase == "Succeeded" { "Complete" } else { "Failed" };
    let job = backup_job(end);
    JobWorld {
        pods: vec![ended_pod(&job, phase, (0, left))],
        work: Work::Backup,
        policy: policy(),
        cronjob: Some(cronjob()),
        records: Vec::new(),
        now: at(NOW),
        job,
    }
}

/// A forget Job that was told to remove the backup 1 and keep 2.
fn forget(phase: &str, left: &str) -> JobWorld {
    let pair = |digit| json!({ "etcd": id(digit), "files": id('f') });
    let list = json!({ "go": [pair('1')], "stay": [pair('2')] }).to_string();
    let end = if phase == "Succeeded" { "Complete" } else { "Failed" };
    let mut job = job("forget-1", "MetadataBackupPolicy", &policy(), Some((end, "2030-01-01T11:59:30Z")));
    job.spec = Some(object(json!({ "template": { "spec": { "containers": [{ "name": "agent", "env": [
        { "name": "KUBEDR_FORGET", "value": list },
        { "name": "KUBEDR_REPOSITORY_ID", "value": id('a') },
    ] }] } } })));
    JobWorld {
        pods: vec![ended_pod(&job, phase, (0, left))],
        work: Work::Forget,
        records: vec![record('1', 1), record('2', 2)],
        cronjob: None,
        job,
        ..backup("Failed", "")
    }
}

impl JobWorld {
    fn with(mut self, record: MetadataBackupRecord) -> Self {
        self.records.push(record);
        self
    }

    fn with_the_same_in(mut self, repository: char) -> Self {
        let status = self.records[0].status.as_mut().expect("a status");
        status.repository_id = Some(id(repository));
        self
    }

    fn with_the_same_of(mut self, policy: &str) -> Self {
        policy.clone_into(&mut self.records[0].spec.policy);
        self
    }

    fn with_forged_job(mut self) -> Self {
        self.job.metadata.owner_references = None;
        self
    }

    fn with_another_cronjob(mut self) -> Self {
        self.cronjob.as_mut().expect("a cronjob").metadata.uid = Some("another".to_owned());
        self
    }

    fn without_a_cronjob(mut self) -> Self {
        self.cronjob = None;
        self
    }

    fn with_forged_pod(mut self) -> Self {
        self.pods[0].metadata.owner_references = None;
        self
    }

    fn of_a_policy_of_before(mut self) -> Self {
        self.policy.metadata.uid = Some("another".to_owned());
        self
    }
}

fn taken_by_another() -> MetadataBackupRecord {
    let mut other = record('1', 1);
    let full = format!("11111111{}", "0".repeat(56));
    other.status.as_mut().expect("a status").snapshot_id_full = Some(full);
    other
}

fn half_made() -> MetadataBackupRecord {
    MetadataBackupRecord { status: None, ..record('1', 1) }
}

/// What a plan writes: names of created records, of completed ones, and marks.
fn writes(plan: &Plan) -> String {
    let created = plan.create.iter().map(|object| format!("create {}", object.name_any()));
    let told = plan.status.iter().map(|object| format!("status {}", object.name_any()));
    let marked = plan.patch.iter().filter_map(|patch| patch.annotations.get(marks::RECORD)?.clone());
    let deleted = plan.delete.iter().map(|target| format!("delete {}", target.name));
    created
        .chain(told)
        .chain(marked.map(|name| format!("mark {name}")))
        .chain(deleted)
        .collect::<Vec<_>>()
        .join(", ")
}

#[rstest]
#[case::success_becomes_a_record(
    backup("Succeeded", &backed_up('1', 'b')),
    "create mbr-11111111, status mbr-11111111, mark mbr-11111111"
)]
#[case::record_without_status_is_completed(
    backup("Succeeded", &backed_up('1', 'b')).with(half_made()),
    "status mbr-11111111, mark mbr-11111111"
)]
#[case::name_that_another_snapshot_has_is_made_longer(
    backup("Succeeded", &backed_up('1', 'b')).with(taken_by_another()),
    "create mbr-111111111111, status mbr-111111111111, mark mbr-111111111111"
)]
#[case::failure_becomes_none(backup("Failed", &failure("backup", Reason::EtcdUnreachable)), "")]
#[case::result_that_cannot_be_read_becomes_none(backup("Succeeded", "{}"), "")]
#[case::result_without_its_snapshot_becomes_none(
    backup("Succeeded", &backed_up('1', 'b').replace("snapshotId", "snapshot")), ""
)]
#[case::result_of_a_node_whose_name_no_record_can_hold_becomes_none(
    backup("Succeeded", &backed_up('1', 'b').replace("node1", &"n".repeat(254))), ""
)]
#[case::result_of_another_repository_than_the_job_was_told_of_becomes_none(
    backup("Succeeded", &backed_up('1', 'b').replace(&id('a'), &id('e'))), ""
)]
#[case::result_of_another_cluster_than_the_job_was_told_of_becomes_none(
    backup("Succeeded", &backed_up('1', 'b').replace(&settings().cluster_uid, "another")), ""
)]
#[case::claim_of_a_pod_that_failed_becomes_none(backup("Failed", &backed_up('1', 'b')), "")]
#[case::forged_job_is_ignored(backup("Succeeded", &backed_up('1', 'b')).with_forged_job(), "")]
#[case::job_of_a_deleted_cronjob_of_the_same_name_is_ignored(
    backup("Succeeded", &backed_up('1', 'b')).with_another_cronjob(), ""
)]
#[case::job_without_its_cronjob_is_ignored(backup("Succeeded", &backed_up('1', 'b')).without_a_cronjob(), "")]
#[case::forged_pod_is_ignored(backup("Succeeded", &backed_up('1', 'b')).with_forged_pod(), "")]
#[case::job_of_a_deleted_policy_of_the_same_name_is_ignored(
    backup("Succeeded", &backed_up('1', 'b')).of_a_policy_of_before(), ""
)]
#[case::forgotten_backup_loses_its_record(forget("Succeeded", &forgotten()), "delete mbr-11111111")]
#[case::backup_that_could_not_be_forgotten_keeps_it(forget("Failed", &failure("forget", Reason::RepositoryLocked)), "")]
#[case::copy_in_another_repository_keeps_its_record(forget("Succeeded", &forgotten()).with_the_same_in('b'), "")]
#[case::record_of_another_policy_stays(forget("Succeeded", &forgotten()).with_the_same_of("another"), "")]
#[case::forged_forget_job_removes_nothing(forget("Succeeded", &forgotten()).with_forged_job(), "")]
fn a(#[case] world: JobWorld, #[case] expected: &str) {
    assert_eq!(writes(&decide_job(&world).expect("a name")), expected);
}

#[test]
fn with_every_name_taken_it_says_so() {
    let mut world = backup("Succeeded", &backed_up('1', 'b'));
    for digits in [8, 12, 16] {
        let mut other = taken_by_another();
        other.metadata.name = Some(format!("mbr-{}", "1".repeat(digits)));
        world = world.with(other);
    }
    assert_eq!(decide_job(&world).expect_err("taken").reason(), Reason::NameTaken);
}

/// Run again after each write that may have been the last: the end is the same.
#[test]
fn an_operator_that_dies_in_between_goes_on_where_it_was() {
    let mut world = backup("Succeeded", &backed_up('1', 'b'));
    let plan = decide_job(&world).expect("a name");
    let mut record: MetadataBackupRecord = object(json!(plan.create[0]));
    record.metadata.generation = Some(1);
    record.metadata.uid = Some("record-uid".to_owned());
    world.records = vec![record.clone()];
    let plan = decide_job(&world).expect("a name");
    assert_eq!(writes(&plan), "status mbr-11111111, mark mbr-11111111");
    record.status = Some(object(plan.status.expect("a status").data["status"].clone()));
    world.records = vec![record];
    assert_eq!(writes(&decide_job(&world).expect("a name")), "mark mbr-11111111");
}

/// Ready is not Complete: what cannot be restored must not say that it can.
#[test]
fn an_incomplete_backup_promises_no_restore() {
    let left = backed_up('1', 'b').replacen(
        '{',
        r#"{"incomplete":{"reason":"EncryptionKeyMissing","message":"Add key1."},"#,
        1,
    );
    let plan = decide_job(&backup("Succeeded", &left)).expect("a name");
    let conditions = &plan.status.expect("a status").data["status"]["conditions"];
    assert_eq!((&conditions[2]["type"], &conditions[2]["status"]), (&json!("Complete"), &json!("False")));
    let message = conditions[0]["message"].as_str().expect("a message");
    assert!(!message.contains("restore"), "{message}");
}

#[test]
fn record_manifest() {
    let plan = decide_job(&backup("Succeeded", &backed_up('1', 'b'))).expect("a name");
    insta::assert_yaml_snapshot!((&plan.create, &plan.status));
}

fn handmade(age: u8) -> World {
    let mut record = half_made();
    record.spec.backuploc = None;
    let made = at(NOW) - SignedDuration::from_secs(i64::from(age));
    record.metadata.creation_timestamp = Some(Time(made));
    World { record, policy: Some(policy()), now: at(NOW) }
}

#[test]
fn a_record_without_location_gets_that_of_its_policy() {
    let plan = decide(&handmade(60));
    assert_eq!(plan.patch[0].spec, Some(json!({ "backuploc": "local-minio" })));
}

#[test]
fn a_record_that_nobody_knows_says_so_unless_someone_else_is_faster() {
    let plan = decide(&handmade(60));
    let status = plan.status.expect("a status");
    assert_eq!(status.resource_version().as_deref(), Some("7"));
    assert_eq!(status.data["status"]["conditions"][1]["reason"], "Pending");
}

#[test]
fn a_young_record_is_left_to_the_one_who_makes_it() {
    let plan = decide(&handmade(10));
    assert!(plan.status.is_none());
    assert_eq!(plan.again.map(|wait| wait.as_secs()), Some(20));
}

#[test]
fn a_known_record_is_left_alone() {
    let plan = decide(&World { record: record('1', 1), policy: Some(policy()), now: at(NOW) });
    assert!(plan.status.is_none() && plan.patch.is_empty() && plan.again.is_none(), "{plan:?}");
}
