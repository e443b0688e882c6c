use k8s_openapi::api::core::v1::ConfigMap;
use model::result::Initialization;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{NOW, at, container, ended_pod, failure, id, initialized, job, object, pod};

fn owner() -> ConfigMap {
    object(json!({ "metadata": { "name": "o", "uid": "owner-uid" } }))
}

fn ended(type_: &str) -> Job {
    job("j", "ConfigMap", &owner(), Some((type_, "2030-01-01T11:59:30Z")))
}

fn judged(job: &Job, pods: &[Pod], troubles: &[(String, String)]) -> Run<Initialization> {
    judge("init", job, (pods, troubles), at(NOW))
}

fn reason(run: &Run<Initialization>) -> &'static str {
    match run {
        Run::UnderWay { .. } => "under way",
        Run::Stuck(failure)
        | Run::Retrying { failure, .. }
        | Run::Ended(Ended { outcome: Err(failure), .. }) => failure.reason.as_str(),
        Run::Ended(Ended { outcome: Ok(_), .. }) => "success",
    }
}

#[rstest]
#[case::well("Complete", "Succeeded", 0, &initialized('a'), "success")]
#[case::well_although_its_job_ran_out_of_time("Failed", "Succeeded", 0, &initialized('a'), "success")]
#[case::badly_after_it_had_claimed_a_success("Failed", "Failed", 1, &initialized('a'), "NoResult")]
#[case::well_but_told_of_a_failure("Complete", "Succeeded", 0, &failure("init", Reason::WrongPassword), "WrongPassword")]
#[case::with_a_reason("Failed", "Failed", 67, &failure("init", Reason::WrongPassword), "WrongPassword")]
#[case::without_a_word("Failed", "Failed", 1, "", "NoResult")]
#[case::with_a_panic("Failed", "Failed", 101, "thread main panicked", "Unknown")]
#[case::by_a_signal("Failed", "Failed", 137, "", "Killed")]
#[case::with_half_a_result("Complete", "Succeeded", 0, &initialized('a')[..60], "Unknown")]
#[case::with_more_than_a_termination_message_holds("Complete", "Succeeded", 0, &format!("{:5000}", initialized('a')), "Unknown")]
#[case::with_the_result_of_another_verb("Complete", "Succeeded", 0, &failure("backup", Reason::Bug), "Unknown")]
fn a_pod_that_ended(
    #[case] end: &str,
    #[case] phase: &str,
    #[case] code: i32,
    #[case] message: &str,
    #[case] expected: &str,
) {
    let job = ended(end);
    let run = judged(&job, &[ended_pod(&job, phase, (code, message))], &[]);
    assert_eq!(reason(&run), expected, "{run:?}");
}

#[rstest]
#[case::evicted(json!({ "phase": "Failed", "reason": "Evicted", "message": "disk pressure" }), "Evicted")]
#[case::out_of_memory(
    json!({ "phase": "Failed", "containerStatuses": [container(&json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } }))] }),
    "OutOfMemory"
)]
#[case::never_begun(json!({ "phase": "Failed" }), "Killed")]
#[case::could_not_start(
    json!({ "phase": "Failed", "containerStatuses": [container(&json!({ "terminated": { "exitCode": 128, "reason": "StartError", "message": "failed to create containerd task" } }))] }),
    "ImageBroken"
)]
fn a_failed_pod_that_was(#[case] status: Value, #[case] expected: &str) {
    let job = ended("Failed");
    assert_eq!(reason(&judged(&job, &[pod(&job, &status)], &[])), expected);
}

#[test]
fn a_container_that_admission_put_beside_the_agent_tells_nothing() {
    let job = ended("Complete");
    let mut pod = ended_pod(&job, "Succeeded", (0, &initialized('a')));
    let mut other = container(&json!({ "terminated": { "exitCode": 1, "message": "bye" } }));
    other["name"] = json!("mesh-proxy");
    let all = pod.status.as_mut().and_then(|status| status.container_statuses.as_mut());
    all.expect("containers").insert(0, object(other));
    assert_eq!(reason(&judged(&job, &[pod], &[])), "success");
}

