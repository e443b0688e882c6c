//! The kinds' definitions, ready to be applied.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::{BackupLocation, MetadataBackupPolicy, MetadataBackupRecord, MetadataRestore};

/// The definition of every kind, in the order of the contract.
///
/// Not the same as the derived `crd()`s, which lack the default of `status` and
/// declare every optional field nullable.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [BackupLocation::crd(), MetadataBackupPolicy::crd(), MetadataBackupRecord::crd(), MetadataRestore::crd()]
        .map(finish)
        .into()
}

fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let schema = schema.expect("the derive always makes a schema");
        let status = schema.properties.as_mut().and_then(|properties| properties.get_mut("status"));
        // An object that nobody has looked at must not be taken for healthy by whoever waits
        // for observedGeneration to reach generation.
        status.expect("every kind has a status").default = Some(JSON(json!({ "observedGeneration": -1 })));
        tidy(schema);
    }
    crd
}

/// Makes one schema, and all within it, say what the API server should do.
fn tidy(schema: &mut JSONSchemaProps) {
    // A null then means "absent", as it did with upstream's definitions: the API server drops
    // it or puts the default there. A nullable field would keep it, and CEL's has() see it.
    schema.nullable = None;
    schema.description = schema.description.take().map(|text| reflow(&text));
    let properties = schema.properties.iter_mut().flat_map(|properties| properties.values_mut());
    properties.for_each(tidy);
}

/// One line per description: kubectl and `config/` break it for their own width.
fn reflow(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
