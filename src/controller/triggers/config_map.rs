//! A changed ConfigMap triggers the SpiceApps that use it as spicepod source.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;

use crate::api::SpiceApp;
use crate::controller::cluster::watch::EventHandler;
use crate::controller::state::context::Context;

/// Handles events of ConfigMaps.
pub(in crate::controller) struct ConfigMapEventHandler(pub(in crate::controller) Arc<Context>);

impl EventHandler<PartialObjectMeta<ConfigMap>> for ConfigMapEventHandler {
    fn on_change(&mut self, config_map: &PartialObjectMeta<ConfigMap>) {
        let apps = &self.0.kinds.apps;
        let uses = |app: &SpiceApp| {
            let source = app.spec.spicepod_from.as_ref().map(|source| &source.config_map_key_ref.name);
            app.namespace() == config_map.namespace() && source == config_map.metadata.name.as_ref()
        };
        for app in apps.filter(|app| app.0.as_ref().is_ok_and(uses)) {
            apps.enqueue(&app);
        }
    }

    fn on_delete(&mut self, config_map: &PartialObjectMeta<ConfigMap>) {
        self.on_change(config_map);
    }
}
