//! Which backups go, and what is said meanwhile.
use super::{
    lineage::{accepted, in_another_lineage},
    *,
};

/// Ids that a plan's forget Job is told to remove, and those that must stay.
pub fn goes(plan: &Plan) -> Option<(Vec<char>, Vec<char>)> {
    let job: Job = plan.create.first().map(|created| object(json!(created)))?;
    let pod = job.spec?.template.spec?;
    let told =
        pod.containers[0].env.as_ref()?.iter().find(|one| one.name == "KUBEDR_FORGET")?.value.clone()?;
    let list: model::environment::ForgetList = serde_json::from_str(&told).ok()?;
    let digits = |pairs: &[model::environment::Pair]| {
        pairs.iter().filter_map(|pair| pair.etcd.as_str().chars().next()).collect()
    };
    Some((digits(&list.go), digits(&list.stay)))
}

#[rstest]
#[case::older_than_the_last_two(running().keeping(2).records(three()), Some((vec!['1'], vec!['3', '2'])))]
#[case::oldest_first(running().keeping(1).records(three()), Some((vec!['1', '2'], vec!['3'])))]
#[case::never_the_newest(running().keeping(1).records([record('1', 1)]), None)]
#[case::nothing_while_there_are_few(running().keeping(3).records(three()), None)]
#[case::nothing_that_is_held(running().keeping(2).records([held(record('1', 1)), record('2', 2), record('3', 3)]), None)]
#[case::never_the_newest_complete_one(
    running().keeping(1).records([record('1', 1), record('2', 2), incomplete(record('3', 3))]),
    Some((vec!['1'], vec!['3', '2']))
)]
#[case::never_the_last_one_before_the_cluster_was_emptied(
    running().keeping(1).records([
        lacking("NeedsKms", of_objects(90, false, record('1', 1))),
        of_objects(9, true, record('2', 2)),
        of_objects(8, true, record('3', 3)),
    ]),
    Some((vec!['2'], vec!['3', '1']))
)]
#[case::not_one_of_a_cluster_that_was_dying(
    running().keeping(1).records([
        of_objects(90, false, record('1', 1)),
        incomplete(of_objects(9, false, record('2', 2))),
        of_objects(8, true, record('3', 3)),
    ]),
    Some((vec!['2'], vec!['3', '1']))
)]
#[case::nor_the_accepted_one_until_another_can_take_its_part(
    running().annotated(annotation::ACCEPT_SHRINK, "mbr-22222222").keeping(1).records([
        of_objects(90, false, record('1', 1)),
        of_objects(9, true, record('2', 2)),
        of_objects(8, true, record('3', 3)),
    ]),
    None
)]
#[case::any_from_before_it_once_the_shrinking_was_accepted(
    running().keeping(1).records([
        of_objects(90, false, record('1', 1)),
        of_objects(9, true, record('2', 2)),
        of_objects(8, false, record('3', 3)),
    ])
    .annotated(annotation::ACCEPT_SHRINK, "mbr-22222222"),
    Some((vec!['1', '2'], vec!['3']))
)]
#[case::never_the_newest_of_a_lineage_of_late(
    accepted().records([of('c', record('1', 29)), of('c', record('2', 30)), record('3', 31)]),
    Some((vec!['1'], vec!['3', '2']))
)]
#[case::the_newest_of_an_old_lineage(
    accepted().records([of('c', record('1', 1)), record('3', 31)]), Some((vec!['1'], vec!['3']))
)]
#[case::never_the_newest_whatever_a_nodes_clock_says(
    accepted().records([ahead(record('1', 1)), record('2', 2), record('3', 3)]), Some((vec!['2'], vec!['1', '3']))
)]
#[case::never_the_newest_complete_one_whatever_a_nodes_clock_says(
    accepted().records([ahead(record('1', 1)), record('2', 2), incomplete(record('3', 3))]), None
)]
#[case::never_the_newest_of_a_lineage_of_late_though_it_is_incomplete(
    accepted().records([of('c', record('1', 28)), of('c', record('2', 29)), of('c', incomplete(record('4', 30))), record('3', 31)]),
    Some((vec!['1'], vec!['3', '4', '2']))
)]
#[case::never_the_one_that_etcd_counts_as_the_newest_of_a_lineage_of_late(
    accepted().records([of('c', counted(9, record('1', 28))), of('c', counted(8, record('2', 29))), record('3', 31)]), None
)]
#[case::nothing_of_another_cluster(running().keeping(1).records([of_another_cluster(record('1', 1)), record('3', 3)]), None)]
#[case::nothing_of_another_repository(running().keeping(1).records([elsewhere(record('1', 1)), record('3', 3)]), None)]
#[case::nothing_that_is_not_known(running().keeping(1).records([unknown(record('1', 1)), record('3', 3)]), None)]
#[case::nothing_of_an_unaccepted_lineage(in_another_lineage().keeping(1).records(three()), None)]
fn retention_removes(#[case] world: World, #[case] expected: Option<(Vec<char>, Vec<char>)>) {
    assert_eq!(goes(&decide(&world)), expected);
}

pub fn busy() -> World {
    running().keeping(2).records(three())
}

fn locked(at: &str) -> World {
    let left = failure("forget", Reason::RepositoryLocked);
    busy().forgetting(Some(("Failed", at)), ("Failed", &left))
}

#[rstest]
#[case::a_running_job_is_waited_for(busy().forgetting(None, ("Running", "")), "True/Retained", "")]
#[case::a_success_is_waited_for_until_the_records_are_gone(
    busy().forgetting(Some(("Complete", "2030-01-01T11:59:30Z")), ("Succeeded", &forgotten())), "True/Retained", ""
)]
#[case::a_fresh_failure_is_waited_with(locked("2030-01-01T11:59:55Z"), "False/RepositoryLocked", "")]
#[case::a_failure_is_tried_again(locked("2030-01-01T11:59:30Z"), "False/RepositoryLocked", "delete")]
#[case::a_new_lineage_stops_it(in_another_lineage().keeping(1).records(three()), "False/LineageChanged", "")]
fn retention(#[case] world: World, #[case] retained: &str, #[case] expected: &str) {
    let plan = decide(&world);
    assert_eq!(said(&world, conditions::RETAINED), retained);
    assert_eq!(plan.delete.iter().map(|_| "delete").collect::<Vec<_>>().join(" "), expected);
    assert!(plan.create.is_empty(), "one at a time");
    let failed = plan.events.iter().any(|event| event.reason == "RetentionFailed");
    assert_eq!(failed, retained.starts_with("False"));
}