#[test]
fn a_success_of_a_container_beside_the_agent_is_none() {
    let job = ended("Complete");
    let mut pod = ended_pod(&job, "Succeeded", (0, ""));
    let mut other = container(&json!({ "terminated": { "exitCode": 0, "message": initialized('a') } }));
    other["name"] = json!("mesh-proxy");
    let status = pod.status.as_mut().expect("a status");
    for all in [
        &mut status.container_statuses,
        &mut status.init_container_statuses,
        &mut status.ephemeral_container_statuses,
    ] {
        all.get_or_insert_default().insert(0, object(other.clone()));
    }
    assert_eq!(reason(&judged(&job, &[pod], &[])), "NoResult");
}

#[rstest]
#[case::no_node_takes(
    json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/1" }] }),
    "Unschedulable"
)]
#[case::lacks_its_image(waits_for("ImagePullBackOff"), "ImagePull")]
#[case::has_a_malformed_image(waits_for("InvalidImageName"), "ImagePull")]
#[case::is_being_made(waits_for("ContainerCreating"), "under way")]
#[case::runs(json!({ "phase": "Running" }), "under way")]
fn a_pod_of_a_minute_that(#[case] status: Value, #[case] expected: &str) {
    let job = job("j", "ConfigMap", &owner(), None);
    assert_eq!(reason(&judged(&job, &[pod(&job, &status)], &[])), expected);
}

fn waits_for(reason: &str) -> Value {
    json!({ "phase": "Pending", "containerStatuses": [container(&json!({ "waiting": { "reason": reason } }))] })
}

#[rstest]
#[case::is_not_on_the_node("hostPath type check failed: /x is not a directory", "HostPathMissing")]
#[case::fails_otherwise("rpc error", "MountFailed")]
fn a_volume_that(#[case] message: &str, #[case] expected: &str) {
    let job = job("j", "ConfigMap", &owner(), None);
    let pod = pod(&job, &waits_for("ContainerCreating"));
    assert!(hangs_in_creation(&pod, at(NOW)));
    let troubles = [("j-pod-uid".to_owned(), message.to_owned())];
    assert_eq!(reason(&judged(&job, &[pod], &troubles)), expected);
}

#[test]
fn what_kubernetes_says_of_a_pod_is_one_short_line_too() {
    let job = job("j", "ConfigMap", &owner(), None);
    let said = format!("rpc error:\n\u{1b}[2J{}", "x".repeat(40_000));
    let troubles = [("j-pod-uid".to_owned(), said)];
    let run = judged(&job, &[pod(&job, &waits_for("ContainerCreating"))], &troubles);
    let Run::Stuck(failure) = run else { panic!("{run:?}") };
    assert!(failure.message.starts_with("rpc error:  [2Jxx"), "{}", failure.message);
    assert!(failure.message.len() < 4096, "{} bytes", failure.message.len());
}

#[rstest]
#[case::said_why(75, &failure("init", Reason::ConnectionRefused), "ConnectionRefused")]
#[case::said_nothing(1, "", "NoResult")]
#[case::was_killed(137, "", "Killed")]
#[case::panicked(101, "thread main panicked", "Unknown")]
fn a_job_that_goes_on_after_a_pod_that(#[case] code: i32, #[case] message: &str, #[case] expected: &str) {
    let job = job("j", "ConfigMap", &owner(), None);
    let failed = ended_pod(&job, "Failed", (code, message));
    let mut next = pod(&job, &json!({ "phase": "Running" }));
    next.metadata.creation_timestamp = Some(Time(at(NOW)));
    for (pods, begun) in [(vec![failed.clone()], false), (vec![failed, next], true)] {
        let run = judged(&job, &pods, &[]);
        assert!(matches!(run, Run::Retrying { begun: found, .. } if found == begun), "{run:?}");
        assert_eq!(reason(&run), expected);
    }
}

