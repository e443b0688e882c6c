use serde_json::json;

use super::*;
use crate::fixtures::{NOW, at, object};

fn world() -> World {
    let restore = object(json!({
        "metadata": { "name": "r", "namespace": "kubedr-system", "uid": "u", "generation": 1 },
        "spec": { "mbrName": "mbr-9a9808ce", "pvcName": "p" },
    }));
    World { restore, now: at(NOW) }
}

#[test]
fn a_restore_is_told_once_that_it_cannot_be_done() {
    let mut world = world();
    let plan = decide(&world);
    assert_eq!(plan.events.iter().map(|event| event.reason).collect::<Vec<_>>(), ["RestoreFailed"]);
    let status = plan.status.expect("a status").data["status"].clone();
    assert_eq!(status["restoreStatus"], "Failed");
    let types: Vec<_> =
        status["conditions"].as_array().expect("a list").iter().map(|one| &one["type"]).collect();
    assert_eq!(types, ["Ready", "Complete", "Stalled"]);
    world.restore.status = Some(object(status));
    let again = decide(&world);
    assert!(again.status.is_none() && again.events.is_empty(), "{again:?}");
}

#[test]
fn what_upstream_restored_stays_restored() {
    let mut world = world();
    world.restore.status = Some(object(json!({ "restoreStatus": "Completed" })));
    let plan = decide(&world);
    let status = plan.status.expect("a status").data["status"].clone();
    assert_eq!(status["restoreStatus"], "Completed");
    let said: Vec<_> = status["conditions"].as_array().expect("a list").iter().collect();
    assert!(said.len() == 2 && said.iter().all(|one| one["status"] == "True"), "{said:?}");
    assert!(plan.events.is_empty());
    world.restore.status = Some(object(status));
    assert!(decide(&world).status.is_none());
}
