//! What the SpiceSecrets of one app have to know of each other: worked out once for each version of an object, and shared by
//! all who look at it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::api::{SecretConflict, SecretEntry, SpiceSecret};
use crate::planner::{SiblingSecret, requested_names};

/// By the uid of the object.
#[derive(Debug, Default)]
pub(super) struct SiblingIndex(Mutex<HashMap<String, Arc<SiblingSecret>>>);

impl SiblingIndex {
    /// Takes note of an object.
    pub(super) fn set(&self, object: &SpiceSecret) {
        self.known().insert(object.uid().unwrap_or_default(), Arc::new(claim(object)));
    }

    /// What is known of an object.
    pub(super) fn of(&self, uid: Option<&String>) -> Option<Arc<SiblingSecret>> {
        self.known().get(uid?).cloned()
    }

    /// Forgets an object that is gone. What was known of it.
    pub(super) fn forget(&self, uid: Option<&String>) -> Option<Arc<SiblingSecret>> {
        self.known().remove(uid?)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<SiblingSecret>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of an object that cannot be decoded: what it had when it could be, or else what another one has noted of it.
pub(super) fn of_undecodable(
    meta: &ObjectMeta,
    before: Option<&SiblingSecret>,
    noted_by: &SpiceSecret,
) -> SiblingSecret {
    let held = noted_by.status.iter().flat_map(|status| &status.conflicts);
    let held = held.filter(|held| held.present == Some(true) && Some(&held.owned_by) == meta.name.as_ref());
    let names = |wanted: fn(&SecretConflict) -> bool| {
        held.clone().filter(|held| wanted(held)).map(|held| held.name.clone()).collect::<BTreeSet<_>>()
    };
    let set = names(|_| true);
    let noted = || SiblingSecret {
        adopted: names(|held| held.adopted == Some(true)),
        knows: set.clone(),
        set: set.clone(),
        ..SiblingSecret::default()
    };
    SiblingSecret {
        object: meta.name.clone().unwrap_or_default(),
        created: meta.creation_timestamp.as_ref().map(|time| time.0),
        uid: meta.uid.clone().unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        undecodable: true,
        ..before.cloned().unwrap_or_else(noted)
    }
}

fn claim(object: &SpiceSecret) -> SiblingSecret {
    let names = |wanted: fn(&SecretEntry) -> bool| {
        let entries = object.status.iter().flat_map(|status| &status.secrets);
        entries.filter(|entry| wanted(entry)).map(|entry| entry.name.clone()).collect::<BTreeSet<_>>()
    };
    let held = || object.status.iter().flat_map(|status| &status.conflicts);
    let set = names(|_| true);
    let noted = held().filter(|held| held.present == Some(true)).map(|held| held.name.clone());
    SiblingSecret {
        object: object.name_any(),
        created: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
        uid: object.uid().unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        undecodable: false,
        // Of one that takes all keys nothing tells without its source what it asks for, but that another one holds it.
        named: match takes_all(object) {
            true => held().map(|held| held.name.clone()).collect(),
            false => requested_names(&object.spec),
        },
        adopted: names(|entry| entry.adopted == Some(true)),
        knows: noted.chain(set.iter().cloned()).collect(),
        set,
    }
}

/// Whether an object asks for all keys of its Kubernetes Secret.
pub(super) fn takes_all(object: &SpiceSecret) -> bool {
    object.spec.items().is_empty()
}

/// Whether two objects have to hear of each other: one has, or asks for, a name that the other one does.
pub(super) fn share_a_name(one: &SiblingSecret, other: &SiblingSecret) -> bool {
    let names = |of: &'_ SiblingSecret, name: &String| of.named.contains(name) || of.knows.contains(name);
    one.named.iter().chain(&one.knows).any(|name| names(other, name))
}
