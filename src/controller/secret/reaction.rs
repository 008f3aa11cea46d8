//! Who is woken when a SpiceSecret changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::{app_ref, namespace, of};
use crate::api::SpiceSecret;
use crate::controller::claims::{share_a_name, takes_all};
use crate::controller::context::Context;
use crate::controller::watch::{ChangeFilter, EventHandler, own_matters};
use crate::planner::SiblingSecret;
use kube::core::DeserializeGuard;

/// A changed SpiceSecret is visited, and those that want a name of it; its app, where that waits for it or is checked with it.
pub(in crate::controller) struct SpiceSecretEventHandler {
    context: Arc<Context>,
    seen: ChangeFilter,
    /// What the others of its app were told last, by the object's uid.
    told: HashMap<String, Arc<SiblingSecret>>,
    /// What its app goes by.
    told_app: ChangeFilter,
    /// Those that cannot be decoded, and whether they are being deleted.
    undecodable: ChangeFilter,
}

impl SpiceSecretEventHandler {
    pub(in crate::controller) fn new(context: Arc<Context>) -> Self {
        let (seen, told, told_app, undecodable) = Default::default();
        Self { context, seen, told, told_app, undecodable }
    }

    /// Lets those look again that ask for a name that this object has, or had.
    fn tell_others(&self, namespace: &str, app: &str, uid: Option<&String>, claims: &[Arc<SiblingSecret>]) {
        for other in of(&self.context, namespace, app) {
            let Ok(decoded) = &other.0 else { continue };
            let Some(theirs) = self.context.claims.of(other.meta().uid.as_ref()) else { continue };
            // Which names one asks for that takes all keys is not known.
            let concerned = takes_all(decoded) || claims.iter().any(|ours| share_a_name(ours, &theirs));
            if other.meta().uid.as_ref() != uid && concerned {
                self.context.look_at_sibling(&other);
            }
        }
    }

    /// Lets its app and the others look again for an object that is gone, or cannot be decoded. Where its app was never known,
    /// because it could never be decoded, those do that have noted what it has.
    fn tell_all(&self, object: &ObjectMeta, app: Option<&str>, claims: &[Arc<SiblingSecret>]) {
        let (namespace, name) = (object.namespace.as_deref().unwrap_or_default(), object.name.as_deref());
        match app {
            Some(app) => {
                self.context.queues.apps.request(ObjectRef::new(app).within(namespace));
                self.tell_others(namespace, app, object.uid.as_ref(), claims);
            }
            None => self.tell_those_who_noted(namespace, name.unwrap_or_default()),
        }
    }

    fn tell_those_who_noted(&self, namespace: &str, name: &str) {
        let noted = |other: &SpiceSecret| {
            let held = other.status.iter().flat_map(|status| &status.conflicts);
            other.metadata.namespace.as_deref() == Some(namespace) && held.into_iter().any(|held| held.owned_by == name)
        };
        let all = &self.context.caches.spice_secrets;
        for other in all.state_filter(|other| other.0.as_ref().is_ok_and(noted)) {
            self.context.look_at_sibling(&other);
        }
    }

    fn tell_app(&self, object: &SpiceSecret) {
        self.context.queues.apps.request(app_ref(object));
    }
}

impl EventHandler<DeserializeGuard<SpiceSecret>> for SpiceSecretEventHandler {
    fn before(&mut self, object: &DeserializeGuard<SpiceSecret>) {
        // One that cannot be decoded now is found where it was found before.
        if let Ok(object) = &object.0 {
            let (namespace, name) = (namespace(object), object.name_any());
            self.context.secrets_by_app.set(&namespace, &name, Some(object.app_name()));
            self.context.secrets_by_source.set(&namespace, &name, Some(object.source_name()));
            self.context.claims.set(object);
        }
    }

    fn changed(&mut self, object: &DeserializeGuard<SpiceSecret>) {
        let uid = object.meta().uid.as_ref();
        self.context.interests.changed(uid);
        self.context.memories.caught_up(object);
        // A visit mends what cannot be decoded, if anything does.
        if object.0.is_err() || self.seen.differs(uid, own_matters(object)) {
            self.context.queues.spice_secrets.request(ObjectRef::from_obj(object));
            self.context.secrets_named.notify_one();
        }
        let Ok(object) = &object.0 else {
            // It asks for nothing more.
            let meta = object.meta();
            if self.undecodable.differs(uid, meta.deletion_timestamp.is_some()) {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                let app = self.context.secrets_by_app.referred_by(&namespace, &name);
                self.tell_all(meta, app.as_deref(), self.context.claims.of(uid).as_slice());
            }
            return;
        };
        self.undecodable.forget(uid);
        if let Some(now) = self.context.claims.of(uid) {
            let before = self.told.insert(uid.cloned().unwrap_or_default(), Arc::clone(&now));
            if before.as_ref() != Some(&now) {
                let claims: Vec<_> = before.into_iter().chain([now]).collect();
                self.tell_others(&namespace(object), object.app_name(), uid, &claims);
            }
        }
        let interval = object.spec.interval.map(Duration::from);
        if self.told_app.differs(uid, (object.metadata.deletion_timestamp.is_some(), interval)) {
            self.tell_app(object);
            // All objects of an app are checked at the same times, as often as one of them asks for.
            let others = interval.map(|_| of(&self.context, &namespace(object), object.app_name()));
            for other in others.into_iter().flatten() {
                self.context.queues.spice_secrets.request(ObjectRef::from_obj(other.as_ref()));
            }
        }
    }

    fn deleted(&mut self, object: &DeserializeGuard<SpiceSecret>) {
        let uid = object.meta().uid.as_ref();
        self.context.interests.changed(uid);
        for changes in [&mut self.seen, &mut self.told_app, &mut self.undecodable] {
            changes.forget(uid);
        }
        self.context.memories.forget(uid);
        let told = uid.and_then(|uid| self.told.remove(uid));
        let claims: Vec<_> = told.into_iter().chain(self.context.claims.forget(uid)).collect();
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let app = self.context.secrets_by_app.referred_by(&namespace, &name);
        // Another of its name may have taken its place already.
        if self.context.caches.spice_secrets.get(&ObjectRef::new(&name).within(&namespace)).is_none() {
            self.context.secrets_by_app.set(&namespace, &name, None);
            self.context.secrets_by_source.set(&namespace, &name, None);
        }
        self.tell_all(object.meta(), app.as_deref(), &claims);
    }
}
