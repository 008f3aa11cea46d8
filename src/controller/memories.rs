//! What this process knows of each object, by uid.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};

use super::driver::Steward;
use super::watch::{Guarded, cached, version};
use crate::planner::Memory;

#[derive(Default)]
pub(super) struct Memories {
    held: Mutex<HashMap<String, Recollection>>,
}

struct Recollection {
    memory: Memory,
    /// The object as the last write of ours left it, until the cache shows it so.
    written: Option<Arc<dyn Any + Send + Sync>>,
}

impl Recollection {
    fn new(now: Timestamp) -> Self {
        Self { memory: Memory::new(now), written: None }
    }
}

impl Memories {
    /// What is known of an object, and the newer of the cached object and the one that we wrote last.
    pub(super) fn recall<K: Steward>(&self, cached: &K, now: Timestamp) -> (Memory, K) {
        let mut held = self.held();
        let known = held.entry(cached.uid().unwrap_or_default()).or_insert_with(|| Recollection::new(now));
        let object = match known.written.as_ref().and_then(|written| written.downcast_ref::<K>()) {
            Some(written) if version(written.meta()) > version(cached.meta()) => written.clone(),
            _ => cached.clone(),
        };
        let memory = known.memory.clone();
        // Taken over by this visit; one that is set while it lasts is the next one's.
        known.memory.look_again = false;
        (memory, object)
    }

    pub(super) fn remember<K: Steward>(&self, cache: &Store<Guarded<K>>, object: &K, mut memory: Memory) {
        let (mut held, uid) = (self.held(), object.uid().unwrap_or_default());
        memory.look_again |= held.get(&uid).is_some_and(|known| known.memory.look_again);
        let ahead = cached(cache, object).is_some_and(|cached| version(cached.meta()) < version(object.meta()));
        let written = ahead.then(|| Arc::new(object.clone()) as Arc<dyn Any + Send + Sync>);
        held.insert(uid, Recollection { memory, written });
    }

    /// Lets go of what the cache shows by now: most of what an object takes is kept once.
    pub(super) fn caught_up<K: Steward>(&self, cached: &Guarded<K>) {
        let mut held = self.held();
        let Some(known) = held.get_mut(cached.meta().uid.as_deref().unwrap_or_default()) else { return };
        let written = known.written.as_ref().and_then(|written| written.downcast_ref::<K>());
        if written.is_some_and(|written| version(written.meta()) <= version(cached.meta())) {
            known.written = None;
        }
    }

    /// Lets the next visit of an object look anew, whatever it was judged to be.
    pub(super) fn look_again(&self, uid: &str, now: Timestamp) {
        let mut held = self.held();
        held.entry(uid.to_owned()).or_insert_with(|| Recollection::new(now)).memory.look_again = true;
    }

    /// When an object was last checked completely, or else when it was first seen; none before its first visit.
    pub(super) fn checked(&self, uid: &str) -> Option<Timestamp> {
        self.held().get(uid).map(|known| known.memory.last_observation.unwrap_or(known.memory.since))
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&self, uid: Option<&String>) {
        self.held().remove(uid.map_or("", String::as_str));
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Recollection>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
