//! Caches of foreign resources.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};

use crate::api::SourceVersion;

/// Caches of foreign resources, with their metadata only.
pub(in crate::controller) struct Caches {
    pub(in crate::controller) secrets: Store<PartialObjectMeta<Secret>>,
    pub(in crate::controller) namespaces: Store<PartialObjectMeta<Namespace>>,
    pub(in crate::controller) config_maps: Store<PartialObjectMeta<ConfigMap>>,
}

/// The writers of the caches.
pub(in crate::controller) struct CacheWriters {
    pub(in crate::controller) secrets: Writer<PartialObjectMeta<Secret>>,
    pub(in crate::controller) namespaces: Writer<PartialObjectMeta<Namespace>>,
    pub(in crate::controller) config_maps: Writer<PartialObjectMeta<ConfigMap>>,
}

impl Caches {
    pub(in crate::controller) fn new() -> (Self, CacheWriters) {
        let (secrets, secret_writer) = reflector::store();
        let (namespaces, namespace_writer) = reflector::store();
        let (config_maps, config_map_writer) = reflector::store();
        let writers =
            CacheWriters { secrets: secret_writer, namespaces: namespace_writer, config_maps: config_map_writer };
        (Self { secrets, namespaces, config_maps }, writers)
    }

    /// Waits until every cache but that of Secrets holds its first list. Without a watch of Secrets, the
    /// SpiceOrganizations and SpiceSecrets must be cached before their Secrets can be polled.
    pub(in crate::controller) async fn wait_until_synced(&self) {
        // An error means that the watch has ended, which happens at shutdown only.
        let _ = self.namespaces.wait_until_ready().await;
        let _ = self.config_maps.wait_until_ready().await;
    }

    /// Cached version of a Secret.
    pub(in crate::controller) fn secret_version(&self, namespace: &str, name: &str) -> Option<SourceVersion> {
        let secret = self.secrets.get(&ObjectRef::new(name).within(namespace))?;
        Some(SourceVersion::of("Secret", &secret.metadata))
    }

    /// Cached version of a ConfigMap.
    pub(in crate::controller) fn config_map_version(&self, namespace: &str, name: &str) -> Option<SourceVersion> {
        let config_map = self.config_maps.get(&ObjectRef::new(name).within(namespace))?;
        Some(SourceVersion::of("ConfigMap", &config_map.metadata))
    }
}
