use api::{MetadataBackupPolicyStatus, MetadataBackupRecord, conditions, conditions::FRESH};
use rstest::rstest;
use runtime::conditions::find;
use serde_json::json;

use super::*;
use crate::fixtures::{
    self, NOW, at, backed_up, condition, container, ended_pod, failure, forgotten, id, job, object, pod,
    ready_location, record,
};

mod complete;
mod lineage;
mod records;
mod replacements;
mod retention;
mod slots;
mod tally;
mod world;

use records::*;
use world::*;

fn told(plan: &Plan, world: &World) -> MetadataBackupPolicyStatus {
    let written = plan.status.as_ref().map(|object| object.data["status"].clone());
    written.map_or_else(|| world.policy.status.clone().unwrap_or_default(), object)
}

fn said(world: &World, type_: &str) -> String {
    let status = told(&decide(world), world);
    let found = find(&status.conditions, type_).expect("it is always there");
    format!("{}/{}", found.status, found.reason)
}

fn not_ready() -> BackupLocation {
    fixtures::location()
}

fn failed_before_it_was_pinned() -> BackupLocation {
    let mut location = failing();
    location.status.as_mut().expect("a status").repository_id = None;
    location
}

fn failing() -> BackupLocation {
    let mut location = ready_location();
    let failed = object(json!([condition("Ready", "False", "AccessDenied")]));
    location.status.as_mut().expect("a status").conditions = failed;
    location
}

#[rstest]
#[case::made_as_asked(new(), "True/Ready", 1)]
#[case::left_alone_while_nothing_changes(running(), "True/Ready", 0)]
#[case::changed_with_the_spec(running().with(|spec| spec.certs_dir = None), "True/Ready", 1)]
#[case::suspended_with_the_policy(running().with(|spec| spec.suspend = true), "True/Suspended", 1)]
#[case::moved_to_another_endpoint(running().with(|spec| spec.etcd_endpoint = "https://10.0.0.5:2379".into()), "True/Ready", 1)]
#[case::not_made_without_a_destination(new().with_location(None), "False/DestinationMissing", 0)]
#[case::not_made_before_the_repository_is_pinned(new().with_location(Some(not_ready())), "Unknown/DestinationNotReady", 0)]
#[case::not_made_after_a_failed_init(new().with_location(Some(failed_before_it_was_pinned())), "False/DestinationNotReady", 0)]
#[case::kept_while_the_destination_fails(new().with_location(Some(failing())), "False/DestinationNotReady", 1)]
#[case::not_made_for_a_forbidden_path(new().with(|spec| spec.certs_dir = Some("/home".into())), "False/HostPathNotAllowed", 0)]
#[case::not_made_for_a_wrong_endpoint(new().with(|spec| spec.etcd_endpoint = "etcd".into()), "False/InvalidSpec", 0)]
#[case::not_made_for_a_schedule_that_kubernetes_refuses(new().with(|spec| spec.schedule = "TZ=UTC 0 3 * * *".into()), "False/InvalidSpec", 0)]
#[case::not_made_for_a_time_zone_that_it_refuses(new().with(|spec| spec.time_zone = Some("Local".into())), "False/InvalidSpec", 0)]
#[case::kept_as_it_was_while_the_schedule_is_none(running().with(|spec| spec.schedule = "0 0 3 * * *".into()), "False/InvalidSpec", 0)]
#[case::not_made_without_a_node(World { nodes: crate::nodes::NodeLabels::new(), ..new() }, "False/NoEtcdNode", 0)]
#[case::not_made_for_a_label_that_no_node_has(
    new().with(|spec| { spec.options.insert("master-node-label-name".into(), "x".into()); }), "False/NoEtcdNode", 0
)]
fn cronjob_is(#[case] world: World, #[case] ready: &str, #[case] applied: usize) {
    assert_eq!(said(&world, READY), ready);
    assert_eq!(decide(&world).apply.len(), applied);
}

fn suspended(world: World) -> World {
    world.with(|spec| spec.suspend = true)
}

