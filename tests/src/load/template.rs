//! One object as the API server stored it, from which copies are stamped.
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::Value;

use super::{Etcd, manifests};

/// Namespace of the templates; those of copies have the same length. No part of a name, or names would be changed too.
pub const NAMESPACE: &str = "space-000";
/// Namespaces of copies.
const NAMESPACES: u64 = 200;
/// Name of each template; those of copies have the same length, so that no length field changes.
pub const NAME: &str = "load-0000000000";
/// What stands where a copy gets contents of its own; at least this long.
pub const FILLER: &str = "ffffffffffffffffffffffffffffffff";

/// The bytes of one object, and where its parts are that differ between copies.
pub struct Template {
    resource: ApiResource,
    /// Key in etcd, with [`NAMESPACE`] and [`NAME`] in it.
    key: String,
    value: Vec<u8>,
    uid: String,
    /// Where copies differ from `value`.
    places: Places,
    /// How many of a hundred objects are of it.
    pub share: u64,
}

/// Name of a copy.
pub fn name(number: u64) -> String {
    format!("load-{number:010}")
}

fn namespace(number: u64) -> String {
    // A hundred neighbours have all kinds among them.
    format!("space-{:03}", number / 100 % NAMESPACES)
}

/// Makes one object of each kind, reads what the API server made of it out of etcd, and removes it.
pub async fn read_all(client: &Client, mut etcd: Etcd) -> Result<Vec<Template>> {
    manifests::prepare(client).await?;
    let mut templates = Vec::new();
    for manifest in manifests::all() {
        templates.push(Template::read(client, &mut etcd, manifest).await?);
    }
    ensure!(
        templates.iter().map(|template| template.share).sum::<u64>() == 100,
        "the shares are not a hundred"
    );
    Ok(templates)
}

impl Template {
    async fn read(client: &Client, etcd: &mut Etcd, manifest: manifests::Manifest) -> Result<Self> {
        let object: DynamicObject = serde_json::from_value(manifest.object).context("not an object")?;
        let types = object.types.clone().context("an object without kind")?;
        let gvk = GroupVersionKind::try_from(&types).context("not a kind")?;
        let resource = ApiResource::from_gvk_with_plural(&gvk, manifest.plural);
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), NAMESPACE, &resource);
        // What an earlier run left is not what was asked for.
        let _ = api.delete(NAME, &DeleteParams::default().grace_period(0)).await;
        let made = api.create(&PostParams::default(), &object).await;
        let made = made.with_context(|| format!("the API server does not take the {}", types.kind))?;
        let key = format!("/registry/{}/{NAMESPACE}/{NAME}", manifest.folder);
        let value =
            etcd.get(&key).await.with_context(|| format!("nothing is stored of the {}", types.kind))?;
        api.delete(NAME, &DeleteParams::default().grace_period(0))
            .await
            .context("failed to remove a template")?;
        let uid = made.metadata.uid.context("an object without uid")?;
        let places = Places::of(&value, &uid);
        Ok(Self { resource, key, value, uid, places, share: manifest.share })
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        &self.resource.kind
    }

    /// Key of a copy.
    pub fn key(&self, number: u64) -> String {
        self.key
            .replace(&format!("{NAMESPACE}/"), &format!("{}/", namespace(number)))
            .replace(NAME, &name(number))
    }

    /// uid of a copy.
    pub fn uid(&self, number: u64) -> String {
        // The last group of a uid has twelve digits.
        let head = self.uid.rsplit_once('-').map_or("", |(head, _)| head);
        format!("{head}-{number:012x}")
    }

    /// Bytes of a copy: as long as the template, since lengths are part of how it is encoded.
    pub fn value(&self, number: u64) -> Vec<u8> {
        self.stamped(number, number)
    }

    /// The same copy, but with other contents: as if it had been changed for the `version`th time.
    pub fn changed(&self, number: u64, version: u64) -> Vec<u8> {
        self.stamped(number, number ^ version.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn stamped(&self, number: u64, seed: u64) -> Vec<u8> {
        let mut value = self.value.clone();
        let mut stamp = |places: &[usize], text: &str| {
            for place in places {
                value[*place..place + text.len()].copy_from_slice(text.as_bytes());
            }
        };
        stamp(&self.places.names, &name(number));
        stamp(&self.places.namespaces, &namespace(number));
        stamp(&self.places.uids, &self.uid(number));
        fill(&mut value, &self.places.fillers, seed);
        value
    }

    /// A copy, read through the API server.
    pub async fn get(&self, client: &Client, number: u64) -> Result<Value> {
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace(number), &self.resource);
        let found = api.get(&name(number)).await;
        let found =
            found.with_context(|| format!("the API server does not read {} {number}", self.kind()))?;
        serde_json::to_value(found).context("not JSON")
    }
}

/// Offsets of what differs between copies.
struct Places {
    names: Vec<usize>,
    namespaces: Vec<usize>,
    uids: Vec<usize>,
    fillers: Vec<Range<usize>>,
}

impl Places {
    fn of(value: &[u8], uid: &str) -> Self {
        let all = |text: &str| occurrences(value, text.as_bytes());
        Self { names: all(NAME), namespaces: all(NAMESPACE), uids: all(uid), fillers: fillers(value) }
    }
}

fn occurrences(value: &[u8], text: &[u8]) -> Vec<usize> {
    let windows = value.windows(text.len()).enumerate();
    windows.filter(|(_, window)| *window == text).map(|(at, _)| at).collect()
}

/// Every run of the filler's letter that is at least as long as [`FILLER`].
fn fillers(value: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in occurrences(value, FILLER.as_bytes()) {
        match found.last_mut() {
            Some(last) if at < last.end => last.end = at + FILLER.len(),
            _ => found.push(at..at + FILLER.len()),
        }
    }
    found
}

/// Puts letters and digits without a pattern where the filler is: what people store does not compress to nothing.
fn fill(value: &mut [u8], places: &[Range<usize>], seed: u64) {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ab";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for place in places.iter().cloned().flatten() {
        // xorshift64: the same copy is the same bytes, in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        value[place] = LETTERS[usize::from(state.to_le_bytes()[7] & 63)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_as_long_as_its_template_and_like_no_other() {
        let uid = "6c1f0a54-8d7e-4a57-9a43-0123456789ab";
        let value = format!("\n\u{15}{NAME} in {NAMESPACE} is {uid}: {FILLER}{FILLER}.").into_bytes();
        let gvk = GroupVersionKind::gvk("", "v1", "ConfigMap");
        let template = Template {
            resource: ApiResource::from_gvk(&gvk),
            key: format!("/registry/configmaps/{NAMESPACE}/{NAME}"),
            places: Places::of(&value, uid),
            value: value.clone(),
            uid: uid.to_owned(),
            share: 1,
        };
        let (one, two) = (template.value(700), template.value(20700));
        assert_eq!((one.len(), two.len()), (value.len(), value.len()));
        let text = String::from_utf8(one.clone()).expect("text");
        assert!(
            text.contains("load-0000000700 in space-007 is 6c1f0a54-8d7e-4a57-9a43-0000000002bc: "),
            "{text}"
        );
        assert!(!text.contains(FILLER), "{text}");
        assert_ne!(one[one.len() - 30..], two[two.len() - 30..], "contents differ");
        assert_eq!(one, template.value(700), "and are the same each time");
        assert_ne!(one, template.changed(700, 1), "unless it was changed");
        assert_eq!(template.key(20700), "/registry/configmaps/space-007/load-0000020700");
    }
}
