//! Names that SpiceSecrets request and manage: computed once for each version of an object, and shared by its siblings.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::api::{SecretConflict, SecretEntry, SpiceSecret};
use crate::controller::cluster::sync::lock;
use crate::planner::{SiblingSecret, requested_names};
use crate::visits::Visits;

/// Names of each SpiceSecret, by UID.
#[derive(Debug, Default)]
pub(in crate::controller) struct SiblingIndex {
    names: Mutex<HashMap<String, Arc<SiblingSecret>>>,
    pub(in crate::controller) visits: Visits,
}

impl SiblingIndex {
    /// Adds or replaces an object.
    pub(in crate::controller) fn set(&self, object: &SpiceSecret) {
        lock(&self.names).insert(object.uid().unwrap_or_default(), Arc::new(sibling(object)));
    }

    /// The names of an object.
    pub(in crate::controller) fn get(&self, uid: Option<&String>) -> Option<Arc<SiblingSecret>> {
        self.visits.add(1);
        lock(&self.names).get(uid?).cloned()
    }

    /// Removes a deleted object.
    pub(in crate::controller) fn remove(&self, uid: Option<&String>) {
        lock(&self.names).remove(uid.map_or("", String::as_str));
    }
}

fn sibling(object: &SpiceSecret) -> SiblingSecret {
    let entries = || object.status.iter().flat_map(|status| &status.secrets);
    let conflicts = || object.status.iter().flat_map(|status| &status.conflicts);
    let names = |entries: &mut dyn Iterator<Item = &SecretEntry>| -> BTreeSet<String> {
        entries.map(|entry| entry.name.clone()).collect()
    };
    let managed = names(&mut entries());
    let owned_by_sibling = conflicts().filter(|one| one.present == Some(true)).map(|one| one.name.clone());
    SiblingSecret {
        object: object.name_any(),
        created: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
        uid: object.uid().unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        undecodable: false,
        // Without the Secret, the names of an object that selects all keys are known only from its conflicts.
        requested: match selects_all_keys(object) {
            true => conflicts().map(|one| one.name.clone()).collect(),
            false => requested_names(&object.spec),
        },
        adopted: names(&mut entries().filter(|entry| entry.adopted == Some(true))),
        acknowledged: owned_by_sibling.chain(managed.iter().cloned()).collect(),
        managed,
    }
}

/// The names of an object that cannot be decoded: those from before, or else those that `observer` has recorded.
pub(in crate::controller) fn undecodable_sibling(
    meta: &ObjectMeta,
    before: Option<&SiblingSecret>,
    observer: &SpiceSecret,
) -> SiblingSecret {
    let conflicts = || {
        let all = observer.status.iter().flat_map(|status| &status.conflicts);
        all.filter(|one| one.present == Some(true) && Some(&one.owned_by) == meta.name.as_ref())
    };
    let names = |conflicts: &mut dyn Iterator<Item = &SecretConflict>| -> BTreeSet<String> {
        conflicts.map(|one| one.name.clone()).collect()
    };
    let recorded = || SiblingSecret {
        managed: names(&mut conflicts()),
        acknowledged: names(&mut conflicts()),
        adopted: names(&mut conflicts().filter(|one| one.adopted == Some(true))),
        ..SiblingSecret::default()
    };
    SiblingSecret {
        object: meta.name.clone().unwrap_or_default(),
        created: meta.creation_timestamp.as_ref().map(|time| time.0),
        uid: meta.uid.clone().unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        undecodable: true,
        ..before.cloned().unwrap_or_else(recorded)
    }
}

/// Returns true if an object selects all keys of its Kubernetes Secret.
pub(in crate::controller) fn selects_all_keys(object: &SpiceSecret) -> bool {
    object.spec.items().is_none()
}

/// Returns true if one object requests or manages a name that the other one does.
pub(in crate::controller) fn share_a_name(one: &SiblingSecret, other: &SiblingSecret) -> bool {
    let has = |sibling: &SiblingSecret, name| sibling.requested.contains(name) || sibling.acknowledged.contains(name);
    one.requested.iter().chain(&one.acknowledged).any(|name| has(other, name))
}