/// The suspension that is asked for, if a write is, and whether only that changes.
#[rstest]
#[case::without_a_destination(suspended(running().with_location(None)), Some(true), "DestinationMissing")]
#[case::without_a_node(suspended(World { nodes: crate::nodes::NodeLabels::new(), ..running() }), Some(true), "NoEtcdNode")]
#[case::before_a_wrong_spec_is_mended(suspended(running().with(|spec| spec.etcd_endpoint = "etcd".into())), Some(true), "InvalidSpec")]
#[case::once_its_path_is_forbidden(running().allowing("/srv"), Some(true), "HostPathNotAllowed")]
#[case::once_its_path_is_forbidden_whatever_else_is_wrong(
    running().allowing("/srv").with(|spec| spec.certs_dir = None).with_location(None), Some(true), "DestinationMissing"
)]
#[case::not_because_a_forbidden_path_is_asked_for(
    running().with(|spec| spec.certs_dir = Some("/home".into())), None, "HostPathNotAllowed"
)]
#[case::not_because_the_destination_is_missing(running().with_location(None), None, "DestinationMissing")]
fn cronjob_is_stopped(#[case] mut world: World, #[case] expected: Option<bool>, #[case] reason: &str) {
    let plan = decide(&world);
    let applied: Option<CronJob> = plan.apply.first().map(|cronjob| object(json!(cronjob)));
    assert_eq!(applied.as_ref().and_then(|cronjob| cronjob.spec.as_ref()?.suspend), expected);
    let status = told(&plan, &world);
    let ready = find(&status.conditions, READY).expect("it is always there");
    assert_eq!((ready.reason.as_str(), ready.message.contains("Suspended")), (reason, expected.is_some()));
    let Some(mut applied) = applied else { return };
    assert!(controls(&world.policy, &applied), "else the next look would not know it");
    let stored = world.cronjob.take().and_then(|stored| stored.spec).expect("a spec");
    let spec = applied.spec.clone().expect("a spec");
    assert_eq!(spec, k8s_openapi::api::batch::v1::CronJobSpec { suspend: Some(true), ..stored });
    applied.metadata.uid = Some("cronjob-uid".to_owned());
    world.cronjob = Some(applied);
    assert!(decide(&world).apply.is_empty(), "once is enough");
}

#[test]
fn a_strangers_cronjob_is_not_taken_over() {
    let mut world = running().with(|spec| spec.suspend = true);
    world.cronjob.as_mut().expect("a cronjob").metadata.owner_references = None;
    assert_eq!(said(&world, READY), "False/NameTaken");
    assert!(decide(&world).apply.is_empty());
}

#[test]
fn upstreams_cronjob_makes_room() {
    let mut world = running();
    containers(&mut world)[0].name = "test-backup-kcx-backup".to_owned();
    let plan = decide(&world);
    assert_eq!((plan.delete[0].uid.as_str(), plan.apply.len()), ("cronjob-uid", 0));
}

#[test]
fn a_container_that_admission_injected_makes_no_cronjob_upstreams() {
    let mut world = running();
    let injected = object(json!({ "name": "mesh-proxy" }));
    containers(&mut world).push(injected);
    assert_eq!(decide(&world).delete, []);
}

fn containers(world: &mut World) -> &mut Vec<k8s_openapi::api::core::v1::Container> {
    let spec = world.cronjob.as_mut().and_then(|cronjob| cronjob.spec.as_mut());
    let pod = spec.and_then(|spec| spec.job_template.spec.as_mut()?.template.spec.as_mut());
    &mut pod.expect("a pod").containers
}

