//! Prints what a failed test touched: kubedr's objects, workloads, events and logs.
use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, LogParams},
    core::{ApiResource, GroupVersionKind},
};

/// Kinds whose objects are printed whole. Secrets are none of them.
const KINDS: &[(&str, &str, &str)] = &[
    ("kubedr.catalogicsoftware.com", "v1alpha1", "BackupLocation"),
    ("kubedr.catalogicsoftware.com", "v1alpha1", "MetadataBackupPolicy"),
    ("kubedr.catalogicsoftware.com", "v1alpha1", "MetadataBackupRecord"),
    ("kubedr.catalogicsoftware.com", "v1alpha1", "MetadataRestore"),
    ("apps", "v1", "Deployment"),
    ("batch", "v1", "CronJob"),
    ("batch", "v1", "Job"),
    ("", "v1", "Pod"),
];

/// Lines of a log that are told beside an error.
const SHOWN: usize = 10;

/// The last lines of what a program said.
pub fn end_of(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

/// Prints everything in `namespace` to standard error.
///
/// It serves a person who looks for a cause, so what cannot be read is printed
/// as that and the rest goes on.
pub async fn namespace(client: &Client, namespace: &str) {
    eprintln!("===== what is in namespace {namespace}");
    for (group, version, kind) in KINDS {
        objects(client, namespace, &GroupVersionKind::gvk(group, version, kind)).await;
    }
    events(client, namespace).await;
    logs(client, namespace).await;
    eprintln!("===== end of namespace {namespace}");
}

async fn objects(client: &Client, namespace: &str, gvk: &GroupVersionKind) {
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(gvk));
    match api.list(&ListParams::default()).await {
        Err(error) => eprintln!("--- {}: {error}", gvk.kind),
        Ok(list) => list.items.into_iter().for_each(|mut object| {
            object.metadata.managed_fields = None;
            let text = serde_saphyr::to_string(&object).unwrap_or_else(|error| error.to_string());
            eprintln!("--- {} {}\n{text}", gvk.kind, object.name_any());
        }),
    }
}

async fn events(client: &Client, namespace: &str) {
    match Api::<Event>::namespaced(client.clone(), namespace).list(&ListParams::default()).await {
        Err(error) => eprintln!("--- events: {error}"),
        Ok(list) => list.items.iter().for_each(|event| {
            let regarding = event.regarding.clone().unwrap_or_default();
            eprintln!(
                "--- event {} {} {}/{}: {}",
                event.type_.as_deref().unwrap_or_default(),
                event.reason.as_deref().unwrap_or_default(),
                regarding.kind.as_deref().unwrap_or_default(),
                regarding.name.as_deref().unwrap_or_default(),
                event.note.as_deref().unwrap_or_default(),
            );
        }),
    }
}

async fn logs(client: &Client, namespace: &str) {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let names = match pods.list(&ListParams::default()).await {
        Err(error) => return eprintln!("--- pods: {error}"),
        Ok(list) => list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
    };
    for name in names {
        let params = LogParams { tail_lines: Some(200), ..LogParams::default() };
        match pods.logs(&name, &params).await {
            Err(error) => eprintln!("--- log of {name}: {error}"),
            Ok(log) => eprintln!("--- log of {name}\n{log}"),
        }
    }
}
