//! Admin server: liveness, readiness and metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::OperatorError;
use crate::controller::Readiness;

/// Content type of the Prometheus client's text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Starts the server and returns the address that it listens on. The server runs until the process exits.
pub(super) async fn start(
    address: SocketAddr,
    readiness: Readiness,
    registry: Arc<Registry>,
) -> Result<SocketAddr, OperatorError> {
    let cannot_listen = |error| OperatorError::AdminAddress { address, error };
    let listener = TcpListener::bind(address).await.map_err(cannot_listen)?;
    let bound_address = listener.local_addr().map_err(cannot_listen)?;
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(metrics).with_state(registry));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "Admin server failed");
        }
    });
    Ok(bound_address)
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    match readiness.unready_reasons().as_slice() {
        [] => "ok\n".into_response(),
        reasons => {
            let lines: String = reasons.iter().map(|reason| format!("waiting for {reason}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
        }
    }
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