#[rstest]
#[case::nothing_ran(running(), "Unknown/Pending", "Initializing")]
#[case::newest_run_succeeded(running().failed("10:00").succeeded("11:00"), "True/Fresh", "Completed")]
#[case::newest_run_took_longer_than_a_run_can(
    running().run("11:00", "Succeeded", &backed_up('1', 'b').replace("2.532", "1e308")),
    "False/Unknown",
    "Failed"
)]
#[case::newest_run_stored_elsewhere(
    running().run("11:00", "Succeeded", &backed_up('1', 'b').replace(&id('a'), &id('e'))),
    "False/Unknown",
    "Failed"
)]
#[case::newest_run_failed(running().succeeded("10:00").failed("11:00"), "False/EtcdUnreachable", "Failed")]
#[case::image_is_missing(running().hanging("ImagePullBackOff"), "False/ImagePull", "Failed")]
#[case::folder_is_missing(running().on_a_missing_folder(), "False/HostPathMissing", "Failed")]
#[case::no_pod_can_be_made(running().without_a_pod(Some("exceeded quota")), "False/Unschedulable", "Failed")]
#[case::pod_is_being_replaced(running().succeeded("11:00").without_a_pod(None), "True/Fresh", "Completed")]
#[case::next_one_hangs(running().succeeded("11:00").hanging("ImagePullBackOff"), "False/ImagePull", "Failed")]
#[case::one_that_hung_goes_on(went_on(), "False/HostPathMissing", "Initializing")]
#[case::one_that_hung_was_removed(hung(), "False/HostPathMissing", "Failed")]
#[case::one_that_hung_goes_on_and_succeeds(hung().succeeded("12:01"), "True/Fresh", "Completed")]
#[case::one_that_hung_goes_on_until_its_agents_deadline(
    hung().run("12:01", "Failed", &failure("backup", Reason::DeadlineExceeded)), "False/DeadlineExceeded", "Failed"
)]
#[case::newest_job_was_tidied_away(without_its_newest_job(), "False/EtcdUnreachable", "Failed")]
#[case::run_that_hung_ran_out_of_time(hung().out_of_time("12:01"), "False/HostPathMissing", "Failed")]
#[case::run_that_did_not_hang_ran_out_of_time(running().out_of_time("11:59"), "False/DeadlineExceeded", "Failed")]
#[case::its_pod_is_gone(running().succeeded("11:00").written().drained(), "True/Fresh", "Completed")]
#[case::its_pod_is_gone_and_it_failed(running().failed("11:00").written().drained(), "False/EtcdUnreachable", "Failed")]
#[case::its_pod_was_gone_before_anyone_looked(running().succeeded("11:00").drained(), "False/NoResult", "Failed")]
#[case::its_pod_is_gone_but_its_record_is_there(running().succeeded("11:00").marked().drained(), "True/Fresh", "Completed")]
#[case::its_pod_is_gone_and_its_record_went_too(
    running().succeeded("11:00").marked().records([]).drained(), "True/Fresh", "Completed"
)]
#[case::jobs_were_tidied_away(World { backups: Vec::new(), ..running().succeeded("11:00").written() }, "True/Fresh", "Completed")]
fn fresh_when(#[case] world: World, #[case] fresh: &str, #[case] status: &str) {
    assert_eq!(said(&world, FRESH), fresh);
    assert_eq!(told(&decide(&world), &world).backup_status.as_deref(), Some(status));
    assert_eq!(said(&world.recorded(), READY), "True/Ready", "a failed night is not the policy's fault");
}

fn without_its_newest_job() -> World {
    let mut world = running().succeeded("10:00").failed("11:00").written();
    world.backups.pop();
    world
}

fn hung() -> World {
    let world = running().on_a_missing_folder().written();
    World { backups: Vec::new(), pods: Vec::new(), troubles: Vec::new(), ..world }
}

fn refused_keys() -> String {
    let failure = model::result::Failure::new(Reason::AccessDenied, "refused").at("spec.credentials");
    model::result::render::<bool>("backup", &Err(failure))
}

/// After what hung for want of a folder found it.
fn went_on() -> World {
    World { backups: Vec::new(), pods: Vec::new(), ..hung() }.backing_up()
}

#[rstest]
#[case::it_cannot_be_asked_for(new().with(|spec| spec.etcd_endpoint = "etcd".into()), "Failed", "InvalidSpec: spec.etcdEndpoint")]
#[case::it_has_nowhere_to_go(new().with_location(None), "Failed", "DestinationMissing: ")]
#[case::its_destination_is_being_made(new().with_location(Some(not_ready())), "Initializing", "")]
#[case::its_destination_cannot_be_made(new().with_location(Some(failed_before_it_was_pinned())), "Failed", "DestinationNotReady: ")]
#[case::it_is_in_order(new(), "Initializing", "")]
#[case::it_is_in_order_again(new().with_location(None).written().with_location(Some(ready_location())), "Initializing", "")]
#[case::a_run_cannot_begin(running().on_a_missing_folder(), "Failed", "HostPathMissing: spec.certsDir: ")]
#[case::the_locations_keys_are_refused(
    running().run("11:00", "Failed", &refused_keys()), "Failed", "AccessDenied: BackupLocation \"local-minio\" spec.credentials: "
)]
#[case::a_backup_was_made_before_it_was_asked_wrongly(
    running().succeeded("11:00").written().with(|spec| spec.etcd_endpoint = "etcd".into()), "Completed", ""
)]
fn upstreams_status_of_a_policy_says_why_when(
    #[case] world: World,
    #[case] status: &str,
    #[case] begins: &str,
) {
    let told = told(&decide(&world), &world);
    assert_eq!(told.backup_status.as_deref(), Some(status));
    let message = told.backup_error_message.expect("a message");
    assert!(message.starts_with(begins) && message.is_empty() == begins.is_empty(), "{message}");
}

