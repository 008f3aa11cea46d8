//! The Kubernetes side: watches, the driver of visits, status and finalizer writes, events, one file a kind.
//!
//! Decides nothing about the remote side; that is the planner's. Sends nothing that a plan does not say.

mod app;
mod connections;
mod context;
mod driver;
mod events;
mod metrics;
mod organization;
mod readiness;
mod store;
mod watch;

pub use crate::planner::{Identity, Waits};
pub use context::Settings;
pub use metrics::Metrics;
pub use readiness::Readiness;

use std::sync::Arc;

use futures::channel::mpsc;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{SpiceApp, SpiceOrganization};
use context::{Caches, Context};
use watch::{Guarded, Queue};

/// Runs the controllers until `shutdown`, then waits for the visits in hand.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    calls: crate::management::Metrics,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    tokio::select! {
        () = readiness::definitions(&client, &readiness, settings.definition_poll) => {}
        () = shutdown.cancelled() => return,
    }
    let (organizations, organization_writer) = reflector::store::<Guarded<SpiceOrganization>>();
    let (apps, app_writer) = reflector::store::<Guarded<SpiceApp>>();
    let (secrets, secret_writer) = reflector::store::<kube::core::PartialObjectMeta<Secret>>();
    let (organization_queue, organization_requests) = Queue::new();
    let (app_queue, app_requests) = Queue::new();
    let caches = Caches { organizations, apps, secrets };
    let context = Context::new(client.clone(), settings, caches.clone(), calls, metrics, shutdown.clone());
    let context = Arc::new(context);

    let mut tasks = JoinSet::new();
    tasks.spawn(watch::follow(
        Api::all(client.clone()),
        watcher::Config::default(),
        organization_writer,
        readiness.waiting_for("the cache of SpiceOrganizations"),
        shutdown.clone(),
        organization::Reaction::new(Arc::clone(&context), organization_queue.clone(), app_queue.clone()),
    ));
    tasks.spawn(watch::follow(
        Api::all(client.clone()),
        watcher::Config::default(),
        app_writer,
        readiness.waiting_for("the cache of SpiceApps"),
        shutdown.clone(),
        app::Reaction::new(Arc::clone(&context), organization_queue.clone(), app_queue),
    ));
    tasks.spawn(watch::follow(
        Api::all(client),
        // Helm's release records are many, large and never ours.
        watcher::Config::default().fields("type!=helm.sh/release.v1"),
        secret_writer,
        readiness.waiting_for("the cache of Secrets' metadata"),
        shutdown.clone(),
        organization::SecretReaction::new(caches.organizations.clone(), organization_queue),
    ));
    tasks.spawn(drive(Arc::clone(&context), caches.organizations, caches.secrets.clone(), organization_requests));
    tasks.spawn(drive(context, caches.apps, caches.secrets, app_requests));
    while tasks.join_next().await.is_some() {}
}

/// Visits the objects of one kind as they are requested. Kept simple on purpose: the order of remote calls is the
/// budget's affair, and one object is never visited twice at once.
async fn drive<K: driver::Steward>(
    context: Arc<Context>,
    store: reflector::Store<Guarded<K>>,
    secrets: reflector::Store<kube::core::PartialObjectMeta<Secret>>,
    requests: mpsc::UnboundedReceiver<ObjectRef<Guarded<K>>>,
) {
    // A visit that ran before the other caches are full would take what is not there yet for missing.
    let ready = async {
        let _ = context.caches.organizations.wait_until_ready().await;
        let _ = context.caches.apps.wait_until_ready().await;
        let _ = secrets.wait_until_ready().await;
    };
    tokio::select! {
        () = ready => {}
        () = context.shutdown.cancelled() => return,
    }
    driver::run(context, store, requests).await;
}
