use k8s_openapi::api::core::v1::Pod;
use model::Reason;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::fixtures::{
    self, NOW, at, condition, control_plane, ended_pod, failure, id, initialized, object, pod,
    ready_location, settings,
};

/// The seed's location, just created.
fn new() -> World {
    World {
        location: fixtures::location(),
        policies: Vec::new(),
        job: None,
        pods: Vec::new(),
        troubles: Vec::new(),
        nodes: control_plane(),
        settings: settings(),
        now: at(NOW),
    }
}

/// The seed's location with its repository pinned, seen at half past eleven.
fn ready() -> World {
    let mut location = ready_location();
    let conditions = [("Ready", "Ready"), ("RepositoryHealthy", "Healthy"), ("Maintained", "Maintained")];
    let conditions = conditions.map(|(type_, reason)| condition(type_, "True", reason));
    location.status = Some(object(json!({
        "observedGeneration": 1, "repositoryId": id('a'), "conditions": conditions,
        "initStatus": "Completed", "initTime": "2030-01-01T11:30:00Z", "initErrorMessage": "",
    })));
    location.annotations_mut().insert(annotation::INITIALIZED.to_owned(), "true".to_owned());
    World { location, ..new() }
}

impl World {
    fn working(self) -> Self {
        self.with_job(None)
    }

    fn succeeded(self, repository: char) -> Self {
        let world = self.with_job(Some(("Complete", "2030-01-01T11:59:30Z")));
        let pods = world.pod(|job| ended_pod(job, "Succeeded", (0, &initialized(repository))));
        Self { pods, ..world }
    }

    fn failed(self, at: &str) -> Self {
        let world = self.with_job(Some(("Failed", at)));
        let pods =
            world.pod(|job| ended_pod(job, "Failed", (75, &failure("init", Reason::ConnectionRefused))));
        Self { pods, ..world }
    }

    fn without_node(self) -> Self {
        let world = self.working();
        let refused = json!([{ "type": "PodScheduled", "status": "False", "message": "0/1 nodes" }]);
        let pods = world.pod(|job| pod(job, &json!({ "phase": "Pending", "conditions": refused })));
        Self { pods, ..world }
    }

    fn with_job(mut self, end: Option<(&str, &str)>) -> Self {
        let mut job = fixtures::job("local-minio-init", "BackupLocation", &self.location, end);
        job.annotations_mut().insert(marks::MADE_FOR.to_owned(), build::made_for(&self.location));
        job.annotations_mut().insert(marks::IMAGE.to_owned(), self.settings.agent_image.clone());
        self.job = Some(job);
        self
    }

    fn pod(&self, make: impl Fn(&Job) -> Pod) -> Vec<Pod> {
        self.job.iter().map(make).collect()
    }

    fn changed(mut self) -> Self {
        self.location.metadata.generation = Some(2);
        self
    }

    /// With the Job that found the repository, its pod gone.
    fn with_told_job(self) -> Self {
        self.with_job(Some(("Complete", "2030-01-01T11:30:00Z")))
    }

    /// As the error path leaves it when one read failed.
    fn unread(mut self) -> Self {
        let status = self.location.status.as_mut().expect("a status");
        status.conditions[0] = object(condition("Ready", "False", "ApiReadFailed"));
        self
    }

    fn seen(mut self, time: &str) -> Self {
        self.location.status.as_mut().expect("a status").init_time = Some(time.to_owned());
        self
    }

    /// With a policy whose backup began at this time and failed for this reason.
    fn doubted(mut self, began: &str, reason: &str) -> Self {
        let mut policy = fixtures::policy();
        policy.status = Some(object(json!({
            "backupTime": began, "backupStatus": "Failed", "conditions": [condition("Fresh", "False", reason)],
        })));
        self.policies.push(policy);
        self
    }

    fn doubted_elsewhere(self) -> Self {
        let mut world = self.doubted("2030-01-01T11:50:00Z", "RepositoryGone");
        "another".clone_into(&mut world.policies[0].spec.destination);
        world
    }

    fn failing(self) -> Self {
        self.failing_with("ConnectionRefused")
    }