#[rstest]
#[case::with_its_record(running().recorded().succeeded("11:00"), "True/Ready")]
#[case::without_one_for_an_hour(running().succeeded("11:00"), "False/ApiWriteFailed")]
#[case::without_one_for_a_moment(World { now: at("2030-01-01T11:00:10Z"), ..running().succeeded("11:00") }, "True/Ready")]
fn a_backup(#[case] world: World, #[case] ready: &str) {
    assert_eq!(said(&world, READY), ready);
}

#[rstest]
#[case::success(running().succeeded("11:00").recorded(), &["BackupSucceeded"])]
#[case::failure(running().failed("11:00"), &["BackupFailed"])]
#[case::no_older_run_when_the_newest_job_is_gone(without_its_newest_job(), &[])]
#[case::nothing_new(running().succeeded("11:00").written(), &[])]
#[case::second_success(running().succeeded("10:00").written().succeeded("11:00"), &["BackupSucceeded"])]
#[case::second_failure(running().failed("10:00").written().failed("11:00"), &["BackupFailed"])]
#[case::nothing_when_its_pod_is_gone(running().succeeded("11:00").written().drained(), &[])]
#[case::nothing_when_the_pod_of_a_failure_is_gone(running().failed("11:00").written().drained(), &[])]
#[case::a_success_that_only_its_record_tells_of(running().succeeded("11:00").marked().drained(), &["BackupSucceeded"])]
#[case::run_that_hangs(running().hanging("ImagePullBackOff"), &["BackupFailed"])]
#[case::end_of_a_run_that_hung(hung().out_of_time("12:01"), &["BackupFailed"])]
#[case::policy_that_cannot_be_carried_out(new().with_location(None), &["BackupFailed"])]
#[case::policy_that_still_cannot(new().with_location(None).written(), &[])]
#[case::run_that_still_hangs(running().hanging("ImagePullBackOff").written(), &[])]
fn tells_once_of(#[case] world: World, #[case] expected: &[&str]) {
    let events: Vec<_> = decide(&world).events.iter().map(|event| event.reason).collect();
    assert_eq!(events, expected);
}

#[rstest]
#[case::and_a_run_is_going_on(running().backing_up().annotated(annotation::RUN_NOW, "a"))]
#[case::and_the_cronjob_is_just_made(new().annotated(annotation::RUN_NOW, "a"))]
fn who_asks_to_run_now_waits_for_the_watch(#[case] world: World) {
    assert!(decide(&world).again.is_none_or(|again| again > NOW_AND_THEN));
}

#[rstest]
#[case::one_in_order(running().written(), false)]
#[case::one_that_is_suspended(suspended(running()).written(), false)]
#[case::one_that_something_is_in_the_way_of(new().with_location(None).written(), true)]
fn is_looked_at_now_and_then_although_nobody_says_so(#[case] world: World, #[case] expected: bool) {
    assert_eq!(decide(&world).again == Some(NOW_AND_THEN), expected);
}

#[rstest]
#[case::tells_so_at_once(75, Reason::EtcdUnreachable, "False/EtcdUnreachable", 1)]
#[case::for_good_tells_so_with_its_jobs_end(67, Reason::WrongPassword, "Unknown/Pending", 0)]
fn a_run_whose_first_pod_failed(
    #[case] code: i32,
    #[case] reason: Reason,
    #[case] fresh: &str,
    #[case] events: usize,
) {
    let mut world = running().without_a_pod(None);
    let failed = ended_pod(&world.backups[0], "Failed", (code, &failure("backup", reason)));
    world.pods.push(failed);
    let plan = decide(&world);
    assert_eq!(said(&world, FRESH), fresh);
    assert_eq!(plan.events.len(), events, "{:?}", plan.events);
    assert!(
        plan.events.iter().all(|event| event.message.ends_with("It is tried again.")),
        "{:?}",
        plan.events
    );
    assert_eq!(told(&plan, &world).backup_status.as_deref(), Some("Initializing"), "the run has not ended");
    assert!(decide(&world.written()).events.is_empty(), "told once");
}

#[rstest]
#[case::as_the_run_before_did_it_is_told_with_its_end(Reason::EtcdUnreachable, 0)]
#[case::otherwise_it_is_told_at_once(Reason::NoSpace, 1)]
fn of_a_try_that_fails(#[case] reason: Reason, #[case] events: usize) {
    let mut world = running().failed("10:00").written().without_a_pod(None);
    let job = world.backups.last().expect("a Job");
    world.pods.push(ended_pod(job, "Failed", (75, &failure("backup", reason))));
    assert_eq!(said(&world, FRESH), format!("False/{reason}"));
    assert_eq!(decide(&world).events.len(), events);
}

