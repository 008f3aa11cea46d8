//! Watches: they fill the caches first and ask for visits then, so that a visit never sees less than what asked for it.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::readiness::HealthCheck;
use super::undecodable::without_values;
use crate::api::GROUP;

/// Requests for visits of one kind. Unbounded, because kube's scheduler behind it holds at most one an object.
pub(super) struct WorkQueue<K: Lookup> {
    sender: mpsc::UnboundedSender<ObjectRef<K>>,
}

impl<K: Lookup> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<K: Lookup> WorkQueue<K> {
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
pub(super) trait EventHandler<K>: Send + 'static {
    /// The cache is about to hold this object: whoever finds it there finds it by what is noted here.
    fn before(&mut self, _object: &K) {}
    /// An object was added or changed.
    fn changed(&mut self, object: &K);
    /// An object is gone.
    fn deleted(&mut self, object: &K);
}

/// Changes of objects, as a watch tells them.
pub(super) type Events<K> = BoxStream<'static, Result<watcher::Event<K>, watcher::Error>>;

/// The changes of the objects that a watch sees, from what there is in the beginning on. A watch that has failed, and is not
/// heard of for `doubt` after that, is begun anew: one that goes on and one that does not are equally silent while nothing
/// changes, and only a new listing tells them apart.
pub(super) fn changes<K>(api: Api<K>, config: watcher::Config, doubt: Duration) -> Events<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    renewed(move || watcher(api.clone(), config.clone()).default_backoff().boxed(), doubt)
}

fn renewed<K: Send + 'static>(begin: impl Fn() -> Events<K> + Send + 'static, doubt: Duration) -> Events<K> {
    let watch = Watch { events: begin(), begin, doubt, listing: false, doubted_at: None };
    stream::unfold(watch, |mut watch| async move { Some((watch.next().await?, watch)) }).boxed()
}

struct Watch<K, F> {
    begin: F,
    events: Events<K>,
    doubt: Duration,
    /// Whether a listing is under way: then its end, or another failure, will tell.
    listing: bool,
    /// When a watch that has failed is begun anew, unless something is heard of it before.
    doubted_at: Option<Instant>,
}

impl<K, F: Fn() -> Events<K>> Watch<K, F> {
    async fn next(&mut self) -> Option<Result<watcher::Event<K>, watcher::Error>> {
        loop {
            let next = match self.doubted_at {
                Some(at) => tokio::time::timeout_at(at, self.events.next()).await,
                None => Ok(self.events.next().await),
            };
            let Ok(event) = next else {
                (self.events, self.listing, self.doubted_at) = ((self.begin)(), true, None);
                continue;
            };
            match &event {
                Some(Ok(event)) => {
                    self.listing = matches!(event, watcher::Event::Init | watcher::Event::InitApply(_));
                    self.doubted_at = None;
                }
                Some(Err(_)) if !self.listing => {
                    self.doubted_at.get_or_insert_with(|| Instant::now() + self.doubt);
                }
                Some(Err(_)) | None => {}
            }
            return event;
        }
    }
}