#[test]
fn a_job_whose_pod_failed_for_good_ends_in_a_moment_and_one_whose_pod_was_drained_goes_on() {
    let job = job("j", "ConfigMap", &owner(), None);
    let failed = ended_pod(&job, "Failed", (67, &failure("init", Reason::WrongPassword)));
    assert_eq!(judged(&job, &[failed], &[]), Run::UnderWay { begun: false });
    let mut drained = ended_pod(&job, "Failed", (143, &failure("init", Reason::Killed)));
    let target = json!([{ "type": "DisruptionTarget", "status": "True" }]);
    drained.status.as_mut().expect("a status").conditions = Some(object(target));
    assert_eq!(judged(&job, &[drained], &[]), Run::UnderWay { begun: false });
}

#[test]
fn a_pod_of_a_moment_is_given_time() {
    let job = job("j", "ConfigMap", &owner(), None);
    let pod = pod(&job, &waits_for("ImagePullBackOff"));
    let early = judge::<Initialization>("init", &job, (&[pod], &[]), at("2030-01-01T11:59:10Z"));
    assert_eq!(early, Run::UnderWay { begun: false });
}

#[test]
fn a_forged_pod_is_not_believed() {
    let job = ended("Failed");
    let mut forged = ended_pod(&job, "Succeeded", (0, &initialized('a')));
    forged.metadata.owner_references.as_mut().expect("an owner")[0].uid = "another".to_owned();
    assert_eq!(reason(&judged(&job, &[forged], &[])), "NoResult");
}

#[test]
fn a_forged_pod_beside_the_real_one_changes_nothing() {
    let job = ended("Complete");
    let real = ended_pod(&job, "Succeeded", (0, &initialized('a')));
    let mut forged = ended_pod(&job, "Succeeded", (0, &initialized('b')));
    forged.metadata.name = Some("newer".to_owned());
    forged.metadata.creation_timestamp = Some(Time(at(NOW)));
    forged.metadata.owner_references.as_mut().expect("an owner")[0].uid = "another".to_owned();
    let pods = [real.clone(), forged];
    assert_eq!(judged(&job, &pods, &[]), judged(&job, &[real], &[]));
}

#[test]
fn one_job_is_one_run_however_many_pods_it_took() {
    let job = ended("Complete");
    let mut first = ended_pod(&job, "Failed", (75, &failure("init", Reason::ConnectionRefused)));
    first.metadata.name = Some("first".to_owned());
    first.metadata.creation_timestamp = Some(Time(at("2030-01-01T11:58:00Z")));
    let second = ended_pod(&job, "Succeeded", (0, &initialized('a')));
    let run = judged(&job, &[second, first], &[]);
    let Run::Ended(Ended { pod, outcome: Ok(made), .. }) = run else { panic!("{run:?}") };
    assert_eq!((pod.as_str(), made.repository_id.as_str()), ("j-pod", id('a').as_str()));
}

/// Two pods of a failed Job, each with its status; the second is the newer one.
fn two(statuses: &[Value; 2]) -> (Job, Vec<Pod>) {
    let job = ended("Failed");
    let mut pods: Vec<Pod> = statuses.iter().map(|status| pod(&job, status)).collect();
    pods[0].metadata.creation_timestamp = Some(Time(at("2030-01-01T11:58:00Z")));
    (job, pods)
}

fn said(reason: Reason) -> Value {
    let state = json!({ "terminated": { "exitCode": 75, "message": failure("init", reason) } });
    json!({ "phase": "Failed", "containerStatuses": [container(&state)] })
}

fn out_of_memory() -> Value {
    let state = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    json!({ "phase": "Failed", "containerStatuses": [container(&state)] })
}

fn wordless_pod() -> Value {
    let state = json!({ "terminated": { "exitCode": 1 } });
    json!({ "phase": "Failed", "containerStatuses": [container(&state)] })
}

