//! A namespace whose labels change the permission to use an organization of another namespace triggers the objects that
//! use the organization.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;

use crate::api::SpiceApp;
use crate::controller::cluster::watch::EventHandler;
use crate::controller::lookup::namespaces::is_allowed_with;
use crate::controller::lookup::organizations::{apps_with, organization_of};
use crate::controller::lookup::secrets::{enqueue_with_secrets, resync_with_secrets};
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::AppKey;

type Labels = BTreeMap<String, String>;

/// Handles events of namespaces.
pub(in crate::controller) struct NamespaceEventHandler {
    context: Arc<Context>,
    /// Labels by UID.
    labels: HashMap<String, Labels>,
}

impl NamespaceEventHandler {
    pub(in crate::controller) fn new(context: Arc<Context>) -> Self {
        Self { context, labels: HashMap::new() }
    }

    /// Returns true if the permission of an app in a namespace differs between two versions of the labels.
    fn has_permission_changed(&self, app: &SpiceApp, namespace: &str, before: &Labels, now: &Labels) -> bool {
        let Some(Ok(organization)) = organization_of(&self.context, app) else { return false };
        let is_allowed = |labels: &Labels| is_allowed_with(|| Some(labels.clone()), &organization, namespace);
        is_allowed(before) != is_allowed(now)
    }

    /// Enqueues the objects of a new namespace: they may have been reconciled before the namespace was observed.
    fn enqueue_all(&self, namespace: &str) {
        for app in apps_with(&self.context, &AppKey::Namespace(namespace.to_owned())) {
            enqueue_with_secrets(&self.context, &app);
        }
    }
}

impl EventHandler<PartialObjectMeta<Namespace>> for NamespaceEventHandler {
    fn on_change(&mut self, namespace: &PartialObjectMeta<Namespace>) {
        let (name, uid) = (namespace.name_any(), namespace.uid().unwrap_or_default());
        let now = namespace.metadata.labels.clone().unwrap_or_default();
        let Some(before) = self.labels.insert(uid, now.clone()) else { return self.enqueue_all(&name) };
        if before == now {
            return;
        }
        let mut apps = apps_with(&self.context, &AppKey::Namespace(name.clone()));
        apps.retain(|app| app.0.as_ref().is_ok_and(|app| self.has_permission_changed(app, &name, &before, &now)));
        for app in apps {
            resync_with_secrets(&self.context, &app);
        }
    }

    fn on_delete(&mut self, namespace: &PartialObjectMeta<Namespace>) {
        self.labels.remove(&namespace.uid().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kube::core::DeserializeGuard;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::SpiceOrganization;
    use crate::controller::state::index_keys::app_keys;
    use crate::controller::state::test_context::test_context;

    fn namespace(labels: &Value) -> PartialObjectMeta<Namespace> {
        let metadata = json!({ "metadata": { "name": "team", "uid": "uid-of-team", "labels": labels } });
        serde_json::from_value(metadata).unwrap()
    }

    #[tokio::test]
    async fn only_labels_that_change_the_permission_force_a_resync() {
        let (context, mut feeds) = test_context(|_| Err(404));
        let selector = json!({ "from": "Selector", "selector": { "matchLabels": { "team": "data" } } });
        let spec = json!({ "endpoint": "https://api.example", "credentials": {}, "allowedNamespaces": selector });
        let mut organization = SpiceOrganization::new("default", serde_json::from_value(spec).unwrap());
        organization.metadata.namespace = Some("home".to_owned());
        feeds.organizations.writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(organization))));
        let mut app = SpiceApp::new("my-app", Default::default());
        (app.metadata.namespace, app.metadata.uid) = (Some("team".to_owned()), Some("uid-of-app".to_owned()));
        app.spec.organization_ref = serde_json::from_value(json!({ "namespace": "home", "name": "default" })).unwrap();
        let cached = DeserializeGuard(Ok(app.clone()));
        context.apps_by.set("team", "my-app", app_keys(&cached));
        feeds.apps.writer.apply_watcher_event(&Event::Apply(cached));
        let mut handler = NamespaceEventHandler::new(Arc::new(context));
        for (labels, forced) in [
            (json!({}), false),
            (json!({ "other": "one" }), false),
            (json!({ "team": "data", "other": "one" }), true),
            (json!({ "team": "data", "other": "two" }), false),
            (json!({ "team": "web" }), true),
            (json!({}), false),
        ] {
            handler.on_change(&namespace(&labels));
            let state = handler.context.kinds.apps.object_states.load(&app, Timestamp::UNIX_EPOCH).0;
            assert_eq!(state.force_resync, forced, "{labels}");
        }
    }
}
