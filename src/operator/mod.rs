//! The process: settings, telemetry, the admin server, start and shutdown.

mod admin;
mod kubernetes;
mod lease;
mod metrics;
mod response_filter;
mod settings;
mod shutdown;
mod telemetry;

pub use lease::LeaseLossReason;
pub use settings::{LogFormat, PrintAddress, Settings};

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Identity, Leadership, Readiness};
use lease::{ElectionTask, ElectionTelemetry, Elector};
use metrics::Metrics;

/// Why the operator could not start.
#[derive(Debug, Error)]
pub enum Error {
    /// No threads, or no signals.
    #[error("cannot start: {0}")]
    Runtime(#[from] std::io::Error),
    /// The admin address cannot be used.
    #[error("--admin-address: cannot listen on {address}: {error}")]
    AdminAddress {
        /// What was asked for.
        address: std::net::SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// There is no usable kubeconfig, nor a service account.
    #[error("cannot find the Kubernetes API: {0}")]
    Kubernetes(String),
    /// A part that has to run as long as the process ended before.
    #[error("a controller ended: {0}")]
    Controllers(String),
    /// The lease that every write needs is gone.
    #[error("the lease {lease} was lost: {loss}; nothing more is written")]
    LeaseLost {
        /// Its name.
        lease: String,
        /// How.
        loss: LeaseLossReason,
    },
    /// The election's settings contradict each other.
    #[error("{0}")]
    Election(String),
    /// The log filter is not one.
    #[error("--log-filter: {0}")]
    LogFilter(String),
}

/// Runs the operator until SIGTERM or SIGINT. Once it runs it waits for what is missing rather than end; if it ends by
/// itself all the same, the last line of its log says why.
///
/// # Errors
/// When it cannot start, before there is a log.
pub fn run(settings: Settings) -> Result<ExitCode, Error> {
    telemetry::start(settings.log_format, &settings.log_filter)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(operate(settings));
    // Whatever still runs had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    if let Err(error) = result {
        tracing::error!(%error, "ended");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn operate(settings: Settings) -> Result<(), Error> {
    let shutdown = CancellationToken::new();
    let _signals = shutdown::on_signal(shutdown.clone())?;
    let (readiness, metrics) = (Readiness::default(), Metrics::default());
    let registry = metrics.registry(readiness.clone());
    let started = readiness.waiting_for("the Kubernetes API");
    let admin = admin::start(settings.admin_address, readiness.clone(), Arc::new(registry)).await?;
    print_address(settings.print_address, admin.address);
    tell_start(&settings, admin.address);

    let client = kubernetes::client(&settings).await?;
    let (leadership, mut term) = stand(&settings, &readiness, &metrics).await?;
    let work = async {
        let Some(cluster_id) = cluster_id(&settings, &client, &shutdown).await else { return Ok(()) };
        tracing::info!(cluster_id, "the cluster that this operator stands for");
        let settings = settings.controllers(Identity { cluster_id }, client.default_namespace());
        let (Metrics { controller, calls, .. }, stop) = (metrics, shutdown.clone());
        controller::run(client, settings, controller, calls, started, leadership, stop).await
    };
    tokio::pin!(work);
    let ended = tokio::select! {
        ended = &mut work => ended.map_err(Error::Controllers),
        lost = term.lost() => Err(lost),
        () = shutdown.cancelled() => {
            tracing::info!("stopping: calls in hand may finish");
            tokio::select! {
                lost = term.lost() => Err(lost),
                ended = tokio::time::timeout(settings.graceful_shutdown_timeout, work) => ended.unwrap_or_else(|_| {
                    tracing::warn!("stopped with calls in hand; a restart finds out what became of them");
                    Ok(())
                }).map_err(Error::Controllers),
            }
        }
    };
    term.end().await;
    tracing::info!("stopped");
    ended
}

/// The line that a log begins with: what runs, and how.
fn tell_start(settings: &Settings, admin: std::net::SocketAddr) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %admin,
        watch_namespace = settings.watch_namespace.as_deref().unwrap_or("all namespaces"),
        leader_elect = settings.leader_elect,
        "started"
    );
}

/// Stands for election, if there is one.
async fn stand(
    settings: &Settings,
    readiness: &Readiness,
    metrics: &Metrics,
) -> Result<(Leadership, ElectionTask), Error> {
    let leading = metrics.leading.clone();
    if !settings.leader_elect {
        leading.set(1);
        return Ok((Leadership::always(), ElectionTask::unlimited()));
    }
    // A client of its own: the lease waits behind nothing else.
    let client = kubernetes::client(settings).await?;
    let election = settings.election(client.default_namespace())?;
    let lease = format!("the Lease {}/{}", election.namespace, election.name);
    let lease = readiness.relying_on(lease, settings.readiness_failure_threshold);
    let signs = ElectionTelemetry { leading, lease, metrics: metrics.controller.clone() };
    let leadership = Leadership::contested();
    Ok((leadership.clone(), ElectionTask::begin(Elector::new(client, election, leadership, signs))))
}

/// Longest wait for namespace kube-system.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// The cluster id that was set, or else the uid of namespace kube-system, waited for.
async fn cluster_id(settings: &Settings, client: &Client, shutdown: &CancellationToken) -> Option<String> {
    if let Some(id) = &settings.cluster_id {
        return Some(id.clone());
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    loop {
        let found = tokio::time::timeout(LONGEST_LOOK, namespaces.get("kube-system"));
        let error = match found.await {
            Ok(Ok(namespace)) => match namespace.uid() {
                Some(uid) => return Some(uid),
                None => "it has no uid".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(error, "namespace kube-system cannot be read for its uid; trying again");
        tokio::select! {
            () = tokio::time::sleep(settings.startup_poll_interval) => {}
            () = shutdown.cancelled() => return None,
        }
    }
}

fn print_address(print_address: Option<PrintAddress>, admin: std::net::SocketAddr) {
    if print_address == Some(PrintAddress::Json) {
        let line = serde_json::json!({ "admin": format!("http://{admin}") });
        let mut out = std::io::stdout().lock();
        // Nobody reads it: nobody asked for it either.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
