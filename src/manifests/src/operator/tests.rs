//! What is installed is what Kubernetes knows, and meets the *restricted* Pod Security Standard.
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, Namespace, PodSecurityContext, PodSpec, Probe, SecurityContext, Service},
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rstest::rstest;

use super::*;
use crate::{cert_manager, self_signed, typed::is};

/// The Deployment as an overlay changes it.
fn changed(change: Option<&Change>) -> Value {
    let mut deployment = deployment();
    let operations = change.map(Change::operations).unwrap_or_default();
    let patch: json_patch::Patch = serde_json::from_value(json!(operations)).expect("a JSON patch");
    json_patch::patch(&mut deployment, &patch).expect("every path is there");
    deployment
}

fn spec(deployment: &Value) -> PodSpec {
    serde_json::from_value(deployment["spec"]["template"]["spec"].clone()).expect("the spec of a pod")
}

fn installs() -> [Value; 3] {
    [None, Some(self_signed::change()), Some(cert_manager::change())].map(|change| changed(change.as_ref()))
}

#[test]
fn every_field_is_one_that_kubernetes_knows() {
    is::<Namespace>(&namespace());
    is::<Service>(&service());
    for deployment in installs() {
        is::<Deployment>(&deployment);
    }
}

#[test]
fn the_selectors_find_the_pods() {
    let deployment = deployment();
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], *labels);
    assert_eq!(service()["spec"]["selector"], *labels);
}

#[test]
fn a_new_operator_is_ready_before_an_old_one_goes() {
    let deployment: Deployment = serde_json::from_value(deployment()).expect("a Deployment");
    let strategy = deployment.spec.and_then(|spec| spec.strategy).expect("a strategy");
    let rolling = strategy.rolling_update.expect("its numbers");
    assert_eq!(rolling.max_surge, Some(IntOrString::Int(1)));
    assert_eq!(rolling.max_unavailable, Some(IntOrString::Int(0)));
}

#[test]
fn an_overlay_says_where_the_certificate_is_and_opens_the_port() {
    for (change, argument) in [
        (self_signed::change(), "--webhook-certificates=self"),
        (cert_manager::change(), "--webhook-certificates=/webhook-certificates"),
    ] {
        let container = spec(&changed(Some(&change))).containers.remove(0);
        assert_eq!(container.args.expect("arguments").last().map(String::as_str), Some(argument));
        let mut ports = container.ports.expect("ports").into_iter();
        assert!(ports.any(|port| port.name.as_deref() == Some("webhooks") && port.container_port == 9443));
    }
}

/// A list that the overlay adds would take the place of one that is there.
#[test]
fn the_operator_has_no_volume_but_that_of_an_overlay() {
    let pod = spec(&deployment());
    assert_eq!((pod.volumes, pod.containers[0].volume_mounts.as_ref()), (None, None));
}

/// All containers of a pod, of whatever kind.
fn containers(pod: &PodSpec) -> Vec<&Container> {
    assert_eq!(pod.ephemeral_containers, None);
    pod.containers.iter().chain(pod.init_containers.iter().flatten()).collect()
}

/// Whether a question has one answer for every container.
fn each(pod: &PodSpec, holds: impl Fn(&Container) -> bool) -> bool {
    containers(pod).into_iter().all(holds)
}

/// The controls of <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, in its order: those of
/// *baseline* up to the kernel's settings, then those that *restricted* adds.
#[rstest]
#[case::host_process(|pod: &PodSpec| security(pod).windows_options.is_none() && each(pod, |one| own(one).windows_options.is_none()))]
#[case::host_namespaces(|pod: &PodSpec| [pod.host_network, pod.host_pid, pod.host_ipc].iter().all(Option::is_none))]
#[case::privileged_containers(|pod: &PodSpec| each(pod, |one| own(one).privileged.is_none()))]
#[case::capabilities_are_not_added(|pod: &PodSpec| each(pod, |one| own(one).capabilities.is_some_and(|all| all.add.is_none())))]
#[case::host_path_volumes(|pod: &PodSpec| pod.volumes.iter().flatten().all(|volume| volume.host_path.is_none()))]
#[case::host_ports(|pod: &PodSpec| each(pod, |one| one.ports.iter().flatten().all(|port| port.host_port.is_none())))]
#[case::host_probes(|pod: &PodSpec| each(pod, |one| one.lifecycle.is_none() && probed_hosts(one) == 0))]
#[case::app_armor(|pod: &PodSpec| security(pod).app_armor_profile.is_none() && each(pod, |one| own(one).app_armor_profile.is_none()))]
#[case::se_linux(|pod: &PodSpec| security(pod).se_linux_options.is_none() && each(pod, |one| own(one).se_linux_options.is_none()))]
#[case::proc_mount_type(|pod: &PodSpec| each(pod, |one| own(one).proc_mount.is_none()))]
#[case::sysctls(|pod: &PodSpec| security(pod).sysctls.is_none())]
#[case::volume_types(|pod: &PodSpec| pod.volumes.iter().flatten().all(|volume| volume.secret.is_some()))]
#[case::privilege_escalation(|pod: &PodSpec| each(pod, |one| own(one).allow_privilege_escalation == Some(false)))]
#[case::running_as_non_root(|pod: &PodSpec| security(pod).run_as_non_root == Some(true) && each(pod, |one| own(one).run_as_non_root.is_none()))]
#[case::running_as_non_root_user(|pod: &PodSpec| security(pod).run_as_user.is_some_and(|user| user > 0) && each(pod, |one| own(one).run_as_user.is_none()))]
#[case::seccomp(|pod: &PodSpec| security(pod).seccomp_profile.is_some_and(|profile| profile.type_ == "RuntimeDefault") && each(pod, |one| own(one).seccomp_profile.is_none()))]
#[case::capabilities_are_dropped(|pod: &PodSpec| each(pod, |one| own(one).capabilities.is_some_and(|all| all.drop == Some(vec!["ALL".to_owned()]))))]
fn the_operators_pod_meets_the_restricted_standard(#[case] control: fn(&PodSpec) -> bool) {
    for deployment in installs() {
        assert!(control(&spec(&deployment)), "{deployment:#}");
    }
}

fn security(pod: &PodSpec) -> PodSecurityContext {
    pod.security_context.clone().unwrap_or_default()
}

fn own(container: &Container) -> SecurityContext {
    container.security_context.clone().unwrap_or_default()
}

/// Probes that ask something else than their own pod.
fn probed_hosts(container: &Container) -> usize {
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    let asks_another = |probe: &&Probe| {
        let http = probe.http_get.as_ref().and_then(|get| get.host.as_ref());
        http.or(probe.tcp_socket.as_ref().and_then(|socket| socket.host.as_ref())).is_some()
    };
    probes.into_iter().flatten().filter(asks_another).count()
}