    fn failing_with(mut self, reason: &str) -> Self {
        let conditions = json!([condition("Ready", "False", reason)]);
        self.location.status = Some(object(
            json!({ "initStatus": "Failed", "initErrorMessage": "as before", "conditions": conditions }),
        ));
        self
    }

    fn replacing(mut self, id: String) -> Self {
        self.location.annotations_mut().insert(annotation::REPLACE_REPOSITORY.to_owned(), id);
        self
    }

    fn of_a_stranger(mut self) -> Self {
        let job = self.job.as_mut().expect("a job");
        job.metadata.owner_references = None;
        self
    }

    fn leaving(mut self) -> Self {
        let job = self.job.as_mut().expect("a job");
        job.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
        self
    }

    fn with_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.location.spec.url);
        self
    }
}

#[rstest]
#[case::a_new_location_gets_a_job(new(), "create")]
#[case::a_running_job_is_waited_for(new().working(), "")]
#[case::a_job_that_is_going_away_is_waited_for(new().working().leaving(), "")]
#[case::a_ready_location_needs_none(ready(), "")]
#[case::a_ready_location_needs_none_of_an_older_spec_either(ready().working(), "")]
#[case::a_changed_location_gets_another_job_at_once(ready().working().changed(), "delete")]
#[case::and_makes_it_when_the_old_one_is_gone(ready().changed(), "create")]
#[case::a_replacement_that_names_the_pinned_id_is_carried_out(ready().working().changed().replacing(id('a')), "delete")]
#[case::a_replacement_that_names_another_is_not(ready().replacing(id('b')), "")]
#[case::a_fresh_failure_is_waited_with(new().failed("2030-01-01T11:59:55Z"), "")]
#[case::a_failure_is_tried_again_after_ten_seconds(new().failed("2030-01-01T11:59:49Z"), "delete")]
#[case::one_that_lasts_is_tried_again_every_five_minutes(new().failing().failed("2030-01-01T11:55:01Z"), "")]
#[case::and_then_it_is(new().failing().failed("2030-01-01T11:54:59Z"), "delete")]
#[case::another_repository_may_go_again(ready().changed().succeeded('b'), "delete")]
#[case::a_strangers_job_is_left_alone(new().working().of_a_stranger(), "")]
#[case::a_wrong_spec_gets_no_job(new().with_url("ftp://x"), "")]
#[case::a_job_that_was_told_of_stays(ready().with_told_job(), "")]
#[case::a_failed_read_is_no_reason_to_look_again(ready().unread(), "")]
#[case::a_day_later_it_is_looked_at_again(ready().seen("2029-12-31T12:00:00Z"), "create")]
#[case::but_no_sooner(ready().seen("2029-12-31T12:00:01Z"), "")]
#[case::the_old_job_makes_room_for_it(
    ready().with_told_job().doubted("2030-01-01T11:50:00Z", "RepositoryGone"),
    "delete"
)]
#[case::a_backup_that_did_not_find_the_repository_asks_for_a_look(
    ready().doubted("2030-01-01T11:50:00Z", "RepositoryGone"),
    "create"
)]
#[case::one_whose_keys_are_refused_does_too(ready().doubted("2030-01-01T11:50:00Z", "AccessDenied"), "create")]
#[case::one_that_began_before_the_last_look_does_not(ready().doubted("2030-01-01T11:29:59Z", "RepositoryGone"), "")]
#[case::one_that_began_in_the_same_second_does(ready().doubted("2030-01-01T11:30:00Z", "RepositoryGone"), "create")]
#[case::one_that_did_not_find_etcd_does_not(ready().doubted("2030-01-01T11:50:00Z", "EtcdUnreachable"), "")]
#[case::one_of_another_location_does_not(ready().doubted_elsewhere(), "")]
#[case::a_look_under_way_is_waited_for(ready().working().doubted("2030-01-01T11:50:00Z", "RepositoryGone"), "")]
fn job(#[case] world: World, #[case] expected: &str) {
    let plan = decide(&world);
    let mut writes: Vec<&str> = Vec::new();
    writes.extend(plan.create.iter().map(|_| "create"));
    writes.extend(plan.delete.iter().map(|_| "delete"));
    assert_eq!(writes.join(" "), expected);
    assert!(plan.delete.iter().all(|target| target.uid == "local-minio-init-uid"));
}

