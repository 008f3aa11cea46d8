//! What the watches fill and what they ask for: a cache of every resource, and a queue of visits of every kind.

use futures::channel::mpsc;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};

use super::watch::WorkQueue;
use crate::api::{SourceVersion, SpiceApp, SpiceOrganization, SpiceSecret};
use kube::core::DeserializeGuard;

/// The caches that watches fill.
#[derive(Clone)]
pub(super) struct Caches {
    pub(super) organizations: Store<DeserializeGuard<SpiceOrganization>>,
    pub(super) apps: Store<DeserializeGuard<SpiceApp>>,
    pub(super) spice_secrets: Store<DeserializeGuard<SpiceSecret>>,
    pub(super) secrets: Store<PartialObjectMeta<Secret>>,
    pub(super) namespaces: Store<PartialObjectMeta<Namespace>>,
    pub(super) config_maps: Store<PartialObjectMeta<ConfigMap>>,
}

/// What fills them.
pub(super) struct Writers {
    pub(super) organizations: Writer<DeserializeGuard<SpiceOrganization>>,
    pub(super) apps: Writer<DeserializeGuard<SpiceApp>>,
    pub(super) spice_secrets: Writer<DeserializeGuard<SpiceSecret>>,
    pub(super) secrets: Writer<PartialObjectMeta<Secret>>,
    pub(super) namespaces: Writer<PartialObjectMeta<Namespace>>,
    pub(super) config_maps: Writer<PartialObjectMeta<ConfigMap>>,
}

impl Caches {
    pub(super) fn new() -> (Self, Writers) {
        let (organizations, organization_writer) = reflector::store();
        let (apps, app_writer) = reflector::store();
        let (spice_secrets, spice_secret_writer) = reflector::store();
        let (secrets, secret_writer) = reflector::store();
        let (namespaces, namespace_writer) = reflector::store();
        let (config_maps, config_map_writer) = reflector::store();
        let writers = Writers {
            organizations: organization_writer,
            apps: app_writer,
            spice_secrets: spice_secret_writer,
            secrets: secret_writer,
            namespaces: namespace_writer,
            config_maps: config_map_writer,
        };
        (Self { organizations, apps, spice_secrets, secrets, namespaces, config_maps }, writers)
    }

    /// Waits until every cache but that of Secrets holds what there is: a visit before that would take what is not there
    /// yet for missing.
    ///
    /// In one place, one after the other: of several who wait for the same cache at once, kube wakes only the last.
    pub(super) async fn filled(&self) {
        // An error means that the watch has ended, which it does at shutdown only.
        let _ = self.organizations.wait_until_ready().await;
        let _ = self.apps.wait_until_ready().await;
        let _ = self.spice_secrets.wait_until_ready().await;
        let _ = self.namespaces.wait_until_ready().await;
        let _ = self.config_maps.wait_until_ready().await;
    }

    /// The version of a Secret that was seen last.
    pub(super) fn secret_version(&self, namespace: &str, name: &str) -> Option<SourceVersion> {
        let secret = self.secrets.get(&ObjectRef::new(name).within(namespace))?;
        Some(SourceVersion::of("Secret", &secret.metadata))
    }

    /// The version of a ConfigMap that the metadata watch saw last.
    pub(super) fn config_map_version(&self, namespace: &str, name: &str) -> Option<SourceVersion> {
        let config_map = self.config_maps.get(&ObjectRef::new(name).within(namespace))?;
        Some(SourceVersion::of("ConfigMap", &config_map.metadata))
    }
}

/// Where visits are asked for.
pub(super) struct WorkQueues {
    pub(super) organizations: WorkQueue<DeserializeGuard<SpiceOrganization>>,
    pub(super) apps: WorkQueue<DeserializeGuard<SpiceApp>>,
    pub(super) spice_secrets: WorkQueue<DeserializeGuard<SpiceSecret>>,
    /// Of the Secrets that hold credentials.
    pub(super) secrets: WorkQueue<PartialObjectMeta<Secret>>,
}

/// The visits that are asked for, of one kind.
pub(super) type ReconcileRequests<K> = mpsc::UnboundedReceiver<ObjectRef<K>>;

/// The visits that are asked for.
pub(super) struct QueueReceivers {
    pub(super) organizations: ReconcileRequests<DeserializeGuard<SpiceOrganization>>,
    pub(super) apps: ReconcileRequests<DeserializeGuard<SpiceApp>>,
    pub(super) spice_secrets: ReconcileRequests<DeserializeGuard<SpiceSecret>>,
    pub(super) secrets: ReconcileRequests<PartialObjectMeta<Secret>>,
}

impl WorkQueues {
    pub(super) fn new() -> (Self, QueueReceivers) {
        let (organizations, of_organizations) = WorkQueue::new();
        let (apps, of_apps) = WorkQueue::new();
        let (spice_secrets, of_spice_secrets) = WorkQueue::new();
        let (secrets, of_secrets) = WorkQueue::new();
        (
            Self { organizations, apps, spice_secrets, secrets },
            QueueReceivers {
                organizations: of_organizations,
                apps: of_apps,
                spice_secrets: of_spice_secrets,
                secrets: of_secrets,
            },
        )
    }
}
