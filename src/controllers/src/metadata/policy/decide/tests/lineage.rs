//! Which history of etcd the policy's backups are of, and who accepts another one.
use super::*;

#[rstest]
#[case::first_is_accepted_by_itself(running().succeeded("10:00"), "True/Accepted", 'b')]
#[case::another_is_not(in_another_lineage(), "False/LineageChanged", 'b')]
#[case::until_a_person_accepts_it(in_another_lineage().annotated(annotation::ACCEPT_LINEAGE, &"c".repeat(16)), "True/Accepted", 'c')]
#[case::who_must_name_it(in_another_lineage().annotated(annotation::ACCEPT_LINEAGE, "true"), "False/LineageChanged", 'b')]
#[case::hidden_by_a_clock_that_is_ahead(hidden(), "False/LineageChanged", 'b')]
#[case::hidden_by_a_clock_that_is_ahead_until_a_person_accepts_it(
    hidden().annotated(annotation::ACCEPT_LINEAGE, &"c".repeat(16)), "True/Accepted", 'c'
)]
#[case::one_that_only_a_nodes_clock_calls_newest(clock_ahead(), "False/LineageChanged", 'b')]
#[case::one_that_only_a_nodes_clock_calls_newest_until_a_person_says_which(
    clock_ahead().annotated(annotation::ACCEPT_LINEAGE, &"b".repeat(16)), "True/Accepted", 'b'
)]
#[case::that_of_another_cluster_is_none(
    accepted().records([record('1', 1), of_another_cluster(of('c', record('2', 2)))]), "True/Accepted", 'b'
)]
#[case::first_of_another_repository(moved([of('c', record('2', 2))]), "True/Accepted", 'c')]
#[case::another_of_another_repository(
    moved([of('c', record('2', 2)), of('d', record('3', 3))]), "False/LineageChanged", 'b'
)]
#[case::first_of_which_the_accepted_one_is_nowhere(
    accepted().records([of('c', record('2', 2))]), "False/LineageChanged", 'b'
)]
fn lineage(#[case] world: World, #[case] accepted: &str, #[case] known: char) {
    assert_eq!(said(&world, conditions::LINEAGE_ACCEPTED), accepted);
    assert_eq!(told(&decide(&world), &world).lineage, Some(known.to_string().repeat(16)));
}

/// Where the newest backup is of another history, but by a node's clock it is not the newest.
fn hidden() -> World {
    accepted().records([ahead(record('1', 1)), of('c', record('2', 2))])
}

/// Where one backup of another history came from a node whose clock is ahead, before the newest.
fn clock_ahead() -> World {
    accepted().records([of('c', ahead(record('1', 1))), record('2', 2)])
}

/// Where the policy's backups went to another repository before.
fn moved(here: impl IntoIterator<Item = MetadataBackupRecord>) -> World {
    accepted().records([elsewhere(record('1', 1))].into_iter().chain(here))
}

/// A policy that was deleted and made again, with the records of before.
fn remade(records: impl IntoIterator<Item = MetadataBackupRecord>) -> World {
    let mut world = running().keeping(1).records(records);
    world.policy.status = None;
    world
}

#[rstest]
#[case::the_only_one(remade([record('1', 1), record('2', 2)]), "True/Accepted", Some('b'))]
#[case::none_beside_another(remade([record('1', 1), of('c', record('2', 2))]), "False/LineageChanged", None)]
#[case::what_a_person_names(
    remade([record('1', 1), of('c', record('2', 2))]).annotated(annotation::ACCEPT_LINEAGE, &"c".repeat(16)),
    "True/Accepted", Some('c')
)]
fn a_lost_status_accepts(#[case] world: World, #[case] accepted: &str, #[case] known: Option<char>) {
    assert_eq!(said(&world, conditions::LINEAGE_ACCEPTED), accepted);
    let plan = decide(&world);
    assert_eq!(told(&plan, &world).lineage, known.map(|digit| digit.to_string().repeat(16)));
    assert_eq!(retention::goes(&plan).is_some(), known.is_some(), "nothing goes before");
}

/// Where the lineage of most records was accepted.
pub fn accepted() -> World {
    let mut world = running().keeping(1);
    world.policy.status.as_mut().expect("a status").lineage = Some("b".repeat(16));
    world
}

pub fn in_another_lineage() -> World {
    let later = backed_up('2', 'c').replace("11:50:05", "11:55:05");
    running().succeeded("10:00").written().run("11:00", "Succeeded", &later)
}