#[test]
fn a_run_that_hangs_is_looked_at_within_the_minute() {
    let again = decide(&running().hanging("ContainerCreating")).again.expect("again");
    assert!(again < Duration::from_secs(30));
}

#[test]
fn a_job_with_forged_labels_is_no_run() {
    let mut world = running().succeeded("11:00");
    world.backups[0].metadata.owner_references.as_mut().expect("an owner")[0].uid = "another".to_owned();
    assert_eq!(said(&world, FRESH), "Unknown/Pending");
}

#[test]
fn what_a_pod_says_is_told_as_one_short_line() {
    let said = format!("one\n\u{1b}[2J{}", "x".repeat(1500));
    let left =
        json!({ "v": 1, "verb": "backup", "ok": false, "reason": "Bug", "message": said, "field": said });
    let world = running().run("11:00", "Failed", &left.to_string());
    let plan = decide(&world);
    let status = told(&plan, &world);
    let conditions = status.conditions.iter().map(|condition| &condition.message);
    let all =
        plan.events.iter().map(|event| &event.message).chain(conditions).chain(&status.backup_error_message);
    let about_it: Vec<_> = all.filter(|text| text.contains("[2J")).collect();
    assert_eq!(about_it.len(), 3, "an event, a condition and upstream's field: {about_it:?}");
    assert!(
        about_it.iter().all(|text| text.len() < 4096 && !text.contains(char::is_control)),
        "{about_it:?}"
    );
}

#[test]
fn status_of_a_success_has_upstreams_fields() {
    let world = running().records([record('1', 1)]).succeeded("11:00");
    let mut status = told(&decide(&world), &world);
    status.conditions.clear();
    insta::assert_yaml_snapshot!(status);
}

#[test]
fn a_status_stays_as_it_is_when_the_pods_go() {
    let before =
        running().recorded().succeeded("10:00").marked().failed("10:30").succeeded("11:00").written();
    let after = before.clone().drained();
    assert_eq!(told(&decide(&after), &after), before.policy.status.expect("a status"));
}

#[test]
fn a_success_that_only_its_record_tells_of_has_no_figures_but_the_records() {
    let mut world = running().failed("10:00").written().succeeded("11:00").marked().drained();
    let record = world.records[0].status.as_mut().expect("a status");
    (record.added_bytes, record.size_bytes) = (Some(7), Some(9));
    record.conditions = object(json!([condition("Complete", "False", "EncryptionKeyMissing")]));
    let status = told(&decide(&world), &world);
    assert_eq!((status.data_added, status.total_bytes_processed, status.files_new), (Some(7), Some(9), None));
    assert_eq!(
        (status.snapshot_id.as_deref(), status.mbr_name.as_deref()),
        (Some("11111111"), Some("mbr-11111111"))
    );
    assert_eq!(status.last_successful_time.map(|time| time.0), Some(at("2030-01-01T10:59:00Z")));
    assert_eq!(said(&world, conditions::COMPLETE), "False/EncryptionKeyMissing");
}

#[test]
fn status_of_a_failure_names_its_pod_and_has_no_figures_of_another_run() {
    let world = running().succeeded("10:00").written().failed("11:00");
    let mut status = told(&decide(&world), &world);
    status.conditions.clear();
    insta::assert_yaml_snapshot!(status);
}

#[test]
fn every_condition_is_there_from_the_first_look() {
    for world in [new(), new().with_location(None), running().failed("11:00")] {
        let status = told(&decide(&world), &world);
        for type_ in conditions::OF_POLICY {
            assert!(find(&status.conditions, type_).is_some(), "{type_} is missing");
        }
    }
}

#[rstest]
#[case::a_new_tag_starts_a_backup(running().annotated(annotation::RUN_NOW, "a"), true, true)]
#[case::a_seen_tag_does_not(running().annotated(annotation::RUN_NOW, "a").annotated(marks::RUN_NOW_SEEN, "a"), false, false)]
#[case::the_next_tag_does(running().annotated(annotation::RUN_NOW, "b").annotated(marks::RUN_NOW_SEEN, "a"), true, true)]
#[case::one_at_a_time(running().hanging("ContainerCreating").annotated(annotation::RUN_NOW, "a"), false, false)]
#[case::not_before_there_is_a_cronjob(new().annotated(annotation::RUN_NOW, "a"), false, false)]
#[case::an_empty_tag_is_none(running().annotated(annotation::RUN_NOW, ""), false, false)]
fn run_now(#[case] world: World, #[case] starts: bool, #[case] seen: bool) {
    let plan = decide(&world);
    assert_eq!((plan.create.len() == 1, plan.patch.len() == 1), (starts, seen));
}

