//! In-memory state of each object of one kind, by UID.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};

use crate::controller::cluster::cache::{get_cached, resource_version};
use crate::controller::cluster::sync::lock;
use crate::planner::RuntimeState;

/// In-memory state of all objects of a kind.
pub(in crate::controller) struct ObjectStates<K: Resource<DynamicType = ()> + Clone + 'static> {
    cache: Store<DeserializeGuard<K>>,
    states: Mutex<HashMap<String, ObjectState<K>>>,
}

struct ObjectState<K> {
    runtime_state: RuntimeState,
    /// The object as the operator's last write returned it, until the cache has that version. Boxed: rarely present.
    written: Option<Box<K>>,
    /// True if a sibling changed since the last reconcile. A held write is not retried because of that.
    sibling_changed: bool,
}

impl<K> ObjectState<K> {
    fn new(now: Timestamp) -> Self {
        Self { runtime_state: RuntimeState::new(now), written: None, sibling_changed: false }
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> ObjectStates<K> {
    pub(in crate::controller) fn new(cache: Store<DeserializeGuard<K>>) -> Self {
        Self { cache, states: Mutex::default() }
    }

    /// In-memory state of an object for a reconcile, and the newest version of the object: `found`, the cached one, or
    /// the one that the operator wrote last.
    pub(in crate::controller) fn load(&self, found: &K, now: Timestamp) -> (RuntimeState, K) {
        let mut states = lock(&self.states);
        // The cache may be newer than `found`. The written version is dropped only after the cache has it.
        let cached = get_cached(&self.cache, found);
        let cached = cached.as_ref().and_then(|cached| cached.0.as_ref().ok());
        let is_newer = |cached: &&K| resource_version(cached.meta()) > resource_version(found.meta());
        let cached = cached.filter(is_newer).unwrap_or(found);
        let known = states.entry(cached.uid().unwrap_or_default()).or_insert_with(|| ObjectState::new(now));
        let object = match known.written.as_deref() {
            Some(written) if resource_version(written.meta()) > resource_version(cached.meta()) => written.clone(),
            _ => cached.clone(),
        };
        let mut runtime_state = known.runtime_state.clone();
        // This reconcile handles the request. A request during the reconcile is for the next one.
        known.runtime_state.force_resync = false;
        runtime_state.force_resync |= std::mem::take(&mut known.sibling_changed) && !runtime_state.is_write_held(now);
        (runtime_state, object)
    }

    /// Saves the state after a reconcile. Requests that arrived during the reconcile remain.
    pub(in crate::controller) fn save(&self, object: &K, mut runtime_state: RuntimeState) {
        let (mut states, uid) = (lock(&self.states), object.uid().unwrap_or_default());
        let known = states.get(&uid);
        runtime_state.force_resync |= known.is_some_and(|known| known.runtime_state.force_resync);
        let sibling_changed = known.is_some_and(|known| known.sibling_changed);
        let ahead = get_cached(&self.cache, object)
            .is_some_and(|cached| resource_version(cached.meta()) < resource_version(object.meta()));
        let written = ahead.then(|| Box::new(object.clone()));
        states.insert(uid, ObjectState { runtime_state, written, sibling_changed });
    }

    /// Drops the written version if the cache has it, so that most objects are in memory once.
    pub(in crate::controller) fn on_cache_caught_up(&self, cached: &DeserializeGuard<K>) {
        let mut states = lock(&self.states);
        let Some(known) = states.get_mut(cached.meta().uid.as_deref().unwrap_or_default()) else { return };
        if known
            .written
            .as_ref()
            .is_some_and(|written| resource_version(written.meta()) <= resource_version(cached.meta()))
        {
            known.written = None;
        }
    }

    /// Makes the next reconcile of an object read, independent of the last result.
    pub(in crate::controller) fn force_resync(&self, uid: &str, now: Timestamp) {
        let mut states = lock(&self.states);
        states.entry(uid.to_owned()).or_insert_with(|| ObjectState::new(now)).runtime_state.force_resync = true;
    }

    /// Like `force_resync`, for a change of a sibling. Does not retry a write that is held.
    pub(in crate::controller) fn sibling_changed(&self, uid: &str, now: Timestamp) {
        let mut states = lock(&self.states);
        states.entry(uid.to_owned()).or_insert_with(|| ObjectState::new(now)).sibling_changed = true;
    }

    /// Start of the last successful resync, or else the time at which this process first saw the object. None before
    /// the first reconcile.
    pub(in crate::controller) fn last_synced_at(&self, uid: &str) -> Option<Timestamp> {
        lock(&self.states).get(uid).map(|known| known.runtime_state.last_synced_or_seen())
    }

    /// Consecutive failures of an object.
    pub(in crate::controller) fn failures(&self, uid: &str) -> u32 {
        lock(&self.states).get(uid).map_or(0, |known| known.runtime_state.failures)
    }

    /// Records whether the report of an undecodable object was stored. Returns the consecutive failures.
    pub(in crate::controller) fn record_report(&self, uid: &str, is_stored: bool, now: Timestamp) -> u32 {
        let mut states = lock(&self.states);
        let state = &mut states.entry(uid.to_owned()).or_insert_with(|| ObjectState::new(now)).runtime_state;
        state.failures = if is_stored { 0 } else { state.failures.saturating_add(1) };
        state.failures
    }

    /// Forgets a deleted object.
    pub(in crate::controller) fn forget(&self, uid: Option<&String>) {
        lock(&self.states).remove(uid.map_or("", String::as_str));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{SpiceApp, SpiceAppSpec};
    use kube::runtime::reflector::store;
    use kube::runtime::watcher::Event;

    fn app(version: &str) -> SpiceApp {
        let mut app = SpiceApp::new("my-app", SpiceAppSpec::default());
        app.metadata.uid = Some("uid".to_owned());
        app.metadata.namespace = Some("team".to_owned());
        app.metadata.resource_version = Some(version.to_owned());
        app
    }

    #[test]
    fn a_reconcile_starts_with_the_newest_version_of_cache_and_own_write() {
        let (cache, mut writer) = store::<DeserializeGuard<SpiceApp>>();
        let (states, now) = (ObjectStates::new(cache), Timestamp::UNIX_EPOCH);
        writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(app("1")))));
        let newest = |found: &str| states.load(&app(found), now).1.resource_version().unwrap();
        assert_eq!(newest("1"), "1");
        states.save(&app("2"), RuntimeState::new(now));
        assert_eq!(newest("1"), "2", "the cache is older than the write");
        // The cache catches up after the scheduler read the object and before the reconcile starts.
        let cached = DeserializeGuard(Ok(app("2")));
        writer.apply_watcher_event(&Event::Apply(cached.clone()));
        states.on_cache_caught_up(&cached);
        assert_eq!(newest("1"), "2");
        assert!(lock(&states.states)["uid"].written.is_none(), "the object is in memory once");
    }
}