#[rstest]
#[case::new(new(), "Initializing Ready=Unknown/Pending Reconciling=True/Pending")]
#[case::made(new().succeeded('a'), "Completed Ready=True/Ready InitSucceeded")]
#[case::failed(
    new().failed("2030-01-01T11:59:55Z"),
    "Failed Ready=False/ConnectionRefused Reconciling=True/ConnectionRefused InitFailed"
)]
#[case::still_failing_is_told_once(
    new().failing().failed("2030-01-01T11:59:55Z"),
    "Failed Ready=False/ConnectionRefused Reconciling=True/ConnectionRefused"
)]
#[case::a_failure_stays_said_while_it_is_tried_again(
    new().failing().working(),
    "Failed Ready=False/ConnectionRefused Reconciling=True/ConnectionRefused"
)]
#[case::without_a_node(
    new().without_node(),
    "Failed Ready=False/Unschedulable Reconciling=True/Unschedulable InitFailed"
)]
#[case::a_stranger_has_the_name(
    new().working().of_a_stranger(),
    "Failed Ready=False/NameTaken Reconciling=True/NameTaken InitFailed"
)]
#[case::a_wrong_spec_waits_for_a_person(
    new().with_url("ftp://x"),
    "Failed Ready=False/InvalidSpec Stalled=True/InvalidSpec InitFailed"
)]
#[case::a_failed_read_is_forgotten_when_the_next_succeeds(ready().unread().with_told_job(), "Completed Ready=True/Ready")]
#[case::a_look_under_way_says_nothing_new(
    ready().working().doubted("2030-01-01T11:50:00Z", "RepositoryGone"),
    "Completed Ready=True/Ready"
)]
#[case::a_look_that_finds_it_says_nothing_new(ready().succeeded('a'), "Completed Ready=True/Ready")]
#[case::a_look_that_does_not_find_it_does(
    ready().failed("2030-01-01T11:59:55Z"),
    "Failed Ready=False/ConnectionRefused Reconciling=True/ConnectionRefused InitFailed"
)]
#[case::a_failure_of_another_spec_is_not_one_of_this(
    new().failing_with("WrongPassword").changed(),
    "Initializing Ready=Unknown/Pending Reconciling=True/Pending"
)]
#[case::another_repository_than_the_pinned_one(
    ready().changed().succeeded('b'),
    "Failed Ready=False/RepositoryReplaced Stalled=True/RepositoryReplaced InitFailed"
)]
fn says(#[case] world: World, #[case] expected: &str) {
    let plan = decide(&world);
    let status = status_in(&plan, &world);
    let mut said = vec![status.init_status.clone().unwrap_or_default()];
    let told = |type_: &str| {
        let found = find(&status.conditions, type_)?;
        Some(format!("{type_}={}/{}", found.status, found.reason))
    };
    said.extend(["Ready", "Reconciling", "Stalled"].iter().filter_map(|type_| told(type_)));
    said.extend(plan.events.iter().map(|event| event.reason.to_owned()));
    assert_eq!(said.join(" "), expected);
    let message = status.init_error_message.unwrap_or_default();
    assert_eq!(message.is_empty(), said[0] != "Failed", "{message:?}");
    for type_ in api::conditions::OF_LOCATION {
        assert!(find(&status.conditions, type_).is_some(), "{type_} is missing");
    }
}

fn status_in(plan: &Plan, world: &World) -> BackupLocationStatus {
    let written = plan.status.as_ref().map(|object| object.data["status"].clone());
    written.map_or_else(|| world.location.status.clone().unwrap_or_default(), object)
}

#[rstest]
#[case::a_strangers_job_goes_unseen(new().working().of_a_stranger(), Some(16))]
#[case::an_attached_one_is_believed_for_a_day(ready(), Some(23 * 3600 + 30 * 60))]
fn looks_again(#[case] world: World, #[case] expected: Option<u64>) {
    let plan = decide(&world);
    assert_eq!(plan.again.map(|wait| wait.as_secs()), expected);
}

