//! Index of objects by keys that follow from each object, so that a look-up does not visit every object.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use crate::controller::cluster::sync::lock;
use crate::visits::Visits;

/// Namespace and name of an object.
pub(in crate::controller) type ObjectKey = (String, String);

/// Objects by key. The index may contain more than the cache, never less: callers check the cached object as well.
#[derive(Debug)]
pub(in crate::controller) struct KeyIndex<K> {
    entries: Mutex<Entries<K>>,
    pub(in crate::controller) visits: Visits,
}

#[derive(Debug)]
struct Entries<K> {
    objects: HashMap<K, HashSet<Arc<ObjectKey>>>,
    keys: HashMap<Arc<ObjectKey>, Vec<K>>,
}

impl<K> Default for KeyIndex<K> {
    fn default() -> Self {
        let entries = Mutex::new(Entries { objects: HashMap::new(), keys: HashMap::new() });
        Self { entries, visits: Visits::default() }
    }
}

impl<K: Clone + Eq + Hash> KeyIndex<K> {
    /// Replaces the keys of an object. An object without keys is removed.
    pub(in crate::controller) fn set(&self, namespace: &str, name: &str, keys: Vec<K>) {
        let Entries { objects, keys: all_keys } = &mut *lock(&self.entries);
        let object = (namespace.to_owned(), name.to_owned());
        let (object, before) = match all_keys.remove_entry(&object) {
            Some((object, before)) => (object, before),
            None => (Arc::new(object), Vec::new()),
        };
        for removed in before.iter().filter(|key| !keys.contains(key)) {
            if let Some(found) = objects.get_mut(removed) {
                found.remove(&object);
                if found.is_empty() {
                    objects.remove(removed);
                }
            }
        }
        for added in keys.iter().filter(|key| !before.contains(key)) {
            objects.entry(added.clone()).or_default().insert(Arc::clone(&object));
        }
        if !keys.is_empty() {
            all_keys.insert(object, keys);
        }
    }

    /// The objects with a key.
    pub(in crate::controller) fn objects(&self, key: &K) -> Vec<Arc<ObjectKey>> {
        let found: Vec<_> = lock(&self.entries).objects.get(key).into_iter().flatten().cloned().collect();
        self.visits.add(found.len());
        found
    }

    /// Number of objects with a key.
    pub(in crate::controller) fn count(&self, key: &K) -> usize {
        self.visits.add(1);
        lock(&self.entries).objects.get(key).map_or(0, HashSet::len)
    }

    /// Returns true if an object with a key matches. Visits objects until one does.
    pub(in crate::controller) fn any(&self, key: &K, matches: impl Fn(&ObjectKey) -> bool) -> bool {
        let is_match = |object: &Arc<ObjectKey>| {
            self.visits.add(1);
            matches(object)
        };
        lock(&self.entries).objects.get(key).is_some_and(|found| found.iter().any(is_match))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_found_by_its_present_keys() {
        let index = KeyIndex::default();
        index.set("team", "a", vec![1, 2]);
        index.set("team", "b", vec![2]);
        assert_eq!((index.count(&1), index.count(&2), index.count(&3)), (1, 2, 0));
        index.set("team", "a", vec![2, 3]);
        assert_eq!((index.count(&1), index.count(&2), index.count(&3)), (0, 2, 1));
        assert!(index.any(&2, |(_, name)| name == "b") && !index.any(&3, |(_, name)| name == "b"));
        index.set("team", "a", Vec::new());
        assert_eq!(index.objects(&2).iter().map(|object| object.1.as_str()).collect::<Vec<_>>(), ["b"]);
        index.set("team", "b", Vec::new());
        let entries = lock(&index.entries);
        assert!(entries.objects.is_empty() && entries.keys.is_empty());
    }
}
