//! cert-manager itself, its controller and its cainjector, keeps the certificate.
use anyhow::{Context, Result};
use api::names;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use kubedr_tests::{
    Crowd, Installation, PATIENCE, Program, Running, module, now, programs, until, with_kubedr,
};
use serde_json::{Value, json};

use super::{entry, goes, installed_by, is_in_use, secret};

const SET: &str = "cert-manager";
const MODULE: &str = "github.com/cert-manager/cert-manager";
/// The Certificate, and the Secret with what came of it.
const CERTIFICATE: &str = "kubedr-webhook";
/// Requests that pass with each step.
const MANY: usize = 200;

#[tokio::test]
async fn a_certificate_of_cert_manager_is_taken_and_its_renewal_fails_no_request() {
    with_kubedr("cert-manager", async |kubedr| {
        let mut manager = CertManager::start(kubedr).await?;
        manager.during(Box::pin(is_taken_and_renewed(kubedr))).await
    })
    .await;
}

async fn is_taken_and_renewed(kubedr: &Installation) -> Result<()> {
    kubedr.install("cert-manager").await?;
    let first = issued(kubedr, None).await?;
    kubedr.wait_until_operator_is_ready().await?;
    is_in_use(kubedr, &first, PATIENCE).await?;
    the_one_before_leaves_nothing(kubedr).await?;
    Crowd::served(kubedr, async |crowd| {
        crowd.is_answered(MANY).await?;
        ask_for_another(kubedr).await?;
        let second = issued(kubedr, Some(&first)).await?;
        is_in_use(kubedr, &second, PATIENCE).await?;
        crowd.is_answered(MANY).await
    })
    .await?;
    is_uninstalled(kubedr).await
}

/// `kubectl delete -f config/self-signed/authority.yaml`: what the keeper before had of a key and of rights, which
/// applying another overlay leaves there.
async fn the_one_before_leaves_nothing(kubedr: &Installation) -> Result<()> {
    let is_its = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        name.starts_with(names::WEBHOOK_AUTHORITY)
    };
    goes(kubedr, &installed_by(kubedr, "self-signed", is_its).await?).await
}

/// `kubectl delete -k config/cert-manager`, but for the kinds, which other tests have objects of.
async fn is_uninstalled(kubedr: &Installation) -> Result<()> {
    let is_its_own = |object: &Value| object["kind"] != "CustomResourceDefinition";
    goes(kubedr, &installed_by(kubedr, "cert-manager", is_its_own).await?).await
}

/// Waits until there is a certificate, and another than before, and has the kubelet hand it over.
async fn issued(kubedr: &Installation, before: Option<&Secret>) -> Result<Secret> {
    let before = before.map(|before| entry(before, "tls.crt")).transpose()?;
    let issued = until("a certificate to be issued", async || {
        let Ok(secret) = secret(kubedr, CERTIFICATE).await else { return Ok(Err("there is none")) };
        let is_new = entry(&secret, "tls.crt").is_ok_and(|found| Some(found) != before);
        Ok(if is_new { Ok(secret) } else { Err("it is the one before") })
    })
    .await?;
    // It looks at a pod's Secrets once a minute, or when the pod is touched.
    let touched = json!({ "metadata": { "annotations": { "kubedr.test/touched": now().to_string() } } });
    for pod in kubedr.operators().await? {
        kubedr.patch::<Pod>(&pod.name_any(), touched.clone()).await?;
    }
    Ok(issued)
}

/// Does what `cmctl renew` does.
async fn ask_for_another(kubedr: &Installation) -> Result<()> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate"));
    let certificates = Api::<DynamicObject>::namespaced_with(kubedr.client.clone(), &kubedr.namespace, &kind);
    let certificate = certificates.get(CERTIFICATE).await?;
    let mut conditions = certificate.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.push(json!({
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "by a test",
        "lastTransitionTime": now().to_string(), "observedGeneration": certificate.metadata.generation,
    }));
    let status = Patch::Merge(json!({ "status": { "conditions": conditions } }));
    certificates
        .patch_status(CERTIFICATE, &PatchParams::default(), &status)
        .await
        .context("not asked")
        .map(drop)
}

/// Both programs, for one namespace; they end with this value.
struct CertManager([Running; 2]);

impl CertManager {
    async fn start(kubedr: &Installation) -> Result<Self> {
        make_kinds(kubedr).await?;
        let folder = programs(SET).await?;
        let start = |name: &str, more: &[&str]| -> Result<Running> {
            let program = Program::new(folder.join(format!("cert-manager-{name}")));
            let program = program.args(["--leader-elect=false", "--namespace", &kubedr.namespace]);
            program.args(["--kubeconfig", kubedr.cluster.kubeconfig()?]).args(more).start()
        };
        let controller = start("controller", &["--metrics-listen-address=127.0.0.1:0"])?;
        Ok(Self([controller, start("cainjector", &[])?]))
    }

    /// Does something while they run, and shows what they said where it fails.
    async fn during(&mut self, work: impl Future<Output = Result<()>>) -> Result<()> {
        let done = work.await;
        for program in &mut self.0 {
            program.goes_on()?;
            if done.is_err() {
                eprintln!("--- {}", program.said());
            }
        }
        done
    }
}

/// Applies cert-manager's own definitions, which its chart would complete with labels.
async fn make_kinds(kubedr: &Installation) -> Result<()> {
    let folder = module(SET, MODULE).await?.join("deploy/crds");
    for file in std::fs::read_dir(&folder).context("no definitions")? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).context("failed to read a definition")?;
            let mut definition: Value =
                serde_saphyr::from_str(&text).context("failed to read a definition")?;
            definition["metadata"]["labels"] = json!({});
            kubedr.apply(definition).await?;
        }
    }
    Ok(())
}
