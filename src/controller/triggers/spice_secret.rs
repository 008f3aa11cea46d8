//! A changed SpiceSecret triggers itself, the siblings that share a name with it, and its SpiceApp if the app waits for
//! it or resyncs with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};

use crate::api::SpiceSecret;
use crate::controller::cluster::predicates::{ChangeFilter, fields_for_reconcile};
use crate::controller::cluster::watch::EventHandler;
use crate::controller::lookup::secrets::secrets_of;
use crate::controller::state::context::Context;
use crate::controller::state::secret_names::{selects_all_keys, share_a_name};
use crate::planner::{SiblingSecret, is_released};

/// Handles events of SpiceSecrets.
pub(in crate::controller) struct SpiceSecretEventHandler {
    context: Arc<Context>,
    own: ChangeFilter,
    /// Names for which the siblings were enqueued last, by UID.
    for_siblings: HashMap<String, Arc<SiblingSecret>>,
    for_app: ChangeFilter,
    /// Undecodable objects, and whether each is being deleted.
    undecodable: ChangeFilter,
    /// Whether each object is released.
    released: ChangeFilter,
}

impl SpiceSecretEventHandler {
    pub(in crate::controller) fn new(context: Arc<Context>) -> Self {
        let (own, for_siblings, for_app, undecodable, released) = Default::default();
        Self { context, own, for_siblings, for_app, undecodable, released }
    }

    /// Enqueues the siblings that share a name with any of `names`.
    fn enqueue_siblings(&self, namespace: &str, app: &str, uid: Option<&String>, names: &[Arc<SiblingSecret>]) {
        for sibling in secrets_of(&self.context, namespace, app) {
            let Ok(decoded) = &sibling.0 else { continue };
            let Some(theirs) = self.context.secret_names.get(sibling.meta().uid.as_ref()) else { continue };
            // The names of an object that selects all keys are not known.
            let is_affected = selects_all_keys(decoded) || names.iter().any(|ours| share_a_name(ours, &theirs));
            if sibling.meta().uid.as_ref() != uid && is_affected {
                self.resync_sibling(&sibling);
            }
        }
    }

    /// Enqueues an object for a change of a sibling. Does not retry a write that is held.
    fn resync_sibling(&self, object: &DeserializeGuard<SpiceSecret>) {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        self.context.kinds.secrets.object_states.sibling_changed(uid, Timestamp::now());
        self.context.kinds.secrets.enqueue(object);
    }

    /// Enqueues the app and the siblings of an object that was deleted or released, or cannot be decoded. If the app is
    /// unknown, enqueues the objects that have recorded the object as the owner of a name.
    fn enqueue_related(&self, object: &ObjectMeta, app: Option<&str>, names: &[Arc<SiblingSecret>]) {
        let (namespace, name) = (object.namespace.as_deref().unwrap_or_default(), object.name.as_deref());
        match app {
            Some(app) => {
                self.context.kinds.apps.enqueue_name(namespace, app);
                self.enqueue_siblings(namespace, app, object.uid.as_ref(), names);
            }
            None => self.enqueue_objects_in_conflict(namespace, name.unwrap_or_default()),
        }
    }

    /// The names of an object that ends, and the names for which its siblings were enqueued last.
    fn names_of(&mut self, uid: Option<&String>) -> Vec<Arc<SiblingSecret>> {
        let before = uid.and_then(|uid| self.for_siblings.remove(uid));
        before.into_iter().chain(self.context.secret_names.get(uid)).collect()
    }

    fn enqueue_objects_in_conflict(&self, namespace: &str, owner: &str) {
        let is_in_conflict = |other: &SpiceSecret| {
            let mut conflicts = other.status.iter().flat_map(|status| &status.conflicts);
            other.metadata.namespace.as_deref() == Some(namespace) && conflicts.any(|one| one.owned_by == owner)
        };
        let all = &self.context.kinds.secrets;
        for other in all.filter(|other| other.0.as_ref().is_ok_and(is_in_conflict)) {
            self.resync_sibling(&other);
        }
    }

