//! Jobs in the place of those that hang for what the spec no longer asks.
use super::*;

fn corrected(world: World) -> World {
    world.with(|spec| spec.certs_dir = Some("/etc/kubernetes".into()))
}

/// Jobs that are made, and those that go.
#[rstest]
#[case::none_while_it_is_asked_for_as_before(running().on_a_missing_folder(), 0, &[])]
#[case::one_for_one_that_hangs(corrected(running().on_a_missing_folder()), 1, &["run-x-uid"])]
#[case::none_for_one_that_runs(corrected(running().backing_up()), 0, &[])]
#[case::none_for_one_that_is_about_to_begin(corrected(running().hanging("ContainerCreating")), 0, &[])]
#[case::none_while_nothing_shall_start(suspended(corrected(running().on_a_missing_folder())), 0, &["run-x-uid"])]
#[case::one_for_one_that_a_person_asked_for(asked_for(suspended(corrected(running().on_a_missing_folder()))), 1, &["run-x-uid"])]
#[case::none_for_one_that_goes_already(leaving(corrected(running().on_a_missing_folder())), 0, &[])]
#[case::one_for_one_of_an_unknown_spec(unmarked(running().on_a_missing_folder()), 1, &["run-x-uid"])]
#[case::none_beside_one_that_was_made_before(replaced(), 0, &["run-x-uid"])]
fn runs_that_take_the_place_of_another(#[case] world: World, #[case] made: usize, #[case] gone: &[&str]) {
    let plan = decide(&world);
    let targets: Vec<&str> = plan.delete.iter().map(|target| target.uid.as_str()).collect();
    assert_eq!((plan.create.len(), targets.as_slice()), (made, gone));
}

fn asked_for(mut world: World) -> World {
    world.backups[0].annotations_mut().insert(build::MANUAL.0.to_owned(), build::MANUAL.1.to_owned());
    world
}

fn leaving(mut world: World) -> World {
    world.backups[0].metadata.deletion_timestamp = Some(object(json!(NOW)));
    world
}

fn unmarked(mut world: World) -> World {
    world.backups[0].metadata.annotations = None;
    world
}

/// Where the operator died before the Job that hangs was removed.
fn replaced() -> World {
    let mut world = corrected(running().on_a_missing_folder());
    let mut second: Job = object(json!(decide(&world).create[0]));
    second.metadata.uid = Some("second-uid".to_owned());
    second.metadata.creation_timestamp = Some(object(json!(NOW)));
    world.pods.push(pod(&second, &json!({ "phase": "Running" })));
    world.backups[0].status = Some(object(json!({ "startTime": "2030-01-01T11:59:00Z" })));
    world.backups.push(second);
    world
}

#[test]
fn the_job_that_takes_the_place_of_another_is_as_the_cronjob_would_make_it_now() {
    let world = corrected(running().on_a_missing_folder());
    let job: Job = object(json!(decide(&world).create[0]));
    let template = built(&world).spec.expect("a spec").job_template;
    assert_eq!(job.spec, template.spec);
    assert!(build::is_up_to_date(&built(&world), &job), "else it would be replaced in turn");
    assert!(crate::ownership::controls(world.cronjob.as_ref().expect("a cronjob"), &job));
}