#[rstest]
#[case::the_newest_word([said(Reason::AccessDenied), said(Reason::Throttled)], "Throttled")]
#[case::the_newest_pods_memory([said(Reason::AccessDenied), out_of_memory()], "OutOfMemory")]
#[case::the_newest_pods_eviction([said(Reason::AccessDenied), json!({ "phase": "Failed", "reason": "Evicted" })], "Evicted")]
#[case::the_newest_word_after_a_pods_memory([out_of_memory(), said(Reason::Throttled)], "Throttled")]
#[case::an_older_word_where_the_newest_pod_has_none([said(Reason::AccessDenied), wordless_pod()], "AccessDenied")]
fn a_job_fails_for(#[case] statuses: [Value; 2], #[case] expected: &str) {
    let (job, pods) = two(&statuses);
    assert_eq!(reason(&judged(&job, &pods, &[])), expected);
}

#[test]
fn a_job_that_took_too_long_did_not_end_by_what_befell_an_older_pod() {
    let (mut job, mut pods) = two(&[out_of_memory(), wordless_pod()]);
    pods.pop();
    run_out_of_time(&mut job);
    assert_eq!(reason(&judged(&job, &pods, &[])), "DeadlineExceeded");
}

/// Has a Job that failed have done so at its deadline.
fn run_out_of_time(job: &mut Job) {
    let conditions = job.status.as_mut().and_then(|status| status.conditions.as_mut()).expect("conditions");
    conditions[0].reason = Some("DeadlineExceeded".to_owned());
}

#[rstest]
#[case::is_out_of_time(Reason::Killed, "DeadlineExceeded")]
#[case::has_failed_as_it_says(Reason::EtcdUnreachable, "EtcdUnreachable")]
fn who_ends_with_a_job_that_took_too_long(#[case] said: Reason, #[case] expected: &str) {
    let mut job = ended("Failed");
    run_out_of_time(&mut job);
    let pods = [ended_pod(&job, "Failed", (143, &failure("init", said)))];
    assert_eq!(reason(&judged(&job, &pods, &[])), expected);
}

/// A Job of a minute that has no pod.
fn podless_job(is_taken_up: bool) -> Job {
    let mut job = job("j", "ConfigMap", &owner(), None);
    job.status.as_mut().expect("a status").start_time = is_taken_up.then(|| Time(at("2030-01-01T11:59:00Z")));
    job
}

#[rstest]
#[case::is_refused_one(podless_job(true), Some("exceeded quota"), "Unschedulable")]
#[case::is_being_given_another_one(podless_job(true), None, "under way")]
#[case::is_taken_up_by_nobody(podless_job(false), None, "Unschedulable")]
fn a_job_of_a_minute_without_a_pod_that(
    #[case] job: Job,
    #[case] message: Option<&str>,
    #[case] expected: &str,
) {
    let troubles: Vec<_> = message.map(|text| ("j-uid".to_owned(), text.to_owned())).into_iter().collect();
    assert!(lacks_a_pod(&job, &[], at(NOW)));
    let run = judged(&job, &[], &troubles);
    assert_eq!(reason(&run), expected);
    let Run::Stuck(failure) = run else { return };
    assert!(failure.message.contains(message.unwrap_or("controller-manager")), "{}", failure.message);
    let early = judge::<Initialization>("init", &job, (&[], &troubles), at("2030-01-01T11:59:10Z"));
    assert_eq!(early, Run::UnderWay { begun: false });
}

#[test]
fn a_job_that_has_its_pod_or_ended_lacks_none() {
    let job = podless_job(true);
    assert!(!lacks_a_pod(&job, &[pod(&job, &json!({ "phase": "Pending" }))], at(NOW)));
    assert!(!lacks_a_pod(&ended("Failed"), &[], at(NOW)));
}

#[test]
fn a_job_that_took_too_long_says_so_when_its_pods_are_gone() {
    let mut job = ended("Failed");
    run_out_of_time(&mut job);
    assert_eq!(reason(&judged(&job, &[], &[])), "DeadlineExceeded");
}

#[test]
fn waits_double_by_themselves_between_ten_seconds_and_five_minutes() {
    let began = at(NOW);
    let (mut now, mut waits) = (began, Vec::new());
    for _ in 0..8 {
        let wait = retry_after(now, began);
        waits.push(wait.as_secs());
        now += wait;
    }
    assert_eq!(waits, [10, 10, 20, 40, 80, 160, 300, 300]);
}
