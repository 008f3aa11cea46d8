//! The operator process: settings, logs, admin server, leader election, start and shutdown.

mod admin;
mod error;
mod kubernetes;
mod lease;
mod metrics;
mod response_filter;
mod settings;
mod shutdown;
mod telemetry;

pub use error::OperatorError;
pub use lease::LeaseLossReason;
pub use settings::OperatorSettings;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Identity, Leadership, Readiness, format_kube_error, with_timeout};
use lease::{ElectionTask, ElectionTelemetry, Elector};
use metrics::ProcessMetrics;
use settings::PrintAddress;

/// Time for tasks that still run after the shutdown.
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(100);

/// Runs the operator until SIGTERM or SIGINT. If the operator stops for another reason, the exit code is 1 and the last
/// log line contains the reason.
///
/// # Errors
/// The operator cannot start its runtime or its logs.
pub fn run(settings: OperatorSettings) -> Result<ExitCode, OperatorError> {
    telemetry::start(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run_async(settings));
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIMEOUT);
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            log_exit(&error);
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn run_async(settings: OperatorSettings) -> Result<(), OperatorError> {
    let shutdown = CancellationToken::new();
    let _signals = shutdown::on_signal(shutdown.clone())?;
    let (readiness, metrics) = (Readiness::default(), ProcessMetrics::default());
    let registry = metrics.registry(readiness.clone());
    let startup_gate = readiness.add_gate("the Kubernetes API");
    let admin_address = admin::start(settings.general.admin_address, readiness.clone(), Arc::new(registry)).await?;
    print_address(settings.general.print_address, admin_address);
    log_startup(&settings, admin_address);

    let client = kubernetes::client(&settings).await?;
    let (leadership, mut election) = start_leader_election(&settings, &readiness, &metrics).await?;
    let controllers = async {
        let Some(cluster_id) = cluster_id(&settings, &client, &shutdown).await else { return Ok(()) };
        tracing::info!(cluster_id, "Using cluster ID");
        let settings = settings.controllers(Identity { cluster_id }, client.default_namespace());
        let (ProcessMetrics { controller, management, .. }, stop) = (metrics, shutdown.clone());
        controller::run(client, settings, controller, management, startup_gate, leadership, stop).await
    };
    tokio::pin!(controllers);
    let result = tokio::select! {
        result = &mut controllers => result.map_err(OperatorError::Controllers),
        lost = election.wait_for_loss() => Err(lost),
        () = shutdown.cancelled() => {
            tracing::info!("Shutting down; waiting for in-flight requests");
            tokio::select! {
                lost = election.wait_for_loss() => Err(lost),
                result = tokio::time::timeout(settings.general.graceful_shutdown_timeout, controllers) => {
                    result.unwrap_or_else(|_| {
                        // After the restart the operator reads the outcome of these requests.
                        tracing::warn!("Shutdown timeout exceeded with requests in flight");
                        Ok(())
                    }).map_err(OperatorError::Controllers)
                }
            }
        }
    };
    election.stop().await;
    tracing::info!("Stopped");
    result
}

/// Writes the first log line: the version and the main settings.
fn log_startup(settings: &OperatorSettings, admin_address: SocketAddr) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %admin_address,
        watch_namespace = settings.general.watch_namespace.as_deref().unwrap_or("all namespaces"),
        leader_elect = settings.leader_election.leader_elect,
        "Started"
    );
}

/// Writes the last log line of a process that stops because of an error.
fn log_exit(error: &OperatorError) {
    match error {
        OperatorError::LeaseLost { lease, reason } => {
            tracing::error!(lease, reason = reason.label(), error = %reason, "Exiting: lost leader lease");
        }
        error => tracing::error!(%error, "Exiting"),
    }
}

/// Starts the leader election if `--leader-elect` is set.
async fn start_leader_election(
    settings: &OperatorSettings,
    readiness: &Readiness,
    metrics: &ProcessMetrics,
) -> Result<(Leadership, ElectionTask), OperatorError> {
    let is_leader = metrics.is_leader.clone();
    if !settings.leader_election.leader_elect {
        is_leader.set(1);
        return Ok((Leadership::always(), ElectionTask::disabled()));
    }
    // A separate client, so that no other request delays the lease.
    let client = kubernetes::client(settings).await?;
    let election = settings.election(client.default_namespace())?;
    let check_name = format!("the Lease {}", election.lease());
    let lease_check = readiness.register_check(check_name, settings.general.readiness_failure_threshold);
    let telemetry = ElectionTelemetry { is_leader, lease_check, metrics: metrics.controller.clone() };
    let leadership = Leadership::requires_lease();
    let elector = Elector::new(client, election, leadership.clone(), telemetry);
    Ok((leadership, ElectionTask::spawn(elector)))
}

/// The cluster ID of the settings, or the UID of namespace kube-system. Retries until shutdown.
async fn cluster_id(settings: &OperatorSettings, client: &Client, shutdown: &CancellationToken) -> Option<String> {
    if let Some(id) = &settings.general.cluster_id {
        return Some(id.clone());
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    loop {
        let error = match with_timeout(namespaces.get("kube-system")).await {
            Ok(namespace) => match namespace.uid() {
                Some(uid) => return Some(uid),
                None => "the namespace has no UID".to_owned(),
            },
            Err(error) => format_kube_error(&error),
        };
        tracing::warn!(error, name = "kube-system", "Failed to read UID of namespace; retrying");
        tokio::select! {
            () = tokio::time::sleep(settings.general.startup_poll_interval) => {}
            () = shutdown.cancelled() => return None,
        }
    }
}

/// Prints the address of the admin server, so that a parent process can find a free port.
fn print_address(print_address: Option<PrintAddress>, admin_address: SocketAddr) {
    if print_address == Some(PrintAddress::Json) {
        let line = serde_json::json!({ "admin": format!("http://{admin_address}") });
        let mut out = std::io::stdout().lock();
        // A closed standard output does not stop the operator.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
