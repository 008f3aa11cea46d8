//! The context of every reconcile: clients, caches, queues and shared state.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::core::PartialObjectMeta;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::caches::Caches;
use super::cancellation::CancelOnChange;
use super::connections::Connections;
use super::index_keys::{AppKey, OrganizationKey};
use super::key_index::KeyIndex;
use super::kinds::Kinds;
use super::recorded_apps::Comparison;
use super::reference_index::ReferenceIndex;
use super::secret_names::SiblingIndex;
use super::settings::Settings;
use crate::api::ResolvedOrganizationRef;
use crate::controller::cluster::counters::Counters;
use crate::controller::cluster::events::Events;
use crate::controller::cluster::leadership::Leadership;
use crate::controller::cluster::single_flight::{self, SingleFlight};
use crate::controller::cluster::work_queue::{ReconcileRequests, WorkQueue};
use crate::controller::cluster::writer::KubeWriter;
use crate::management;
use crate::planner::{DigestKey, DigestKeyFailure, Observed, SourceValues, StepContext};

/// The context of every reconcile.
pub(in crate::controller) struct Context {
    pub(in crate::controller) client: Client,
    pub(in crate::controller) settings: Settings,
    pub(in crate::controller) kinds: Kinds,
    pub(in crate::controller) caches: Caches,
    /// Work queue of credential Secrets.
    pub(in crate::controller) credential_queue: WorkQueue<PartialObjectMeta<Secret>>,
    pub(in crate::controller) connections: Connections,
    pub(in crate::controller) events: Events,
    pub(in crate::controller) counters: Counters,
    pub(in crate::controller) writer: KubeWriter,
    pub(in crate::controller) cancellation: CancelOnChange,
    pub(in crate::controller) leadership: Leadership,
    /// UIDs of credential Secrets whose finalizer the operator could not change, and the failures in a row. Their
    /// organizations work without a new finalizer.
    pub(in crate::controller) unprotected_secrets: Mutex<HashMap<String, u32>>,
    /// UIDs of deleted credential Secrets that the operator keeps, and for which it has published the warning.
    pub(in crate::controller) kept_secrets: Mutex<HashSet<String>>,
    /// SpiceApps by name, organization, namespace and ConfigMap.
    pub(in crate::controller) apps_by: KeyIndex<AppKey>,
    /// Comparisons of recorded apps with the app list, by organization.
    pub(in crate::controller) recorded_apps: Mutex<HashMap<ResolvedOrganizationRef, Comparison>>,
    /// SpiceOrganizations by namespace, binding and credential Secret.
    pub(in crate::controller) organizations_by: KeyIndex<OrganizationKey>,
    /// SpiceSecrets by SpiceApp.
    pub(in crate::controller) secrets_by_app: ReferenceIndex,
    /// SpiceSecrets by Kubernetes Secret.
    pub(in crate::controller) secrets_by_source: ReferenceIndex,
    /// Names that SpiceSecrets request and manage.
    pub(in crate::controller) secret_names: SiblingIndex,
    /// The digest key, once known.
    pub(in crate::controller) digest_key: OnceLock<DigestKey>,
    /// Why the digest key is not known, once an attempt failed.
    pub(in crate::controller) digest_key_failure: Mutex<Option<DigestKeyFailure>>,
    /// Reads of Kubernetes Secrets for SpiceSecrets.
    pub(in crate::controller) secret_reads: SingleFlight<Observed<SourceValues>>,
    /// Reads of ConfigMaps for SpiceApps.
    pub(in crate::controller) config_map_reads: SingleFlight<Result<Option<Arc<ConfigMap>>, String>>,
    /// Reads of CustomResourceDefinitions.
    pub(in crate::controller) crd_reads: SingleFlight<Observed<bool>>,
    /// Notifies the Secret poller that the referenced Secrets may have changed.
    pub(in crate::controller) secret_refs_changed: Notify,
    pub(in crate::controller) shutdown: CancellationToken,
}

impl Context {
    pub(in crate::controller) fn new(
        client: Client,
        settings: Settings,
        (kinds, caches): (Kinds, Caches),
        (api_metrics, counters): (management::ApiMetrics, Counters),
        leadership: Leadership,
        shutdown: CancellationToken,
    ) -> (Self, ReconcileRequests<PartialObjectMeta<Secret>>) {
        let reads = single_flight::read_semaphore();
        let (credential_queue, credential_requests) = WorkQueue::new();
        let context = Self {
            secret_reads: SingleFlight::new(&reads),
            config_map_reads: SingleFlight::new(&reads),
            crd_reads: SingleFlight::new(&reads),
            connections: Connections::new(client.clone(), settings.management.clone(), api_metrics),
            events: Events::new(client.clone(), leadership.clone(), counters.clone()),
            writer: KubeWriter::new(client.clone(), leadership.clone(), counters.clone()),
            cancellation: CancelOnChange::default(),
            client,
            settings,
            kinds,
            caches,
            credential_queue,
            counters,
            leadership,
            unprotected_secrets: Mutex::default(),
            kept_secrets: Mutex::default(),
            apps_by: KeyIndex::default(),
            recorded_apps: Mutex::default(),
            organizations_by: KeyIndex::default(),
            secrets_by_app: ReferenceIndex::default(),
            secrets_by_source: ReferenceIndex::default(),
            secret_names: SiblingIndex::default(),
            digest_key: OnceLock::new(),
            digest_key_failure: Mutex::default(),
            secret_refs_changed: Notify::new(),
            shutdown,
        };
        (context, credential_requests)
    }

    /// Input of the steps of a reconcile besides the object, without a fresh ID.
    pub(in crate::controller) fn step_context(&self) -> StepContext<'_> {
        let Settings { identity, timings, .. } = &self.settings;
        StepContext { identity, timings, fresh_id: "", now: Timestamp::now() }
    }
}
