//! The Kubernetes side: watches, the driver of visits, status and finalizer writes, events, one file a kind.
//!
//! Decides nothing about the remote side; that is the planner's. Sends nothing that a plan does not say.

mod app;
mod caches;
mod claims;
mod connections;
mod context;
mod credentials;
mod custody;
mod definition;
mod digest_key;
mod driver;
mod events;
mod flights;
mod index;
mod interest;
mod leadership;
mod memories;
mod metrics;
mod namespaces;
mod objects;
mod organization;
mod polled;
mod readiness;
mod secret;
mod store;
mod summary;
mod undecodable;
mod watch;

pub use crate::planner::{Identity, Timings};
pub use context::Settings;
pub use digest_key::DigestKeyRef;
pub use leadership::{DualInstant, Leadership};
pub use metrics::Metrics;
pub use readiness::{HealthCheck, Readiness, ReadinessGate};

use std::sync::Arc;

use futures::StreamExt;
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::SpiceSecret;
use caches::{Caches, ReconcileRequests, WorkQueues, Writers};
use context::Context;
use kube::core::DeserializeGuard;

/// Runs the controllers until `shutdown`, then waits for the visits in hand. `starting` is what is missing until the
/// controllers say themselves what they wait for.
///
/// # Errors
/// When a part of it ended by itself: the rest is stopped then, because nothing would tell that a kind is not served.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    calls: crate::management::ApiMetrics,
    starting: ReadinessGate,
    leadership: Leadership,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let readiness = starting.readiness().clone();
    tokio::select! {
        () = readiness::definitions(&client, &readiness, settings.startup_poll_interval) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    // A process that stands by is ready: it waits for nothing but its turn.
    drop(starting);
    tokio::select! {
        () = leadership.acquired() => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let starting = readiness.waiting_for("the caches to fill");
    let (caches, writers) = Caches::new();
    let (queues, requests) = WorkQueues::new();
    let context = Context::new(client, settings, caches, queues, calls, metrics, leadership, shutdown.clone());
    let context = Arc::new(context);
    context.metrics.objects.of(&context);
    let mut tasks = JoinSet::new();
    tokio::select! {
        () = follow_all(&mut tasks, &context, writers, &readiness, starting) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    tasks.spawn(driver::run(Arc::clone(&context), context.caches.organizations.clone(), requests.organizations));
    tasks.spawn(driver::run(Arc::clone(&context), context.caches.apps.clone(), requests.apps));
    tasks.spawn(visit_secrets(Arc::clone(&context), readiness, requests.spice_secrets));
    tasks.spawn(custody::run(context, requests.secrets));
    let mut ended = Ok(());
    while let Some(task) = tasks.join_next().await {
        if !shutdown.is_cancelled() {
            ended = Err(task.err().map_or_else(|| "it ended by itself".to_owned(), |error| error.to_string()));
            shutdown.cancel();
        }
    }
    ended
}

/// Visits SpiceSecrets. Those that are deleted need no key for their digests; the others wait for it.
async fn visit_secrets(
    context: Arc<Context>,
    readiness: Readiness,
    requests: ReconcileRequests<DeserializeGuard<SpiceSecret>>,
) {
    let store = context.caches.spice_secrets.clone();
    let (tried, once) = oneshot::channel();
    let visits = async {
        // As a rule it is there at once, and nothing is visited twice.
        let _ = once.await;
        driver::run(Arc::clone(&context), store, requests).await;
    };
    tokio::join!(visits, digest_key::keep(Arc::clone(&context), readiness, tried));
}

/// Follows every resource, each in a task, and returns when the caches hold what there is.
async fn follow_all(
    tasks: &mut JoinSet<()>,
    context: &Arc<Context>,
    writers: Writers,
    readiness: &Readiness,
    starting: ReadinessGate,
) {
    let (client, shutdown) = (&context.client, &context.shutdown);
    let namespace = context.settings.watch_namespace.as_deref();
    let all = watcher::Config::default;
    let patience = context.settings.readiness_failure_threshold;
    // So that one that goes on in silence has proved it before it is taken for one that fails.
    let doubt = patience / 2;
    let relying = |what: &str| readiness.relying_on(format!("the watch of {what}"), patience);

    let events = watch::changes(watched(client, namespace), all(), doubt);
    let reaction = organization::OrganizationEventHandler::new(Arc::clone(context));
    let reliance = relying("SpiceOrganizations");
    tasks.spawn(watch::follow(events, writers.organizations, reliance, shutdown.clone(), watch::trim, reaction));

    let events = watch::changes(watched(client, namespace), all(), doubt);
    let reaction = app::AppEventHandler::new(Arc::clone(context));
    tasks.spawn(watch::follow(events, writers.apps, relying("SpiceApps"), shutdown.clone(), watch::trim, reaction));

    let events = watch::changes(watched(client, namespace), all(), doubt);
    let reaction = secret::SpiceSecretEventHandler::new(Arc::clone(context));
    let reliance = relying("SpiceSecrets");
    tasks.spawn(watch::follow(events, writers.spice_secrets, reliance, shutdown.clone(), watch::trim, reaction));

    // Their labels tell who may use an organization.
    let ours = namespace.iter().fold(all(), |all, one| all.fields(&format!("metadata.name={one}")));
    let events = watch::changes(Api::all(client.clone()), ours, doubt);
    let reaction = namespaces::NamespaceEventHandler::new(Arc::clone(context));
    let reliance = relying("namespaces' metadata");
    tasks.spawn(watch::follow(events, writers.namespaces, reliance, shutdown.clone(), watch::trim_to_labels, reaction));

    // One of every namespace is nobody's spicepod.
    let events = watch::changes(watched(client, namespace), all().fields("metadata.name!=kube-root-ca.crt"), doubt);
    let reaction = app::ConfigMapEventHandler::new(Arc::clone(context));
    let reliance = relying("ConfigMaps' metadata");
    tasks.spawn(watch::follow(
        events,
        writers.config_maps,
        reliance,
        shutdown.clone(),
        watch::trim_to_version,
        reaction,
    ));

    let reliance = relying("Secrets' metadata");
    drop(starting);
    context.caches.filled().await;
    // Last, because without a watch it is the organizations that tell which Secrets there are.
    let events = match context.settings.secret_poll_interval {
        Some(every) => polled::secrets(Arc::clone(context), every).boxed(),
        // Helm's release records are many, large and never ours.
        None => watch::changes(watched(client, namespace), all().fields("type!=helm.sh/release.v1"), doubt),
    };
    let reaction = organization::SecretEventHandler::new(Arc::clone(context));
    tasks.spawn(watch::follow(events, writers.secrets, reliance, shutdown.clone(), watch::trim_to_version, reaction));
    // An error means that the watch has ended, which it does at shutdown only.
    let _ = context.caches.secrets.wait_until_ready().await;
}

/// The objects that are watched: those of one namespace, or all.
fn watched<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