/// Keeps a cache of one kind by what is told of it, until `shutdown`.
pub(super) async fn follow<K>(
    events: Events<K>,
    mut writer: Writer<K>,
    mut reliance: HealthCheck,
    shutdown: CancellationToken,
    trim: fn(&mut K),
    mut reaction: impl EventHandler<K>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut events = Box::pin(events.take_until(shutdown.cancelled()));
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event.modify(trim),
            Err(error) => {
                tracing::warn!(%error, kind = %<K as Resource>::kind(&()), "watch interrupted; trying again");
                reliance.fails();
                continue;
            }
        };
        // What vanished while the watch was down is told by no event but its absence from the new listing.
        let before = if matches!(event, watcher::Event::InitDone) { writer.as_reader().state() } else { Vec::new() };
        if let watcher::Event::Apply(object) | watcher::Event::InitApply(object) = &event {
            reaction.before(object);
        }
        writer.apply_watcher_event(&event);
        match event {
            // Told before a listing is asked for: it proves nothing.
            watcher::Event::Init => {}
            // The cache takes a listing as a whole, at its end.
            watcher::Event::InitApply(_) => {}
            watcher::Event::Apply(object) => {
                reliance.works();
                reaction.changed(&object);
            }
            watcher::Event::Delete(object) => {
                reliance.works();
                reaction.deleted(&object);
            }
            watcher::Event::InitDone => {
                reliance.works();
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
pub(super) struct ChangeFilter {
    known: HashMap<String, u64>,
}

impl ChangeFilter {
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
pub(super) fn own_matters<K: Resource<DynamicType = ()>>(object: &DeserializeGuard<K>) -> impl Hash + use<K> {
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
pub(super) fn holds<K>(store: &Store<DeserializeGuard<K>>, object: &K) -> bool
where
    K: Resource<DynamicType = ()> + Clone,
{
    cached(store, object).is_some()
}

/// Whether an object is as the cache shows it, or newer: the cache runs behind our own writes.
pub(super) fn is_current<K>(store: &Store<DeserializeGuard<K>>, object: &K) -> bool
where
    K: Resource<DynamicType = ()> + Clone,
{
    cached(store, object).is_some_and(|cached| {
        version(cached.meta()) <= version(object.meta()) || digest(asked(cached.as_ref())) == digest(asked(object))
    })
}

/// What a cache holds of this very object.
pub(super) fn cached<K>(store: &Store<DeserializeGuard<K>>, object: &K) -> Option<Arc<DeserializeGuard<K>>>
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
pub(super) fn decoded<K>(object: Option<Arc<DeserializeGuard<K>>>) -> Option<Result<K, String>>
where
    K: Clone,
{
    let guarded = object?;
    Some(match &guarded.0 {
        Ok(object) => Ok(object.clone()),
        Err(invalid) => Err(without_values(&invalid.error)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const DOUBT: Duration = Duration::from_secs(60);

    fn event(word: &str) -> Result<watcher::Event<()>, watcher::Error> {
        match word {
            "init" => Ok(watcher::Event::Init),
            "object" => Ok(watcher::Event::InitApply(())),
            "done" => Ok(watcher::Event::InitDone),
            "change" => Ok(watcher::Event::Apply(())),
            _ => Err(watcher::Error::NoResourceVersion),
        }
    }

    /// What is heard of watches that tell these events and are silent after them, up to the given number, and for how
    /// long nothing was heard before each.
    async fn heard(watches: &[&[&str]], count: usize) -> Vec<(&'static str, u64)> {
        let mut watches: Vec<Vec<_>> =
            watches.iter().rev().map(|events| events.iter().map(|word| event(word)).collect()).collect();
        let next = Mutex::new(std::mem::take(&mut watches));
        let begin = move || {
            let events = next.lock().unwrap().pop().unwrap_or_default();
            stream::iter(events).chain(stream::pending()).boxed()
        };
        let (mut events, mut told) = (renewed(begin, DOUBT), Vec::new());
        for _ in 0..count {
            let before = Instant::now();
            let Ok(Some(event)) = tokio::time::timeout(2 * DOUBT, events.next()).await else { break };
            let word = match event {
                Ok(watcher::Event::Init) => "init",
                Ok(watcher::Event::InitApply(())) => "object",
                Ok(watcher::Event::InitDone) => "done",
                Ok(_) => "change",
                Err(_) => "error",
            };
            told.push((word, before.elapsed().as_secs()));
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_silent_after_a_failure_is_begun_anew() {
        let told = heard(&[&["init", "done", "error", "error"], &["init", "done"]], 9).await;
        assert_eq!(
            told,
            [("init", 0), ("done", 0), ("error", 0), ("error", 0), ("init", 60), ("done", 0)],
            "counted from the first failure"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_tells_something_after_a_failure_goes_on() {
        let told = heard(&[&["init", "done", "error", "change"], &["init"]], 9).await;
        assert_eq!(told, [("init", 0), ("done", 0), ("error", 0), ("change", 0)]);
        // Its listing ends one way or the other.
        let told = heard(&[&["init", "error", "init", "object"], &["init"]], 9).await;
        assert_eq!(told, [("init", 0), ("error", 0), ("init", 0), ("object", 0)]);
    }
}
