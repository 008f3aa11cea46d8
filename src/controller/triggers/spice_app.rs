//! A changed SpiceApp triggers itself, its SpiceSecrets, and the organizations that count the app. A deleted or released
//! SpiceApp triggers its SpiceSecrets, its organization, the credential Secret of the organization, and the apps that
//! competed for its name.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};

use crate::api::{ResolvedOrganizationRef, SpiceApp};
use crate::controller::cluster::predicates::{ChangeFilter, fields_for_reconcile};
use crate::controller::cluster::watch::EventHandler;
use crate::controller::lookup::apps::{competing_apps, fields_for_secrets};
use crate::controller::lookup::organizations::{credential_ref, organization_of, organizations_in, reference};
use crate::controller::lookup::secrets::resync_secrets_of;
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::app_keys;
use crate::planner::is_released;

/// Handles events of SpiceApps.
pub(in crate::controller) struct SpiceAppEventHandler {
    context: Arc<Context>,
    own: ChangeFilter,
    for_secrets: ChangeFilter,
    /// Whether each object is released.
    released: ChangeFilter,
    /// Organization of each app, by UID. The earlier and the present one both count their apps.
    organizations: HashMap<String, ResolvedOrganizationRef>,
}

impl SpiceAppEventHandler {
    pub(in crate::controller) fn new(context: Arc<Context>) -> Self {
        let (own, for_secrets, released, organizations) = Default::default();
        Self { context, own, for_secrets, released, organizations }
    }

    fn resync_secrets(&self, object: &DeserializeGuard<SpiceApp>) {
        resync_secrets_of(&self.context, &object.namespace().unwrap_or_default(), &object.name_any());
    }

    /// Enqueues the organizations with a changed number of apps. `app`: none for a deleted or an undecodable object.
    fn enqueue_organizations(&mut self, uid: Option<&String>, app: Option<&SpiceApp>) {
        let uid = uid.cloned().unwrap_or_default();
        let now = app.map(|app| reference(&self.context, app));
        let before = match now.clone() {
            Some(now) => self.organizations.insert(uid, now),
            None => self.organizations.remove(&uid),
        };
        if before != now {
            for organization in before.iter().chain(&now) {
                self.context.kinds.organizations.enqueue_name(&organization.namespace, &organization.name);
            }
        }
    }
}

impl EventHandler<DeserializeGuard<SpiceApp>> for SpiceAppEventHandler {
    fn before_cache_update(&mut self, object: &DeserializeGuard<SpiceApp>) {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        self.context.apps_by.set(&namespace, &name, app_keys(object));
    }

    fn on_change(&mut self, object: &DeserializeGuard<SpiceApp>) {
        let (context, uid) = (&self.context, object.meta().uid.as_ref());
        context.cancellation.on_change(uid);
        context.kinds.apps.object_states.on_cache_caught_up(object);
        // Every change may make an undecodable object decodable.
        if object.0.is_err() || self.own.has_changed(uid, fields_for_reconcile(object)) {
            context.kinds.apps.enqueue(object);
        }
        if self.for_secrets.has_changed(uid, fields_for_secrets(object)) {
            self.resync_secrets(object);
        }
        let is_released = is_released(object.meta());
        self.enqueue_organizations(uid, object.0.as_ref().ok().filter(|_| !is_released));
        if self.released.has_changed(uid, is_released) && is_released {
            self.enqueue_related(object);
        }
    }

    fn on_delete(&mut self, object: &DeserializeGuard<SpiceApp>) {
        let uid = object.meta().uid.as_ref();
        self.own.forget(uid);
        self.for_secrets.forget(uid);
        self.released.forget(uid);
        self.enqueue_organizations(uid, None);
        self.context.cancellation.on_change(uid);
        self.context.kinds.apps.object_states.forget(uid);
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        // Another object of the same name may already exist.
        if self.context.kinds.apps.get(&namespace, &name).is_none() {
            self.context.apps_by.set(&namespace, &name, Vec::new());
        }
        self.enqueue_related(object);
    }
}

impl SpiceAppEventHandler {
    /// Enqueues the objects that a deleted or released app may have blocked.
    fn enqueue_related(&self, object: &DeserializeGuard<SpiceApp>) {
        self.resync_secrets(object);
        let (context, kinds) = (&self.context, &self.context.kinds);
        let Ok(app) = &object.0 else {
            // Any organization of the namespace may have waited for the app.
            for organization in organizations_in(context, object.namespace().as_deref()) {
                kinds.organizations.enqueue(&organization);
            }
            return;
        };
        let organization = reference(context, app);
        kinds.organizations.enqueue_name(&organization.namespace, &organization.name);
        if let Some(Ok(organization)) = organization_of(context, app) {
            context.credential_queue.enqueue(credential_ref(&organization));
        }
        for competing in competing_apps(context, app) {
            kinds.apps.object_states.force_resync(&competing.uid, Timestamp::now());
            kinds.apps.enqueue_name(&competing.namespace, &competing.name);
        }
    }
}
