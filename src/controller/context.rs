//! What every visit has at hand.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::caches::{Caches, WorkQueues};
use super::claims::SiblingIndex;
use super::connections::Connections;
use super::custody::UnprotectedSecrets;
use super::digest_key::DigestKeyRef;
use super::events::Events;
use super::flights::{self, SingleFlight};
use super::index::Index;
use super::interest::CancelOnChange;
use super::leadership::Leadership;
use super::memories::ObjectStates;
use super::metrics::Metrics;
use super::store;
use crate::api::{SpiceApp, SpiceSecret};
use crate::management;
use crate::planner::{DigestKey, Identity, Observed, SourceValues, Timings};
use kube::core::DeserializeGuard;

/// Settings of the controllers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this operator is to the remote side.
    pub identity: Identity,
    /// Every wait that a decision depends on.
    pub timings: Timings,
    /// How the Management API is talked to.
    pub management: management::ManagementSettings,
    /// The one namespace whose objects are watched; all of them if unset.
    pub watch_namespace: Option<String>,
    /// How often to look for a CustomResourceDefinition that is missing.
    pub startup_poll_interval: Duration,
    /// How long a watch may fail before this process is not ready.
    pub readiness_failure_threshold: Duration,
    /// Where the key of digests is kept.
    pub digest_key: DigestKeyRef,
    /// How often it is looked whether it still is.
    pub digest_key_check_interval: Duration,
    /// Whether the Secrets of credentials are held by a finalizer.
    pub protect_credential_secrets: bool,
    /// How often the Secrets of credentials are read; they are watched if unset.
    pub secret_poll_interval: Option<Duration>,
}

/// What every visit has at hand.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) caches: Caches,
    pub(super) queues: WorkQueues,
    pub(super) connections: Connections,
    pub(super) events: Events,
    pub(super) metrics: Metrics,
    pub(super) memories: ObjectStates,
    pub(super) interests: CancelOnChange,
    pub(super) leadership: Leadership,
    pub(super) unheld: UnprotectedSecrets,
    /// SpiceSecrets by their SpiceApp.
    pub(super) secrets_by_app: Index,
    /// SpiceSecrets by the Kubernetes Secret that they take their values from.
    pub(super) secrets_by_source: Index,
    /// What SpiceSecrets of one app know of each other.
    pub(super) claims: SiblingIndex,
    /// The key of digests, once it is known. No SpiceSecret is visited before.
    pub(super) digest_key: OnceLock<DigestKey>,
    /// Reads of Kubernetes Secrets for the objects that take their values from them.
    pub(super) values: SingleFlight<Observed<SourceValues>>,
    /// Reads of ConfigMaps for the apps whose spicepod they hold.
    pub(super) config_maps: SingleFlight<Result<Option<Arc<ConfigMap>>, String>>,
    /// Reads of our own CustomResourceDefinitions.
    pub(super) definitions: SingleFlight<Observed<bool>>,
    /// The turns of writes to the objects.
    pub(super) writes: Semaphore,
    /// Told when the Secrets that organizations name may be others than before.
    pub(super) secrets_named: Notify,
    pub(super) shutdown: CancellationToken,
}

impl Context {
    #[expect(clippy::too_many_arguments, reason = "each is a part of its own, named where it is made")]
    pub(super) fn new(
        client: Client,
        settings: Settings,
        caches: Caches,
        queues: WorkQueues,
        calls: management::ApiMetrics,
        metrics: Metrics,
        leadership: Leadership,
        shutdown: CancellationToken,
    ) -> Self {
        let reads = flights::turns();
        Self {
            values: SingleFlight::new(&reads),
            config_maps: SingleFlight::new(&reads),
            definitions: SingleFlight::new(&reads),
            connections: Connections::new(client.clone(), settings.management.clone(), calls),
            events: Events::new(client.clone(), leadership.clone(), metrics.clone()),
            memories: ObjectStates::default(),
            interests: CancelOnChange::default(),
            client,
            settings,
            caches,
            queues,
            metrics,
            leadership,
            unheld: UnprotectedSecrets::default(),
            secrets_by_app: Index::default(),
            secrets_by_source: Index::default(),
            claims: SiblingIndex::default(),
            digest_key: OnceLock::new(),
            writes: Semaphore::new(store::WRITES_AT_ONCE),
            secrets_named: Notify::new(),
            shutdown,
        }
    }

    /// Lets an app be visited and looked at anew, whatever it was judged to be.
    pub(super) fn look_at_app(&self, app: &DeserializeGuard<SpiceApp>) {
        let uid = Resource::meta(app).uid.as_deref().unwrap_or_default();
        self.memories.force_resync(uid, self.now());
        self.queues.apps.request(ObjectRef::from_obj(app));
    }

    /// Lets a SpiceSecret be visited and looked at anew, whatever it was judged to be.
    pub(super) fn look_at_secret(&self, secret: &DeserializeGuard<SpiceSecret>) {
        let uid = Resource::meta(secret).uid.as_deref().unwrap_or_default();
        self.memories.force_resync(uid, self.now());
        self.queues.spice_secrets.request(ObjectRef::from_obj(secret));
    }

    /// The same for what another SpiceSecret of its app has, or asks for. What has failed is not tried again for that.
    pub(super) fn look_at_sibling(&self, secret: &DeserializeGuard<SpiceSecret>) {
        let uid = Resource::meta(secret).uid.as_deref().unwrap_or_default();
        self.memories.others_changed(uid, self.now());
        self.queues.spice_secrets.request(ObjectRef::from_obj(secret));
    }

    /// The wall clock, in one place.
    #[expect(clippy::unused_self, reason = "the clock belongs to the context, so that it can be replaced there")]
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
