//! Watches that keep and carry no more of objects than is looked at: there may be ten thousand of them.
use std::fmt::Debug;

use futures::Stream;
use kube::{
    Api, Resource,
    runtime::{
        Controller, WatchStreamExt, reflector,
        reflector::store::Writer,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

/// Objects in one answer of a listing: they are in memory together, beside those that are kept. A CronJob's metadata, of
/// which the API server tells who wrote each field, takes 80 KB there.
const PAGE: u32 = 25;

/// A controller of one kind, whose cache has of each object what `keep` leaves of it.
///
/// Never who wrote which field, nor annotations: they are larger than all else, and nobody asks a cache for them.
pub fn controller<K>(
    api: Api<K>,
    config: watcher::Config,
    keep: impl Fn(&mut K) + Send + 'static,
) -> Controller<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let writer = Writer::<K>::default();
    let known = writer.as_reader();
    let events = objects(api, config).modify(move |object| {
        leave_out(object);
        keep(object);
    });
    Controller::for_stream(reflector(writer, events).applied_objects(), known)
}

fn leave_out(object: &mut impl Resource) {
    let metadata = object.meta_mut();
    (metadata.managed_fields, metadata.annotations) = (None, None);
}

/// What to leave of an object of which all is looked at.
pub fn all<K>(_object: &mut K) {}

/// What comes, changes or goes. Of a `PartialObjectMeta` the API server sends no more than that.
pub fn objects<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config.page_size(PAGE))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use kube::ResourceExt;

    use super::*;
    use crate::fixtures::policy;

    #[test]
    fn a_cache_has_neither_annotations_nor_who_wrote_what() {
        let mut kept = policy();
        kept.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        kept.annotations_mut().insert("a".to_owned(), "b".to_owned());
        leave_out(&mut kept);
        assert_eq!((&kept.metadata.managed_fields, &kept.metadata.annotations), (&None, &None));
        assert_eq!((kept.spec, kept.metadata.uid), (policy().spec, policy().metadata.uid));
    }
}
