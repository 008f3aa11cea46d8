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
use crate::controller::lookup::secrets::{enqueue_secrets_of, resync_secrets_of};
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
        // The first observation, as after a restart, is no change. A new app changes again before it is Ready.
        let is_new = self.for_secrets.is_new(uid);
        if self.for_secrets.has_changed(uid, fields_for_secrets(object)) {
            match is_new {
                true => enqueue_secrets_of(context, object),
                false => resync_secrets_of(context, object),
            }
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

    fn on_never_cached(&mut self, namespace: &str, name: &str) {
        self.context.apps_by.set(namespace, name, Vec::new());
        // Any of them may have counted the app.
        for organization in self.context.kinds.organizations.cache.state() {
            self.context.kinds.organizations.enqueue(&organization);
        }
    }
}

impl SpiceAppEventHandler {
    /// Enqueues the objects that a deleted or released app may have blocked.
    fn enqueue_related(&self, object: &DeserializeGuard<SpiceApp>) {
        resync_secrets_of(&self.context, object);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{StreamExt, stream};
    use kube::runtime::watcher::{Error, Event};
    use serde_json::json;

    use super::*;
    use crate::api::SpiceOrganization;
    use crate::controller::cluster::readiness::Readiness;
    use crate::controller::cluster::watch::{run_reflector, strip_managed_fields};
    use crate::controller::lookup::organizations::count_apps;
    use crate::controller::state::test_context::test_context;

    fn event(word: &str) -> Result<Event<DeserializeGuard<SpiceApp>>, Error> {
        let app = |name: &str| {
            let app = json!({
                "apiVersion": "cloud.spice.ai/v1alpha1", "kind": "SpiceApp", "spec": {},
                "metadata": { "name": name, "namespace": "team", "uid": name, "finalizers": ["cloud.spice.ai/finalizer"] },
            });
            DeserializeGuard(Ok(serde_json::from_value(app).unwrap()))
        };
        match word.split_once(' ') {
            Some(("list", name)) => Ok(Event::InitApply(app(name))),
            Some(("apply", name)) => Ok(Event::Apply(app(name))),
            Some(("delete", name)) => Ok(Event::Delete(app(name))),
            _ if word == "init" => Ok(Event::Init),
            _ if word == "done" => Ok(Event::InitDone),
            _ => Err(Error::NoResourceVersion),
        }
    }

    #[tokio::test]
    async fn an_organization_counts_the_apps_of_complete_lists_only() {
        let organization: SpiceOrganization = serde_json::from_value(json!({
            "apiVersion": "cloud.spice.ai/v1alpha1", "kind": "SpiceOrganization",
            "metadata": { "name": "default", "namespace": "team", "uid": "organization" },
            "spec": { "endpoint": "https://api.example", "credentials": {} },
        }))
        .unwrap();
        for (events, count) in [
            (&["init", "list a", "list b", "done"][..], 2),
            (&["init", "list a", "init", "done"], 0),
            (&["init", "list a", "error", "init", "list b", "done"], 1),
            (&["init", "list a", "init", "list a", "done"], 1),
            (&["init", "list a", "init", "list b", "init", "list b", "done"], 1),
            (&["init", "list a", "done", "init", "list b", "init", "list a", "done"], 1),
            (&["init", "list a", "done", "init", "list a", "init", "done"], 0),
            (&["init", "done", "apply a", "init", "list a", "init", "list a", "done", "delete a"], 0),
        ] {
            let (context, feeds) = test_context(|_| Err(404));
            let context = Arc::new(context);
            let watch = stream::iter(events.iter().map(|word| event(word))).boxed();
            let health = Readiness::default().register_check("the watch", Duration::from_secs(60));
            let handler = SpiceAppEventHandler::new(Arc::clone(&context));
            let shutdown = context.shutdown.clone();
            run_reflector(watch, feeds.apps.writer, health, shutdown, strip_managed_fields, handler).await;
            assert_eq!(count_apps(&context, &organization), count, "{events:?}");
        }
    }
}
