//! kubedr in a namespace of its own, installed from `config/default` as a user would.
use std::{
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use futures::FutureExt;
use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
        ValidatingWebhookConfiguration,
    },
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::{ClusterResourceScope, NamespaceResourceScope},
    discovery::{self, Scope},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Bucket, Cluster, dump, notes::note_time, until};

/// Namespace in the shipped manifests, replaced by the test's own.
const SHIPPED_NAMESPACE: &str = "kubedr-system";

/// The folder `config` of the checkout.
pub fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

/// Field manager of everything a test writes.
const MANAGER: &str = "kubedr-tests";

/// One installation of kubedr, for one test.
pub struct Installation {
    /// The cluster it runs on.
    pub cluster: Cluster,
    /// A client with the administrator's rights.
    pub client: Client,
    /// Its namespace.
    pub namespace: String,
    /// An empty bucket's name, not made yet, and keys that may do everything.
    pub bucket: Bucket,
}

/// Runs a test on an installation of its own, which goes away afterwards.
///
/// `name` must be unique among the tests. If the test fails, everything that it
/// may have touched is printed first.
pub async fn with_kubedr(name: &str, test: impl AsyncFnOnce(&Installation) -> Result<()>) {
    with_kubedr_on(Cluster::from_environment().expect("there is a cluster"), name, test).await;
}

/// The same, on another cluster than that of all tests.
///
/// # Panics
///
/// Where the test fails, as a test does.
pub async fn with_kubedr_on(
    cluster: Cluster,
    name: &str,
    test: impl AsyncFnOnce(&Installation) -> Result<()>,
) {
    with_namespace(cluster, name, async |installation| {
        installation.set_up().await?;
        test(installation).await
    })
    .await;
}

/// Runs a test in a namespace of its own with kubedr's kinds, but without its operator.
pub async fn with_kinds(name: &str, test: impl AsyncFnOnce(&Installation) -> Result<()>) {
    let cluster = Cluster::from_environment().expect("there is a cluster");
    with_namespace(cluster, name, async |installation| {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": installation.namespace } });
        installation.apply(namespace).await?;
        installation.install("crd").await?;
        test(installation).await
    })
    .await;
}

async fn with_namespace(cluster: Cluster, name: &str, test: impl AsyncFnOnce(&Installation) -> Result<()>) {
    let begin = Instant::now();
    let installation = Installation::on(cluster, name).await.expect("the cluster is there");
    let result = AssertUnwindSafe(test(&installation)).catch_unwind().await;
    let failed = !matches!(result, Ok(Ok(())));
    if failed {
        dump::namespace(&installation.client, &installation.namespace).await;
    }
    let removed = installation.remove().await;
    note_time(name, begin.elapsed());
    match result {
        Err(panic) => std::panic::resume_unwind(panic),
        Ok(result) => result.expect("the test succeeds"),
    }
    removed.expect("the installation goes away");
}

impl Installation {
    async fn on(cluster: Cluster, name: &str) -> Result<Self> {
        let client = cluster.client().await?;
        let namespace = format!("kubedr-{name}");
        let bucket = cluster.bucket(&namespace);
        let installation = Self { cluster, client, namespace, bucket };
        installation.remove().await.context("failed to remove what an earlier run left")?;
        if installation.cluster.has_node() {
            installation.bucket.clear().context("failed to empty the bucket of an earlier run")?;
        }
        Ok(installation)
    }

    /// Installs kubedr, waits until it serves, and makes the Secrets that tests name.
    pub async fn set_up(&self) -> Result<()> {
        self.install("default").await?;
        self.wait_until_operator_is_ready().await?;
        self.make_secrets().await
    }

    /// The operator's metrics, by its Service and over the API server.
    pub async fn metrics(&self) -> Result<String> {
        let service = "services/kubedr-operator-metrics:metrics/proxy/metrics";
        let path = format!("/api/v1/namespaces/{}/{service}", self.namespace);
        let request = http::Request::get(path).body(Vec::new()).context("no request")?;
        self.client.request_text(request).await.context("failed to scrape")
    }