#[rstest]
#[case::is_not_taken_for_a_loss("2030-01-01T11:59:30Z", 0)]
#[case::is_followed_by_another("2030-01-01T11:58:30Z", 1)]
fn a_look_whose_pod_somebody_took(#[case] ended: &str, #[case] removed: usize) {
    let mut world = ready().failed(ended);
    world.pods.clear();
    let plan = decide(&world);
    let status = status_in(&plan, &world);
    assert_eq!((status.init_status.as_deref(), plan.delete.len()), (Some("Completed"), removed));
    assert!(plan.events.is_empty() && plan.again.is_some());
    let job = world.job.as_mut().and_then(|job| job.status.as_mut()).expect("a status");
    job.conditions.as_mut().expect("conditions")[0].reason = Some("DeadlineExceeded".to_owned());
    let status = status_in(&decide(&world), &world);
    let ready = find(&status.conditions, READY).expect("it is always there");
    assert_eq!(ready.reason, "DeadlineExceeded", "nobody took the pod of one that ran out of time");
}

/// Flux fails a rollout on a `Stalled` of the new generation.
#[test]
fn nothing_is_said_of_a_spec_that_nobody_tried() {
    let world = ready().with_url("https://elsewhere").changed();
    let status = status_in(&decide(&world), &world);
    let of = |type_| find(&status.conditions, type_).and_then(|found| found.observed_generation);
    assert_eq!((of("Ready"), of("RepositoryHealthy")), (Some(2), Some(1)));
}

/// However often it is asked for: one look for each backup that failed.
#[test]
fn a_look_answers_the_backup_that_asked_for_it() {
    let mut world = ready().doubted("2030-01-01T11:50:00Z", "RepositoryGone").succeeded('a');
    world.location.status = Some(status_in(&decide(&world), &world));
    let again = decide(&world);
    assert!(again.delete.is_empty() && again.create.is_empty() && again.status.is_none(), "{again:?}");
}

#[test]
fn the_first_success_pins_the_repository_and_marks_the_location() {
    let world = new().succeeded('a');
    let plan = decide(&world);
    assert_eq!(status_in(&plan, &world).repository_id, Some(id('a')));
    assert_eq!(plan.patch[0].annotations[annotation::INITIALIZED].as_deref(), Some("true"));
}

#[test]
fn an_allowed_replacement_pins_the_new_repository_and_is_then_over() {
    let mut world = ready().changed().replacing(id('a')).succeeded('b');
    let status = status_in(&decide(&world), &world);
    assert_eq!(status.repository_id, Some(id('b')));
    world.location.status = Some(status);
    let again = decide(&world);
    assert!(again.delete.is_empty() && again.create.is_empty() && again.status.is_none(), "{again:?}");
}

#[test]
fn nothing_is_written_twice() {
    let mut world = new().failed("2030-01-01T11:59:55Z");
    world.location.status = Some(status_in(&decide(&world), &world));
    let again = decide(&world);
    assert!(again.status.is_none() && again.events.is_empty(), "{again:?}");
}

#[test]
fn init_job_manifest() {
    insta::assert_yaml_snapshot!(build::init_job(&fixtures::location(), &settings(), &control_plane()));
}

#[test]
fn init_job_manifest_without_a_control_plane_node_and_with_everything_set() {
    let mut location = ready().replacing(id('a')).location;
    location.spec.ca_bundle = Some(object(json!({ "configMapName": "s3-ca", "key": "root.pem" })));
    location.spec.url = "https://minio.storage.svc:9000".to_owned();
    let mut settings = (*settings()).clone();
    settings.cluster_name = Some("berlin".to_owned());
    settings.agent_image_pull_policy = Some("Never".to_owned());
    insta::assert_yaml_snapshot!(build::init_job(&location, &settings, &crate::nodes::NodeLabels::new()));
}

#[test]
fn a_job_that_cannot_begin_goes_once_another_image_is_wanted() {
    let stuck = new().without_node();
    assert_eq!(decide(&stuck).delete, []);
    let other = crate::Settings { agent_image: "another".to_owned(), ..(*stuck.settings).clone() };
    let working = World { settings: std::sync::Arc::new(other), ..stuck };
    let plan = decide(&working);
    assert_eq!(plan.delete.len(), 1);
    assert!(
        plan.status.is_some_and(|status| status.data.to_string().contains("Unschedulable")),
        "and why is said"
    );
    assert_eq!(decide(&World { pods: Vec::new(), ..working }).delete, [], "it begins in a moment");
}
