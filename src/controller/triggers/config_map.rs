//! A changed ConfigMap triggers the SpiceApps that use it as spicepod source.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;

use crate::controller::cluster::watch::EventHandler;
use crate::controller::lookup::organizations::apps_with;
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::AppKey;

/// Handles events of ConfigMaps.
pub(in crate::controller) struct ConfigMapEventHandler(pub(in crate::controller) Arc<Context>);

impl EventHandler<PartialObjectMeta<ConfigMap>> for ConfigMapEventHandler {
    fn on_change(&mut self, config_map: &PartialObjectMeta<ConfigMap>) {
        let apps = &self.0.kinds.apps;
        let key = AppKey::ConfigMap(config_map.namespace().unwrap_or_default(), config_map.name_any());
        for app in apps_with(&self.0, &key) {
            apps.enqueue(&app);
        }
    }

    fn on_delete(&mut self, config_map: &PartialObjectMeta<ConfigMap>) {
        self.on_change(config_map);
    }
}
