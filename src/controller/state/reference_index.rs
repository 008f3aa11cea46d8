//! Who refers to what, found without looking at all objects.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Namespace and name.
type Key = (String, String);

/// Objects by what each refers to, in its own namespace. It may know of more than the cache does, never of less: whoever
/// looks something up looks at the object itself as well.
#[derive(Debug, Default)]
pub(in crate::controller) struct ReferenceIndex(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Names of objects, by what they refer to.
    referring: HashMap<Key, BTreeSet<String>>,
    /// What each object refers to.
    referred: HashMap<Key, String>,
}

impl ReferenceIndex {
    /// Takes note of what an object refers to.
    pub(in crate::controller) fn set(&self, namespace: &str, object: &str, refers_to: Option<&str>) {
        let mut known = self.known();
        let key = |name: &str| (namespace.to_owned(), name.to_owned());
        let before = match refers_to {
            Some(other) => known.referred.insert(key(object), other.to_owned()),
            None => known.referred.remove(&key(object)),
        };
        if before.as_deref() == refers_to {
            return;
        }
        if let Some(before) = before
            && let Some(objects) = known.referring.get_mut(&key(&before))
        {
            objects.remove(object);
            if objects.is_empty() {
                known.referring.remove(&key(&before));
            }
        }
        if let Some(other) = refers_to {
            known.referring.entry(key(other)).or_default().insert(object.to_owned());
        }
    }

    /// Names of the objects that refer to this one.
    pub(in crate::controller) fn dependents_of(&self, namespace: &str, name: &str) -> Vec<String> {
        let found = self.known().referring.get(&(namespace.to_owned(), name.to_owned())).cloned();
        found.into_iter().flatten().collect()
    }

    /// What an object refers to.
    pub(in crate::controller) fn dependency_of(&self, namespace: &str, object: &str) -> Option<String> {
        self.known().referred.get(&(namespace.to_owned(), object.to_owned())).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_found_by_what_it_refers_to_now() {
        let index = ReferenceIndex::default();
        index.set("team", "a", Some("one"));
        index.set("team", "b", Some("one"));
        index.set("other", "c", Some("one"));
        assert_eq!(index.dependents_of("team", "one"), ["a", "b"]);
        index.set("team", "a", Some("two"));
        assert_eq!(index.dependents_of("team", "one"), ["b"]);
        assert_eq!(index.dependents_of("team", "two"), ["a"]);
        for object in ["a", "b"] {
            index.set("team", object, None);
        }
        index.set("other", "c", None);
        assert!(index.known().referring.is_empty() && index.known().referred.is_empty(), "nothing stays behind");
    }
}
