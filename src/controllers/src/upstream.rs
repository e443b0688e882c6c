//! What upstream's operator left on objects.
use api::names::UPSTREAM_FINALIZERS;
use kube::{Resource, ResourceExt};
use runtime::{MetadataPatch, Plan};

/// What must be done with an object before anything else: nothing, mostly.
///
/// Upstream's finalizers did nothing but block a deletion; they go. An object
/// that is being deleted is left alone after that.
pub fn leave<K: Resource<DynamicType = ()>>(object: &K) -> Option<Plan> {
    let is_upstreams = |name: &String| UPSTREAM_FINALIZERS.contains(&name.as_str());
    if object.finalizers().iter().any(is_upstreams) {
        let remaining = object.finalizers().iter().filter(|name| !is_upstreams(name)).cloned().collect();
        return Some(Plan { patch: vec![MetadataPatch::finalizers(object, remaining)], ..Plan::default() });
    }
    object.meta().deletion_timestamp.is_some().then(Plan::default)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::an_object_of_ours_is_worked_on(json!({ "metadata": {} }), None)]
    #[case::upstreams_finalizer_goes(
        json!({ "metadata": { "finalizers": ["mbr.finalizers.kubedr.catalogicsoftware.com", "mine"], "resourceVersion": "7" } }),
        Some(vec![(vec!["mine".to_owned()], "7".to_owned())])
    )]
    #[case::one_that_is_going_away_is_left_alone(json!({ "metadata": { "deletionTimestamp": "2030-01-01T00:00:00Z" } }), Some(vec![]))]
    fn leaves(#[case] object: serde_json::Value, #[case] expected: Option<Vec<(Vec<String>, String)>>) {
        let object: ConfigMap = serde_json::from_value(object).expect("an object");
        let patches =
            |plan: Plan| plan.patch.into_iter().filter_map(|patch| patch.finalizers).collect::<Vec<_>>();
        assert_eq!(leave(&object).map(patches), expected);
    }
}
