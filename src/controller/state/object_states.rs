//! What this process knows of each object, by uid.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};

use super::kinds::Kind;
use crate::controller::cluster::cache::{get_cached, resource_version};
use crate::planner::RuntimeState;

#[derive(Default)]
pub(in crate::controller) struct ObjectStates {
    states: Mutex<HashMap<String, ObjectState>>,
}

struct ObjectState {
    runtime_state: RuntimeState,
    /// The object as the last write of ours left it, until the cache shows it so.
    written: Option<Arc<dyn Any + Send + Sync>>,
    /// Whether another object changed that it goes by. What has failed meanwhile is not tried again for that.
    sibling_changed: bool,
}

impl ObjectState {
    fn new(now: Timestamp) -> Self {
        Self { runtime_state: RuntimeState::new(now), written: None, sibling_changed: false }
    }
}

impl ObjectStates {
    /// What is known of an object, and the newest of it: as it was found, as the cache shows it now, or as we wrote it last.
    pub(in crate::controller) fn load<K: Kind>(
        &self,
        cache: &Store<DeserializeGuard<K>>,
        found: &K,
        now: Timestamp,
    ) -> (RuntimeState, K) {
        let mut states = self.states();
        // The cache may have gone on since it was asked. What we wrote is let go of when the cache shows it, and only then.
        let shown = get_cached(cache, found);
        let shown = shown.as_ref().and_then(|shown| shown.0.as_ref().ok());
        let cached =
            shown.filter(|shown| resource_version(shown.meta()) > resource_version(found.meta())).unwrap_or(found);
        let known = states.entry(cached.uid().unwrap_or_default()).or_insert_with(|| ObjectState::new(now));
        let object = match known.written.as_ref().and_then(|written| written.downcast_ref::<K>()) {
            Some(written) if resource_version(written.meta()) > resource_version(cached.meta()) => written.clone(),
            _ => cached.clone(),
        };
        let mut runtime_state = known.runtime_state.clone();
        // Taken over by this visit; one that is set while it lasts is the next one's.
        known.runtime_state.force_resync = false;
        runtime_state.force_resync |= std::mem::take(&mut known.sibling_changed) && !runtime_state.is_write_held(now);
        (runtime_state, object)
    }

    pub(in crate::controller) fn save<K: Kind>(
        &self,
        cache: &Store<DeserializeGuard<K>>,
        object: &K,
        mut runtime_state: RuntimeState,
    ) {
        let (mut states, uid) = (self.states(), object.uid().unwrap_or_default());
        let known = states.get(&uid);
        runtime_state.force_resync |= known.is_some_and(|known| known.runtime_state.force_resync);
        let sibling_changed = known.is_some_and(|known| known.sibling_changed);
        let ahead = get_cached(cache, object)
            .is_some_and(|cached| resource_version(cached.meta()) < resource_version(object.meta()));
        let written = ahead.then(|| Arc::new(object.clone()) as Arc<dyn Any + Send + Sync>);
        states.insert(uid, ObjectState { runtime_state, written, sibling_changed });
    }

    /// Lets go of what the cache shows by now: most of what an object takes is kept once.
    pub(in crate::controller) fn on_cache_caught_up<K: Kind>(&self, cached: &DeserializeGuard<K>) {
        let mut states = self.states();
        let Some(known) = states.get_mut(cached.meta().uid.as_deref().unwrap_or_default()) else { return };
        let written = known.written.as_ref().and_then(|written| written.downcast_ref::<K>());
        if written.is_some_and(|written| resource_version(written.meta()) <= resource_version(cached.meta())) {
            known.written = None;
        }
    }

    /// Lets the next visit of an object look anew, whatever it was judged to be.
    pub(in crate::controller) fn force_resync(&self, uid: &str, now: Timestamp) {
        let mut states = self.states();
        states.entry(uid.to_owned()).or_insert_with(|| ObjectState::new(now)).runtime_state.force_resync = true;
    }

    /// The same for a change of what others have: one whose failed write is held back by then does not try it for that.
    pub(in crate::controller) fn sibling_changed(&self, uid: &str, now: Timestamp) {
        let mut states = self.states();
        states.entry(uid.to_owned()).or_insert_with(|| ObjectState::new(now)).sibling_changed = true;
    }

    /// When an object was last checked completely, or else when it was first seen; none before its first visit.
    pub(in crate::controller) fn last_synced_at(&self, uid: &str) -> Option<Timestamp> {
        self.states().get(uid).map(|known| known.runtime_state.last_synced_or_seen())
    }

    /// How often in a row an object has failed.
    pub(in crate::controller) fn failures(&self, uid: &str) -> u32 {
        self.states().get(uid).map_or(0, |known| known.runtime_state.failures)
    }

    /// Forgets an object that is gone.
    pub(in crate::controller) fn forget(&self, uid: Option<&String>) {
        self.states().remove(uid.map_or("", String::as_str));
    }

    fn states(&self) -> MutexGuard<'_, HashMap<String, ObjectState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_visit_begins_with_the_newest_that_is_known_however_the_cache_and_our_write_overtake_each_other() {
        let (cache, mut writer) = store::<DeserializeGuard<SpiceApp>>();
        let (memories, now) = (ObjectStates::default(), Timestamp::UNIX_EPOCH);
        writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(app("1")))));
        let newest = |found: &str| memories.load(&cache, &app(found), now).1.resource_version().unwrap();
        assert_eq!(newest("1"), "1");
        memories.save(&cache, &app("2"), RuntimeState::new(now));
        assert_eq!(newest("1"), "2", "the cache runs behind our write");
        // It catches up between the moment in which the next visit's object was taken from it, and the visit's beginning.
        let on_cache_caught_up = DeserializeGuard(Ok(app("2")));
        writer.apply_watcher_event(&Event::Apply(on_cache_caught_up.clone()));
        memories.on_cache_caught_up(&on_cache_caught_up);
        assert_eq!(newest("1"), "2");
        assert!(memories.states()["uid"].written.is_none(), "it is kept once");
    }
}
