//! What the newest backup lacks for a restore, and which files have the keys of what is in it.
use serde_json::Value;

use super::*;

/// What a backup left, after a change.
fn left((snapshot, lineage): (char, char), change: impl FnOnce(&mut Value)) -> String {
    let mut result = serde_json::from_str(&backed_up(snapshot, lineage)).expect("JSON");
    change(&mut result);
    result.to_string()
}

#[test]
fn an_incomplete_backup_says_what_it_lacks() {
    let lack = json!({ "reason": "EncryptionKeyMissing", "message": "key1 is missing" });
    let left = left(('1', 'b'), |result| result["incomplete"] = lack);
    let world = running().run("11:00", "Succeeded", &left);
    assert_eq!(said(&world, conditions::COMPLETE), "False/EncryptionKeyMissing");
    assert_eq!(said(&world, FRESH), "True/Fresh");
}

/// A policy whose status tells of a backup by keys of a file, and what came then.
fn told_of_keys_and(then: impl FnOnce(World) -> World) -> World {
    let files = json!(["/etc/kubernetes/enc.yaml"]);
    let left = left(('1', 'b'), |result| result["encryptionConfigs"] = files);
    let mut world = running().run("10:00", "Succeeded", &left);
    world.policy.status = Some(told(&decide(&world), &world));
    then(world)
}

/// With a newer backup whose objects were not counted.
fn uncounted(world: World) -> World {
    let left = left(('2', 'c'), |result| result["etcd"]["keys"] = Value::Null);
    world.run("11:00", "Succeeded", &left)
}

#[rstest]
#[case::as_it_told(told_of_keys_and(|world| world), true)]
#[case::also_after_one_that_failed(told_of_keys_and(|world| world.failed("11:00")), true)]
#[case::also_once_its_pod_is_gone(told_of_keys_and(|world| world.marked().drained()), true)]
#[case::also_once_all_of_it_is_gone(told_of_keys_and(|world| World { backups: vec![], pods: vec![], ..world }), true)]
#[case::also_after_one_that_could_not_count(told_of_keys_and(uncounted), true)]
#[case::no_more_where_the_newest_needs_none(told_of_keys_and(|world| world.succeeded("11:00")), false)]
fn the_files_with_the_keys_of_the_newest_backup_are_known(#[case] world: World, #[case] expected: bool) {
    let files = told(&decide(&world), &world).encryption_configs;
    assert_eq!(files == ["/etc/kubernetes/enc.yaml"], expected, "{files:?}");
}

#[test]
fn a_lack_that_is_new_is_an_event_and_an_acceptance_of_nothing_is_told() {
    let lack = json!({ "reason": "Shrunk", "message": "9 objects" });
    let left = left(('1', 'b'), |result| result["incomplete"] = lack);
    let world = running().run("11:00", "Succeeded", &left).annotated(annotation::ACCEPT_SHRINK, "mbr-1");
    let plan = decide(&world);
    let lacking = plan.events.iter().find(|event| event.reason == "BackupIncomplete").expect("an event");
    assert_eq!(lacking.word, Reason::Shrunk);
    assert!(lacking.message.contains(r#"names "mbr-1", which is no record"#), "{}", lacking.message);
}
