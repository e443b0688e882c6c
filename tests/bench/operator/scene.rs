//! What the operator finds: a node beside which it could back up, a location that is attached, and policies.
use std::{collections::HashSet, ffi::OsStr, ops::Range, path::Path};

use anyhow::{Context, Result, ensure};
use api::{MetadataBackupPolicy, conditions::READY, names};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{api::batch::v1::CronJob, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use kubedr_tests::{Installation, OperatorProcess, config, rules_about_nobody};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The one location.
pub const LOCATION: &str = "bench";
/// Policies on their way to the API server at once.
const AT_ONCE: usize = 16;
/// Objects in one answer of the API server.
const PAGE: u32 = 500;

/// A namespace with everything that the operator needs, and none of the programs that would act upon what it makes.
pub struct Scene<'a> {
    kubedr: &'a Installation,
    folder: TempDir,
}

impl<'a> Scene<'a> {
    /// Makes all but the policies.
    pub async fn set(kubedr: &'a Installation) -> Result<Self> {
        let scene = Self { kubedr, folder: tempfile::tempdir()? };
        scene.install().await?;
        kubedr.make_attached_location(LOCATION).await?;
        Ok(scene)
    }

    /// What is installed by default, but that nobody starts an operator, and the API server asks none: it could not reach
    /// the process.
    async fn install(&self) -> Result<()> {
        for mut object in self.kubedr.rendered(&config().join("default")).await? {
            for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
                webhook["rules"] = rules_about_nobody();
            }
            if object["kind"] != "Deployment" {
                self.kubedr.apply(object).await?;
            }
        }
        Ok(())
    }

    /// Makes policies until there are so many.
    pub async fn have(&self, wanted: u64) -> Result<()> {
        let there = self.count().await?;
        self.make(there..wanted).await.map(drop)
    }

    /// Makes the policies of these numbers.
    pub async fn make(&self, numbers: Range<u64>) -> Result<Vec<MetadataBackupPolicy>> {
        let making = futures::stream::iter(numbers).map(|number| self.make_one(number));
        making.buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn make_one(&self, number: u64) -> Result<MetadataBackupPolicy> {
        let spec = json!({
            "destination": LOCATION, "schedule": "30 2 * * *", "certsDir": "/etc/kubernetes/pki",
            "retainNumBackups": 30, "suspend": true,
        });
        let name = format!("policy-{number:06}");
        let policy = object("MetadataBackupPolicy", &name, &spec);
        let params = PatchParams::apply("kubedr-tests");
        let made =
            self.kubedr.api::<MetadataBackupPolicy>().patch(&name, &params, &Patch::Apply(&policy)).await;
        made.with_context(|| format!("failed to make {name}"))
    }

    /// How many policies there are.
    pub async fn count(&self) -> Result<u64> {
        Ok(self.policies().await?.len() as u64)
    }

    /// What is not as it should be once the operator has done everything.
    pub async fn unsettled(&self, wanted: u64) -> Result<Option<String>> {
        let cronjobs: HashSet<String> =
            paged(&self.kubedr.api::<CronJob>()).await?.iter().map(ResourceExt::name_any).collect();
        let policies = self.policies().await?;
        ensure!(policies.len() as u64 == wanted, "there are {} policies, not {wanted}", policies.len());
        let lacks = |policy: &&MetadataBackupPolicy| {
            !is_told(policy) || !cronjobs.contains(&names::backup_cronjob(&policy.name_any()))
        };
        let lacking: Vec<_> = policies.iter().filter(lacks).collect();
        Ok(lacking.first().map(|first| {
            format!(
                "{} policies lack something, among them {}: {:?}",
                lacking.len(),
                first.name_any(),
                first.status
            )
        }))
    }

    async fn policies(&self) -> Result<Vec<MetadataBackupPolicy>> {
        paged(&self.kubedr.api()).await
    }

    /// Starts an operator, with webhooks as they are by default, or without.
    pub async fn operator(&self, program: &Path, webhooks: bool) -> Result<OperatorProcess> {
        let certificates = webhooks.then_some(OsStr::new("self"));
        OperatorProcess::start(self.kubedr, program, self.folder.path(), certificates).await
    }
}

/// Whether the status is of the spec as it is, and says that it is in force.
fn is_told(policy: &MetadataBackupPolicy) -> bool {
    policy.status.as_ref().is_some_and(|status| {
        let says_so = |condition: &Condition| condition.type_ == READY && condition.status == "True";
        status.observed_generation == policy.metadata.generation && status.conditions.iter().any(says_so)
    })
}

async fn paged<K>(api: &Api<K>) -> Result<Vec<K>>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await.context("failed to list")?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "kubedr.catalogicsoftware.com/v1alpha1", "kind": kind, "metadata": { "name": name },
    });
    if !spec.is_null() {
        object["spec"] = spec.clone();
    }
    object
}
