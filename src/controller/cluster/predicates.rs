//! Which changes of an object trigger a reconcile.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};

use crate::api::GROUP;

/// Remembers a digest by UID, and reports changes.
#[derive(Debug, Default)]
pub(in crate::controller) struct ChangeFilter {
    digests: HashMap<String, u64>,
}

impl ChangeFilter {
    /// Records `fields` of the object with this UID. Returns true if the fields changed since the last call.
    pub(in crate::controller) fn has_changed(&mut self, uid: Option<&String>, fields: impl Hash) -> bool {
        let digest = digest(fields);
        self.digests.insert(uid.cloned().unwrap_or_default(), digest) != Some(digest)
    }

    /// Returns true if no fields of the object with this UID are recorded: the object is new, or the process is.
    pub(in crate::controller) fn is_new(&self, uid: Option<&String>) -> bool {
        !self.digests.contains_key(uid.map_or("", String::as_str))
    }

    /// Forgets a deleted object.
    pub(in crate::controller) fn forget(&mut self, uid: Option<&String>) {
        self.digests.remove(uid.map_or("", String::as_str));
    }
}

/// Metadata whose change triggers a reconcile of the object itself. The generation alone would hide the write of the
/// finalizer, annotations that request something, and a repaired status that could not be decoded before.
pub(in crate::controller) fn fields_for_reconcile<K>(object: &DeserializeGuard<K>) -> impl Hash + use<K>
where
    K: Resource<DynamicType = ()>,
{
    (object.0.is_ok(), desired_state_fields(object))
}

/// Returns true if two versions of an object request the same from the operator.
pub(super) fn has_same_desired_state(one: &impl Resource, other: &impl Resource) -> bool {
    digest(desired_state_fields(one)) == digest(desired_state_fields(other))
}

fn desired_state_fields<K: Resource>(object: &K) -> impl Hash + use<K> {
    let meta = object.meta();
    let deleted = meta.deletion_timestamp.as_ref().map(|time| time.0);
    let annotations = object.annotations().iter().filter(|(key, _)| key.starts_with(GROUP));
    let own: Vec<_> = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
    (meta.generation, deleted, meta.finalizers.clone(), own)
}

fn digest(fields: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    fields.hash(&mut hasher);
    hasher.finish()
}
