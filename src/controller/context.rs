//! What every visit has at hand.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::Client;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::driver::Memories;
use super::events::Events;
use super::interest::Interests;
use super::leadership::Leadership;
use super::metrics::Metrics;
use super::watch::Guarded;
use crate::api::{SourceVersion, SpiceApp, SpiceOrganization};
use crate::management;
use crate::planner::{Identity, Waits};

/// Settings of the controllers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this operator is to the remote side.
    pub identity: Identity,
    /// Every wait that a decision depends on.
    pub waits: Waits,
    /// How the Management API is talked to.
    pub management: management::Settings,
    /// The one namespace whose objects are watched; all of them if unset.
    pub watch_namespace: Option<String>,
    /// How often to look for a CustomResourceDefinition that is missing.
    pub definition_poll: Duration,
}

/// The caches that watches fill.
#[derive(Clone)]
pub(super) struct Caches {
    pub(super) organizations: Store<Guarded<SpiceOrganization>>,
    pub(super) apps: Store<Guarded<SpiceApp>>,
    pub(super) secrets: Store<PartialObjectMeta<Secret>>,
    pub(super) namespaces: Store<PartialObjectMeta<Namespace>>,
    pub(super) config_maps: Store<PartialObjectMeta<ConfigMap>>,
}

impl Caches {
    /// The version of a Secret that the metadata watch saw last.
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

/// What every visit has at hand.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) caches: Caches,
    pub(super) connections: Connections,
    pub(super) events: Events,
    pub(super) metrics: Metrics,
    pub(super) memories: Memories,
    pub(super) interests: Interests,
    pub(super) leadership: Leadership,
    pub(super) shutdown: CancellationToken,
}

impl Context {
    pub(super) fn new(
        client: Client,
        settings: Settings,
        caches: Caches,
        calls: management::Metrics,
        metrics: Metrics,
        leadership: Leadership,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            connections: Connections::new(client.clone(), settings.management.clone(), calls),
            events: Events::new(client.clone(), leadership.clone()),
            memories: Memories::default(),
            interests: Interests::default(),
            client,
            settings,
            caches,
            metrics,
            leadership,
            shutdown,
        }
    }

    /// The wall clock, in one place.
    #[expect(clippy::unused_self, reason = "the clock belongs to the context, so that it can be replaced there")]
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
