//! Watches: they fill the caches first and ask for visits then, so that a visit never sees less than what asked for it.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::channel::mpsc;
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::readiness::Pending;
use crate::api::GROUP;

/// An object as a watch holds it: one that cannot be decoded must not break the watch of all others.
pub(super) type Guarded<K> = DeserializeGuard<K>;

/// Requests for visits of one kind. Unbounded, because kube's scheduler behind it holds at most one an object.
pub(super) struct Queue<K: Lookup> {
    sender: mpsc::UnboundedSender<ObjectRef<K>>,
}

impl<K: Lookup> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<K: Lookup> Queue<K> {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<ObjectRef<K>>) {
        let (sender, requests) = mpsc::unbounded();
        (Self { sender }, requests)
    }

    /// Asks for a visit. When nobody listens any more the operator is going down, and nothing is lost.
    pub(super) fn request(&self, object: ObjectRef<K>) {
        let _ = self.sender.unbounded_send(object);
    }
}

/// What is to happen when objects of a kind change. Called after the cache holds the change.
pub(super) trait React<K>: Send + 'static {
    /// An object was added or changed.
    fn changed(&mut self, object: &K);
    /// An object is gone.
    fn deleted(&mut self, object: &K);
}

/// The changes of the objects that a watch sees, from what there is in the beginning on.
pub(super) fn changes<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    watcher(api, config).default_backoff()
}

/// Keeps a cache of one kind by what is told of it, until `shutdown`.
pub(super) async fn follow<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    mut writer: Writer<K>,
    pending: Pending,
    shutdown: CancellationToken,
    trim: fn(&mut K),
    mut reaction: impl React<K>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut events = Box::pin(events.take_until(shutdown.cancelled()));
    let mut pending = Some(pending);
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event.modify(trim),
            Err(error) => {
                tracing::warn!(%error, kind = %<K as Resource>::kind(&()), "watch interrupted; trying again");
                continue;
            }
        };
        // What vanished while the watch was down is told by no event but its absence from the new listing.
        let before = if matches!(event, watcher::Event::InitDone) { writer.as_reader().state() } else { Vec::new() };
        writer.apply_watcher_event(&event);
        match event {
            watcher::Event::Apply(object) => reaction.changed(&object),
            watcher::Event::Delete(object) => reaction.deleted(&object),
            // The cache takes a listing as a whole, at its end.
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
            watcher::Event::InitDone => {
                pending = None;
                let now = writer.as_reader().state();
                let uids: HashSet<_> = now.iter().map(|object| object.meta().uid.as_ref()).collect();
                for gone in before.iter().filter(|object| !uids.contains(&object.meta().uid.as_ref())) {
                    reaction.deleted(gone);
                }
                for object in now {
                    reaction.changed(&object);
                }
            }
        }
    }
    drop(pending);
}

/// Takes off an object of ours what is of no use here and larger than the rest: a second copy of it, and who wrote what.
pub(super) fn trim<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Leaves of the metadata of somebody else's object what is looked at: in the annotations of a Secret there may be all that
/// it holds.
pub(super) fn trim_to_version<K: Resource>(object: &mut K) {
    trim_to_labels(object);
    object.meta_mut().labels = None;
}

/// As [`trim_to_version`], with the labels, which selectors select by.
pub(super) fn trim_to_labels<K: Resource>(object: &mut K) {
    let meta = object.meta_mut();
    (meta.managed_fields, meta.annotations, meta.owner_references) = (None, None, None);
}

/// Tells changes that matter from those that do not: keeps a digest of what matters for every object.
#[derive(Debug, Default)]
pub(super) struct Changes {
    known: HashMap<String, u64>,
}

impl Changes {
    /// Whether what matters of the object of this uid changed since the last call.
    pub(super) fn differs(&mut self, uid: Option<&String>, matters: impl Hash) -> bool {
        let digest = digest(matters);
        self.known.insert(uid.cloned().unwrap_or_default(), digest) != Some(digest)
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&mut self, uid: Option<&String>) {
        self.known.remove(uid.map_or("", String::as_str));
    }
}

fn digest(matters: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    matters.hash(&mut hasher);
    hasher.finish()
}

/// What of an object's metadata asks for a visit of the object itself. Not the generation alone: that would hide the
/// write of the finalizer, annotations carry requests, and a status that could not be decoded may be mended.
pub(super) fn own_matters<K: Resource<DynamicType = ()>>(object: &Guarded<K>) -> impl Hash + use<K> {
    let meta = object.meta();
    let deleted = meta.deletion_timestamp.as_ref().map(|time| time.0);
    (object.0.is_ok(), meta.generation, deleted, meta.finalizers.clone(), meta.annotations.clone())
}

/// What of an object's metadata asks the operator for something, or says that somebody no longer does.
fn asked<K: Resource>(object: &K) -> impl Hash + use<K> {
    let meta = object.meta();
    let deleted = meta.deletion_timestamp.as_ref().map(|time| time.0);
    let annotations = meta.annotations.iter().flatten();
    let own: Vec<_> =
        annotations.filter(|(key, _)| key.starts_with(GROUP)).map(|(k, v)| (k.clone(), v.clone())).collect();
    (meta.generation, deleted, meta.finalizers.clone(), own)
}

/// Whether a cache holds this very object, and not only one of its name.
pub(super) fn holds<K>(store: &Store<Guarded<K>>, object: &K) -> bool
where
    K: Resource<DynamicType = ()> + Clone,
{
    cached(store, object).is_some()
}

/// Whether an object is as the cache shows it, or newer: the cache runs behind our own writes.
pub(super) fn is_current<K>(store: &Store<Guarded<K>>, object: &K) -> bool
where
    K: Resource<DynamicType = ()> + Clone,
{
    cached(store, object).is_some_and(|cached| {
        version(cached.meta()) <= version(object.meta()) || digest(asked(cached.as_ref())) == digest(asked(object))
    })
}

/// What a cache holds of this very object.
pub(super) fn cached<K>(store: &Store<Guarded<K>>, object: &K) -> Option<Arc<Guarded<K>>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let key = ObjectRef::new(&object.name_any()).within(object.meta().namespace.as_deref().unwrap_or_default());
    store.get(&key).filter(|cached| cached.meta().uid == object.meta().uid)
}

/// resourceVersions of one resource are numbers that grow; one that is not is taken for the oldest.
pub(super) fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// An object in the cache, if it is there and can be decoded.
pub(super) fn decoded<K>(object: Option<Arc<Guarded<K>>>) -> Option<Result<K, String>>
where
    K: Clone,
{
    let guarded = object?;
    Some(match &guarded.0 {
        Ok(object) => Ok(object.clone()),
        Err(invalid) => Err(invalid.error.clone()),
    })
}