    fn on_undecodable_change(&mut self, object: &DeserializeGuard<SpiceSecret>) {
        let (meta, uid) = (object.meta(), object.meta().uid.as_ref());
        // An undecodable object requests no names, so its siblings may take over.
        if self.undecodable.has_changed(uid, meta.deletion_timestamp.is_some()) {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            let app = self.context.secrets_by_app.dependency_of(&namespace, &name);
            self.enqueue_related(meta, app.as_deref(), self.context.secret_names.get(uid).as_slice());
        }
    }

    fn on_decoded_change(&mut self, object: &SpiceSecret) {
        let (uid, namespace) = (object.meta().uid.as_ref(), object.namespace().unwrap_or_default());
        self.undecodable.forget(uid);
        if let Some(now) = self.context.secret_names.get(uid) {
            let before = self.for_siblings.insert(uid.cloned().unwrap_or_default(), Arc::clone(&now));
            if before.as_ref() != Some(&now) {
                let names: Vec<_> = before.into_iter().chain([now]).collect();
                self.enqueue_siblings(&namespace, object.app_name(), uid, &names);
            }
        }
        let interval = object.spec.interval.map(Duration::from);
        if self.for_app.has_changed(uid, (object.metadata.deletion_timestamp.is_some(), interval)) {
            self.context.kinds.apps.enqueue_name(&namespace, object.app_name());
            // All objects of an app resync at the same times, at the shortest interval of any of them.
            let siblings = interval.map(|_| secrets_of(&self.context, &namespace, object.app_name()));
            for sibling in siblings.into_iter().flatten() {
                self.context.kinds.secrets.enqueue(&sibling);
            }
        }
    }
}

impl EventHandler<DeserializeGuard<SpiceSecret>> for SpiceSecretEventHandler {
    fn before_cache_update(&mut self, object: &DeserializeGuard<SpiceSecret>) {
        // An undecodable object keeps its index entries from before.
        if let Ok(object) = &object.0 {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            self.context.secrets_by_app.set(&namespace, &name, Some(object.app_name()));
            self.context.secrets_by_source.set(&namespace, &name, Some(object.source_name()));
            self.context.secret_names.set(object);
        }
    }

    fn on_change(&mut self, object: &DeserializeGuard<SpiceSecret>) {
        let uid = object.meta().uid.as_ref();
        self.context.cancellation.on_change(uid);
        self.context.kinds.secrets.object_states.on_cache_caught_up(object);
        // Every change may make an undecodable object decodable.
        if object.0.is_err() || self.own.has_changed(uid, fields_for_reconcile(object)) {
            self.context.kinds.secrets.enqueue(object);
            self.context.secret_refs_changed.notify_one();
        }
        match &object.0 {
            Ok(decoded) => self.on_decoded_change(decoded),
            Err(_) => self.on_undecodable_change(object),
        }
        let is_released = is_released(object.meta());
        if self.released.has_changed(uid, is_released) && is_released {
            let names = self.names_of(uid);
            let app =
                self.context.secrets_by_app.dependency_of(&object.namespace().unwrap_or_default(), &object.name_any());
            self.enqueue_related(object.meta(), app.as_deref(), &names);
        }
    }

    fn on_delete(&mut self, object: &DeserializeGuard<SpiceSecret>) {
        let uid = object.meta().uid.as_ref();
        self.context.cancellation.on_change(uid);
        for filter in [&mut self.own, &mut self.for_app, &mut self.undecodable, &mut self.released] {
            filter.forget(uid);
        }
        self.context.kinds.secrets.object_states.forget(uid);
        let names = self.names_of(uid);
        self.context.secret_names.remove(uid);
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let app = self.context.secrets_by_app.dependency_of(&namespace, &name);
        // Another object of the same name may already exist.
        if self.context.kinds.secrets.get(&namespace, &name).is_none() {
            self.context.secrets_by_app.set(&namespace, &name, None);
            self.context.secrets_by_source.set(&namespace, &name, None);
        }
        self.enqueue_related(object.meta(), app.as_deref(), &names);
    }

    fn on_never_cached(&mut self, namespace: &str, name: &str) {
        self.context.secrets_by_app.set(namespace, name, None);
        self.context.secrets_by_source.set(namespace, name, None);
    }
}