#[test]
fn a_backup_that_was_asked_for_is_marked_even_if_the_operator_died_after_making_it() {
    let mut world = running().annotated(annotation::RUN_NOW, "a").succeeded("11:00");
    world.backups[0].metadata.name = Some(build::manual_job_name(&world.policy, "a"));
    let plan = decide(&world);
    assert_eq!((plan.create.len(), plan.patch.len()), (0, 1));
}

fn built(world: &World) -> CronJob {
    build::cronjob(&prepare(world).expect("nothing is missing"))
}

#[test]
fn cronjob_manifest() {
    insta::assert_yaml_snapshot!(built(&new()));
}

#[test]
fn cronjob_manifest_with_everything_set() {
    let mut location = ready_location();
    location.spec.ca_bundle = Some(object(json!({ "secretName": "s3-ca", "key": "ca.crt" })));
    let world = new().with_location(Some(location)).with(|spec| {
        spec.time_zone = Some("Europe/Berlin".to_owned());
        spec.suspend = true;
        spec.certs_dir = Some("/etc/kubernetes/pki/".to_owned());
        spec.extra_host_paths = object(json!([
            { "path": "/etc/kubernetes/encryption.yaml" },
            { "path": "/etc/kubernetes/manifests/", "type": "Directory" },
        ]));
        spec.etcd_endpoints = vec!["https://10.0.0.5:2379".to_owned(), "https://10.0.0.6:2379/".to_owned()];
        spec.etcd_creds = "other-creds".to_owned();
        spec.options
            .insert("master-node-label-name".to_owned(), "node-role.kubernetes.io/control-plane".to_owned());
        spec.deadline_seconds = 600;
        spec.max_rate = Some(1_000_000);
    });
    insta::assert_yaml_snapshot!(built(&world));
}

#[rstest]
#[case::none_was_accepted(None, None)]
#[case::one_of_the_policys("mbr-22222222".into(), Some(id('2')))]
#[case::one_that_is_not_there("mbr-33333333".into(), None)]
#[case::one_whose_status_is_no_status("mbr-44444444".into(), None)]
fn the_agent_learns_whose_shrinking_was_accepted(
    #[case] name: Option<&str>,
    #[case] expected: Option<String>,
) {
    let mut strange = record('4', 4);
    strange.status.as_mut().expect("a status").snapshot_id_full = Some("not an id".to_owned());
    let world = new().records([record('1', 1), record('2', 2), strange]);
    let world = name.into_iter().fold(world, |world, name| world.annotated(annotation::ACCEPT_SHRINK, name));
    let pod = built(&world).spec.and_then(|spec| spec.job_template.spec?.template.spec).expect("a pod");
    let told = pod.containers[0]
        .env
        .iter()
        .flatten()
        .find(|variable| variable.name == model::environment::ACCEPT_SHRINK);
    assert_eq!(told.and_then(|variable| variable.value.clone()), expected);
}

#[test]
fn manual_job_manifest() {
    let world = running().annotated(annotation::RUN_NOW, "a");
    let job: Job = object(json!(decide(&world).create[0]));
    let spec = job.spec.clone();
    let of_cronjob = built(&world).spec.and_then(|spec| spec.job_template.spec);
    assert_eq!(spec, of_cronjob);
    insta::assert_yaml_snapshot!(job.metadata);
}

#[test]
fn forget_jobs_that_are_told_something_else_have_other_names() {
    let name = |world: World| decide(&world).create[0].name_any();
    let with = |newest| running().keeping(1).records([record('1', 1), record(newest, 3)]);
    assert_eq!(name(with('3')), name(with('3')));
    assert_ne!(name(with('3')), name(with('4')), "the same goes, another stays");
}

#[test]
fn forget_job_manifest() {
    let mut world = retention::busy();
    let location = world.location.as_mut().expect("a location");
    location.spec.maintenance_credentials = Some("deleting-creds".to_owned());
    insta::assert_yaml_snapshot!(decide(&world).create[0]);
}
