//! Index of references in both directions, so that a lookup does not visit every object.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use super::key_index::ObjectKey;
use crate::controller::cluster::sync::lock;
use crate::visits::Visits;

/// References of objects, each to one name in the namespace of the object. The index may contain more than the cache,
/// never less: callers check the cached object as well.
#[derive(Debug, Default)]
pub(in crate::controller) struct ReferenceIndex {
    references: Mutex<References>,
    pub(in crate::controller) visits: Visits,
}

#[derive(Debug, Default)]
struct References {
    /// Names of the objects that refer to a name.
    dependents: HashMap<ObjectKey, BTreeSet<String>>,
    /// The name that an object refers to.
    dependencies: HashMap<ObjectKey, String>,
}

impl ReferenceIndex {
    /// Replaces the reference of an object.
    pub(in crate::controller) fn set(&self, namespace: &str, object: &str, dependency: Option<&str>) {
        let mut references = lock(&self.references);
        let key = |name: &str| (namespace.to_owned(), name.to_owned());
        let before = match dependency {
            Some(name) => references.dependencies.insert(key(object), name.to_owned()),
            None => references.dependencies.remove(&key(object)),
        };
        if before.as_deref() == dependency {
            return;
        }
        if let Some(before) = before
            && let Some(objects) = references.dependents.get_mut(&key(&before))
        {
            objects.remove(object);
            if objects.is_empty() {
                references.dependents.remove(&key(&before));
            }
        }
        if let Some(name) = dependency {
            references.dependents.entry(key(name)).or_default().insert(object.to_owned());
        }
    }

    /// Names of the objects that refer to a name.
    pub(in crate::controller) fn dependents_of(&self, namespace: &str, name: &str) -> Vec<String> {
        let found = lock(&self.references).dependents.get(&(namespace.to_owned(), name.to_owned())).cloned();
        self.visits.add(found.as_ref().map_or(1, BTreeSet::len));
        found.into_iter().flatten().collect()
    }

    /// The name that an object refers to.
    pub(in crate::controller) fn dependency_of(&self, namespace: &str, object: &str) -> Option<String> {
        self.visits.add(1);
        lock(&self.references).dependencies.get(&(namespace.to_owned(), object.to_owned())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_found_by_its_present_reference() {
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
        let references = lock(&index.references);
        assert!(references.dependents.is_empty() && references.dependencies.is_empty());
    }
}
