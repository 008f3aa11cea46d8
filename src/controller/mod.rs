//! The Kubernetes side: watches, the reconcile loop, status and finalizer writes, events.
//!
//! The planner decides; the controller sends nothing that no plan contains. Each folder uses only those above it:
//!
//! | folder | content |
//! |---|---|
//! | `cluster` | mechanics of the Kubernetes API |
//! | `state` | state of this process between reconciles |
//! | `lookup` | answers from the caches, without a request |
//! | `reconcile` | the generic reconcile loop |
//! | `kinds` | the reads and writes of each kind |
//! | `triggers` | which objects a change triggers |
//! | `tasks` | background tasks |

mod cluster;
mod kinds;
mod lookup;
mod metrics;
mod reconcile;
mod state;
mod tasks;
mod triggers;

pub use crate::api::ResolvedOrganizationRef;
pub(crate) use crate::planner::doubled_delay;
pub use crate::planner::{Identity, Timings, display_duration};
pub use cluster::call::{format_kube_error, with_timeout, within};
pub use cluster::counters::Counters;
pub use cluster::leadership::{DualInstant, Leadership};
pub use cluster::readiness::{HealthCheck, Readiness, ReadinessGate};
pub use metrics::Metrics;
pub use state::settings::{DigestKeyRef, Settings};

use std::sync::Arc;

use futures::StreamExt;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::SpiceSecret;
use cluster::watch::{self, EventHandler, run_reflector, watch_with_relist};
use cluster::work_queue::ReconcileRequests;
use reconcile::reconciliation;
use state::caches::{CacheWriters, Caches};
use state::context::Context;
use state::kinds::{KindFeed, KindFeeds, Kinds};
use triggers::config_map::ConfigMapEventHandler;
use triggers::namespace::NamespaceEventHandler;
use triggers::secret::SecretEventHandler;
use triggers::spice_app::SpiceAppEventHandler;
use triggers::spice_organization::SpiceOrganizationEventHandler;
use triggers::spice_secret::SpiceSecretEventHandler;

/// Objects in one page of a list. kube holds the text and the decoded objects of a whole page at once, and an object can
/// have more than 256 KiB.
const OBJECT_PAGE_SIZE: u32 = 50;