    /// Applies a folder below `config`, as `kubectl apply -k` does.
    pub async fn install(&self, folder: &str) -> Result<()> {
        for object in self.rendered(&config().join(folder)).await? {
            self.apply(object).await?;
        }
        Ok(())
    }

    /// What `kubectl apply -k` would apply of a folder, in this installation's namespace.
    pub async fn rendered(&self, folder: &Path) -> Result<Vec<Value>> {
        let rendered = self.cluster.program("kubectl").arg("kustomize").arg(folder).succeed().await?;
        let objects =
            serde_saphyr::from_multiple::<Value>(&rendered).context("failed to read the manifests")?;
        Ok(objects.iter().map(|object| self.moved(object)).collect())
    }

    /// A namespace beside the installation's own, that goes away with it. It is not there before a test makes it.
    pub fn elsewhere(&self) -> String {
        format!("{}-elsewhere", self.namespace)
    }

    /// Makes [`Self::elsewhere`].
    pub async fn make_elsewhere(&self) -> Result<()> {
        let metadata = json!({ "name": self.elsewhere() });
        self.apply(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })).await
    }

    /// The shipped object, in this installation's namespace.
    fn moved(&self, object: &Value) -> Value {
        let text = object.to_string().replace(SHIPPED_NAMESPACE, &self.namespace);
        let mut object = serde_json::from_str(&text).expect("a namespace's name needs no escape");
        self.confine(&mut object);
        object
    }

    /// In all namespaces that are no operator's each installation would refuse what the tests of another make there.
    fn confine(&self, object: &mut Value) {
        let names = object["spec"]["policyName"].as_str().unwrap_or_default();
        if names.starts_with("namespace.") {
            let elsewhere = json!({ "kubernetes.io/metadata.name": self.elsewhere() });
            object["spec"]["matchResources"] = json!({ "namespaceSelector": { "matchLabels": elsewhere } });
        }
    }

    /// Makes the Secrets that locations and policies of tests name.
    pub async fn make_secrets(&self) -> Result<()> {
        if let Some(authority) = &self.bucket.authority {
            self.make_authority(authority).await?;
        }
        self.make_secret("s3", &self.bucket.credentials()).await?;
        self.make_secret("etcd-creds", &self.cluster.etcd_credentials()?).await
    }

    /// Makes the config map `s3-ca` of a certificate.
    pub async fn make_authority(&self, file: &Path) -> Result<()> {
        let certificate = std::fs::read_to_string(file).context("failed to read the authority")?;
        self.apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "ca.crt": certificate },
            "metadata": { "name": "s3-ca", "namespace": self.namespace },
        }))
        .await
    }

    /// Makes or replaces a Secret.
    pub async fn make_secret(&self, name: &str, data: &[(&str, String)]) -> Result<()> {
        let data: serde_json::Map<_, _> =
            data.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "namespace": self.namespace }, "stringData": data,
        });
        self.apply(secret).await
    }

    /// Applies any object, as `kubectl apply --server-side` does.
    pub async fn apply(&self, object: Value) -> Result<()> {
        self.send(object, &PatchParams::apply(MANAGER).force()).await
    }

    /// Does as if it were applied, and stores nothing.
    pub async fn try_out(&self, object: Value) -> Result<()> {
        self.send(object, &PatchParams::apply(MANAGER).force().dry_run()).await
    }

    async fn send(&self, object: Value, params: &PatchParams) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(object).context("not an object")?;
        let types = object.types.clone().context("an object without kind")?;
        let gvk = kube::core::GroupVersionKind::try_from(&types)?;
        let what = format!("{} {}", types.kind, object.name_any());
        // A kind whose definition was applied a moment ago may not be served yet.
        let (resource, capabilities) = until(&format!("{} to be served", types.kind), async || {
            Ok(discovery::pinned_kind(&self.client, &gvk).await)
        })
        .await?;
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = object.namespace().unwrap_or_else(|| self.namespace.clone());
                Api::namespaced_with(self.client.clone(), &namespace, &resource)
            }
        };
        api.patch(&object.name_any(), params, &Patch::Apply(&object))
            .await
            .with_context(|| format!("failed to apply {what}"))?;
        Ok(())
    }

    /// Waits until the operator serves, and the API server asks it: each overlay with an operator has webhooks.
    pub async fn wait_until_operator_is_ready(&self) -> Result<()> {
        let deployments = self.api::<Deployment>();
        until("the operator to be ready", async || {
            let deployment = deployments.get("kubedr-operator").await?;
            let status = deployment.status.unwrap_or_default();
            // Those of before a change are ready too, for a moment.
            let ready = status.ready_replicas >= Some(1)
                && status.updated_replicas == status.replicas
                && status.observed_generation == deployment.metadata.generation;
            Ok(if ready { Ok(()) } else { Err(status) })
        })
        .await?;
        // kube-proxy hears a moment later who is ready.
        self.wait_until_admission_answers().await
    }

    /// Deletes the namespace and what is cluster-wide, and waits until it is gone.
    async fn remove(&self) -> Result<()> {
        if !self.cluster.has_node() {
            // Nobody is there to empty a namespace that is deleted; the whole cluster goes.
            return Ok(());
        }
        self.remove_cluster_wide().await?;
        self.remove_namespace(&self.elsewhere()).await?;
        self.remove_namespace(&self.namespace).await
    }

    /// Deletes a namespace with all that is in it, if it is there, and waits until it is gone.
    pub async fn remove_namespace(&self, name: &str) -> Result<()> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        match namespaces.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            result => result.map(drop).context("failed to delete the namespace")?,
        }
        self.hurry(name).await?;
        until("the namespace to go away", async || {
            Ok(match namespaces.get_opt(name).await? {
                None => Ok(()),
                Some(namespace) => Err(namespace.status),
            })
        })
        .await
    }

    /// Has an operator that is on its way out not wait for API servers that may still ask it.
    async fn hurry(&self, namespace: &str) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
        let deleted = pods.delete_collection(&DeleteParams::default().grace_period(1), &operators).await;
        deleted.map(drop).context("failed to delete the operator's pods")
    }

    async fn remove_cluster_wide(&self) -> Result<()> {
        let end = format!(".{}", self.namespace);
        self.remove_named::<MutatingWebhookConfiguration>(&end).await?;
        self.remove_named::<ValidatingWebhookConfiguration>(&end).await?;
        self.remove_named::<ValidatingAdmissionPolicyBinding>(&end).await?;
        self.remove_named::<ValidatingAdmissionPolicy>(&end).await?;
        self.remove_named::<ClusterRole>(&end).await?;
        self.remove_named::<ClusterRoleBinding>(&end).await
    }

    /// Deletes what is in no namespace and has a name that ends so.
    async fn remove_named<K>(&self, end: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api = Api::<K>::all(self.client.clone());
        let all = api.list(&ListParams::default()).await?.items;
        for name in all.iter().map(ResourceExt::name_any).filter(|name| name.ends_with(end)) {
            api.delete(&name, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// The objects of one kind in the installation's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Sets one of kubedr's own annotations.
    pub async fn annotate<K>(&self, name: &str, key: &str, value: &str) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let key = format!("kubedr.catalogicsoftware.com/{key}");
        self.patch(name, json!({ "metadata": { "annotations": { key: value } } })).await
    }

    /// Changes an object by a merge patch.
    pub async fn patch<K>(&self, name: &str, patch: Value) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let what = format!("failed to change {} {name:?}", K::kind(&()));
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.context(what)
    }
}
