//! A namespace with changed labels triggers its objects that use an organization of another namespace.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;

use crate::api::SpiceApp;
use crate::controller::cluster::predicates::ChangeFilter;
use crate::controller::cluster::watch::EventHandler;
use crate::controller::lookup::organizations::{apps_with, reference};
use crate::controller::lookup::secrets::resync_secrets_of;
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::AppKey;

/// Handles events of namespaces.
pub(in crate::controller) struct NamespaceEventHandler {
    context: Arc<Context>,
    labels: ChangeFilter,
}

impl NamespaceEventHandler {
    pub(in crate::controller) fn new(context: Arc<Context>) -> Self {
        Self { context, labels: ChangeFilter::default() }
    }
}

impl EventHandler<PartialObjectMeta<Namespace>> for NamespaceEventHandler {
    fn on_change(&mut self, namespace: &PartialObjectMeta<Namespace>) {
        if !self.labels.has_changed(namespace.metadata.uid.as_ref(), &namespace.metadata.labels) {
            return;
        }
        let (name, apps) = (namespace.name_any(), &self.context.kinds.apps);
        let is_affected = |app: &SpiceApp| reference(&self.context, app).namespace != name;
        let mut all = apps_with(&self.context, &AppKey::Namespace(name.clone()));
        all.retain(|app| app.0.as_ref().is_ok_and(is_affected));
        for app in all {
            apps.resync(&app);
            resync_secrets_of(&self.context, &name, &app.name_any());
        }
    }

    fn on_delete(&mut self, namespace: &PartialObjectMeta<Namespace>) {
        self.labels.forget(namespace.metadata.uid.as_ref());
    }
}
