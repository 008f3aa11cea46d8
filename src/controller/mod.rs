//! The Kubernetes side: watches, the driver of visits, status and finalizer writes, events, one file a kind.
//!
//! Decides nothing about the remote side; that is the planner's. Sends nothing that a plan does not say.

mod app;
mod connections;
mod context;
mod credentials;
mod driver;
mod events;
mod interest;
mod leadership;
mod metrics;
mod namespaces;
mod organization;
mod readiness;
mod store;
mod watch;

pub use crate::planner::{Identity, Waits};
pub use context::Settings;
pub use leadership::{Leadership, Moment};
pub use metrics::Metrics;
pub use readiness::{Pending, Readiness};

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{SpiceApp, SpiceOrganization};
use context::{Caches, Context};
use watch::{Guarded, Queue};

/// Runs the controllers until `shutdown`, then waits for the visits in hand. `starting` is what is missing until the
/// controllers say themselves what they wait for.
///
/// # Errors
/// When a part of it ended by itself: the rest is stopped then, because nothing would tell that a kind is not served.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    calls: crate::management::Metrics,
    starting: Pending,
    leadership: Leadership,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let readiness = starting.readiness().clone();
    tokio::select! {
        () = readiness::definitions(&client, &readiness, settings.definition_poll) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    // A process that stands by is ready: it waits for nothing but its turn.
    drop(starting);
    tokio::select! {
        () = leadership.acquired() => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let starting = readiness.waiting_for("the caches to fill");
    let namespace = settings.watch_namespace.clone();
    let (organizations, organization_writer) = reflector::store::<Guarded<SpiceOrganization>>();
    let (apps, app_writer) = reflector::store::<Guarded<SpiceApp>>();
    let (secrets, secret_writer) = reflector::store::<PartialObjectMeta<Secret>>();
    let (config_maps, config_map_writer) = reflector::store::<PartialObjectMeta<ConfigMap>>();
    let (organization_queue, organization_requests) = Queue::new();
    let (app_queue, app_requests) = Queue::new();
    let (namespaces, namespace_writer) = reflector::store::<PartialObjectMeta<Namespace>>();
    let caches = Caches { organizations, apps, secrets, namespaces, config_maps };
    let context = Context::new(client.clone(), settings, caches.clone(), calls, metrics, leadership, shutdown.clone());
    let context = Arc::new(context);

    let mut tasks = JoinSet::new();
    tasks.spawn(watch::follow(
        watched(&client, namespace.as_deref()),
        watcher::Config::default(),
        organization_writer,
        readiness.waiting_for("the cache of SpiceOrganizations"),
        shutdown.clone(),
        organization::Reaction::new(Arc::clone(&context), organization_queue.clone(), app_queue.clone()),
    ));
    tasks.spawn(watch::follow(
        watched(&client, namespace.as_deref()),
        watcher::Config::default(),
        app_writer,
        readiness.waiting_for("the cache of SpiceApps"),
        shutdown.clone(),
        app::Reaction::new(Arc::clone(&context), organization_queue.clone(), app_queue.clone()),
    ));
    tasks.spawn(watch::follow(
        watched(&client, namespace.as_deref()),
        // Helm's release records are many, large and never ours.
        watcher::Config::default().fields("type!=helm.sh/release.v1"),
        secret_writer,
        readiness.waiting_for("the cache of Secrets' metadata"),
        shutdown.clone(),
        organization::SecretReaction::new(caches.organizations.clone(), organization_queue),
    ));
    tasks.spawn(watch::follow(
        Api::all(client.clone()),
        // Their labels tell who may use an organization.
        namespace.iter().fold(watcher::Config::default(), |all, one| all.fields(&format!("metadata.name={one}"))),
        namespace_writer,
        readiness.waiting_for("the cache of namespaces' metadata"),
        shutdown.clone(),
        namespaces::Reaction::new(Arc::clone(&context), app_queue.clone()),
    ));
    tasks.spawn(watch::follow(
        watched(&client, namespace.as_deref()),
        // One of every namespace that is nobody's spicepod.
        watcher::Config::default().fields("metadata.name!=kube-root-ca.crt"),
        config_map_writer,
        readiness.waiting_for("the cache of ConfigMaps' metadata"),
        shutdown.clone(),
        app::ConfigMapReaction::new(Arc::clone(&context), app_queue),
    ));
    drop(starting);
    tokio::select! {
        () = filled(&caches) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    tasks.spawn(driver::run(Arc::clone(&context), caches.organizations, organization_requests));
    tasks.spawn(driver::run(context, caches.apps, app_requests));
    let mut ended = Ok(());
    while let Some(task) = tasks.join_next().await {
        if !shutdown.is_cancelled() {
            ended = Err(task.err().map_or_else(|| "it ended by itself".to_owned(), |error| error.to_string()));
            shutdown.cancel();
        }
    }
    ended
}

/// Waits until every cache holds what there is: a visit before that would take what is not there yet for missing.
///
/// In one place, one after the other: of several who wait for the same cache at once, kube wakes only the last.
async fn filled(caches: &Caches) {
    // An error means that the watch has ended, which it does at shutdown only.
    let _ = caches.organizations.wait_until_ready().await;
    let _ = caches.apps.wait_until_ready().await;
    let _ = caches.secrets.wait_until_ready().await;
    let _ = caches.namespaces.wait_until_ready().await;
    let _ = caches.config_maps.wait_until_ready().await;
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