/// Runs the controllers until `shutdown`, then waits for the running reconciles. `gate` keeps the process unready until
/// the controllers register their own checks.
///
/// # Errors
/// If a task ended by itself: the others are stopped, because nothing would report a kind that is not reconciled.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    api_metrics: crate::management::ApiMetrics,
    gate: ReadinessGate,
    leadership: Leadership,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let readiness = gate.readiness().clone();
    tokio::select! {
        () = cluster::crd::wait_until_established(&client, &readiness, settings.startup_poll_interval) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    // A standby process is ready: it waits only for the lease.
    drop(gate);
    tokio::select! {
        () = leadership.wait_until_granted() => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let gate = readiness.add_gate("the caches to sync");
    let (kinds, feeds) = Kinds::new();
    let (caches, writers) = Caches::new();
    let all_metrics = (api_metrics, metrics.counters().clone());
    let (context, credential_requests) =
        Context::new(client, settings, (kinds, caches), all_metrics, leadership, shutdown.clone());
    let context = Arc::new(context);
    metrics.observe(&context);
    let mut watches = Watches { tasks: JoinSet::new(), context: Arc::clone(&context), readiness: readiness.clone() };
    let KindFeeds { organizations, apps, secrets } = feeds;
    let organization_requests =
        watches.start_kind(organizations, SpiceOrganizationEventHandler::new(Arc::clone(&context)));
    let app_requests = watches.start_kind(apps, SpiceAppEventHandler::new(Arc::clone(&context)));
    let secret_requests = watches.start_kind(secrets, SpiceSecretEventHandler::new(Arc::clone(&context)));
    tokio::select! {
        () = watches.start_foreign(writers, gate) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let mut tasks = watches.tasks;
    tasks.spawn(reconciliation::run(Arc::clone(&context), organization_requests));
    tasks.spawn(reconciliation::run(Arc::clone(&context), app_requests));
    tasks.spawn(reconcile_secrets(Arc::clone(&context), readiness, secret_requests));
    tasks.spawn(tasks::credential_finalizer::run(context, credential_requests));
    wait_for_end(tasks, &shutdown).await
}

async fn wait_for_end(mut tasks: JoinSet<()>, shutdown: &CancellationToken) -> Result<(), String> {
    let mut result = Ok(());
    while let Some(task) = tasks.join_next().await {
        if !shutdown.is_cancelled() {
            result = Err(task.err().map_or_else(|| "a task ended by itself".to_owned(), |error| error.to_string()));
            shutdown.cancel();
        }
    }
    result
}

/// Reconciles SpiceSecrets. A terminating SpiceSecret needs no digest key; the others wait for the key.
async fn reconcile_secrets(
    context: Arc<Context>,
    readiness: Readiness,
    requests: ReconcileRequests<DeserializeGuard<SpiceSecret>>,
) {
    let (tried, first_attempt) = oneshot::channel();
    let reconciles = async {
        // The first attempt usually succeeds, and no object is then reconciled twice.
        let _ = first_attempt.await;
        reconciliation::run(Arc::clone(&context), requests).await;
    };
    tokio::join!(reconciles, tasks::digest_key::run(Arc::clone(&context), readiness, tried));
}

/// Starts the watches, each as a task with a readiness check.
struct Watches {
    tasks: JoinSet<()>,
    context: Arc<Context>,
    readiness: Readiness,
}

impl Watches {
    /// Watches a kind of the operator. Returns the reconcile requests of the kind.
    fn start_kind<K: reconcile::reconciler::Reconciler>(
        &mut self,
        feed: KindFeed<K>,
        handler: impl EventHandler<DeserializeGuard<K>>,
    ) -> ReconcileRequests<DeserializeGuard<K>> {
        let events = self.watch(watcher::Config::default().page_size(OBJECT_PAGE_SIZE));
        let health = self.register_check(&format!("{}s", K::NAME));
        self.start(health, events, feed.writer, watch::strip_managed_fields, handler);
        feed.requests
    }

    /// Watches the foreign resources, and returns when the caches hold their first lists.
    async fn start_foreign(&mut self, writers: CacheWriters, gate: ReadinessGate) {
        let context = Arc::clone(&self.context);
        // Labels decide which namespaces may use an organization.
        let namespace = context.settings.watch_namespace.as_deref();
        let own = namespace.map_or_else(watcher::Config::default, |name| {
            watcher::Config::default().fields(&format!("metadata.name={name}"))
        });
        let events = watch_with_relist(Api::all(context.client.clone()), own, self.relist_after());
        let handler = NamespaceEventHandler::new(Arc::clone(&context));
        let health = self.register_check("Namespaces");
        self.start(health, events, writers.namespaces, watch::strip_all_but_labels, handler);

        // Every namespace has this ConfigMap, and none is a spicepod.
        let events = self.watch(watcher::Config::default().fields("metadata.name!=kube-root-ca.crt"));
        let handler = ConfigMapEventHandler(Arc::clone(&context));
        let health = self.register_check("ConfigMaps");
        self.start(health, events, writers.config_maps, watch::strip_all_but_version, handler);

        // Registered before the gate is dropped: the process is not ready before the last watch is.
        let health = self.register_check("Secrets");
        drop(gate);
        context.kinds.wait_until_synced().await;
        context.caches.wait_until_synced().await;
        // Last, because without a watch the cached objects name the Secrets to poll.
        let events = match context.settings.secret_poll_interval {
            Some(interval) => tasks::secret_poller::poll(Arc::clone(&context), interval).boxed(),
            // Helm's release records are many, large, and never used by the operator.
            None => self.watch(watcher::Config::default().fields("type!=helm.sh/release.v1")),
        };
        let handler = SecretEventHandler(Arc::clone(&context));
        self.start(health, events, writers.secrets, watch::strip_all_but_version, handler);
        // An error means that the watch has ended, which happens at shutdown only.
        let _ = context.caches.secrets.wait_until_ready().await;
    }

    fn register_check(&self, resource: &str) -> HealthCheck {
        let threshold = self.context.settings.readiness_failure_threshold;
        self.readiness.register_check(format!("the watch of {resource}"), threshold)
    }

    fn start<K>(
        &mut self,
        health: HealthCheck,
        events: watch::WatchEvents<K>,
        writer: kube::runtime::reflector::store::Writer<K>,
        strip: fn(&mut K),
        handler: impl EventHandler<K>,
    ) where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        self.tasks.spawn(run_reflector(events, writer, health, self.context.shutdown.clone(), strip, handler));
    }

    /// Watches the objects of one namespace, or of all.
    fn watch<K>(&self, config: watcher::Config) -> watch::WatchEvents<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let client = self.context.client.clone();
        let api = match self.context.settings.watch_namespace.as_deref() {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        watch_with_relist(api, config, self.relist_after())
    }

    /// Half of the failure threshold, so that a watch that works in silence proves this before it counts as failed.
    fn relist_after(&self) -> std::time::Duration {
        self.context.settings.readiness_failure_threshold / 2
    }
}
