//! The admin server: is it alive, is it ready, what did it count?

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

use super::Error;
use crate::controller::Readiness;

pub(super) struct Admin {
    /// Where it listens.
    pub(super) address: SocketAddr,
}

/// Starts the server; it ends with the process.
pub(super) async fn start(address: SocketAddr, readiness: Readiness, registry: Arc<Registry>) -> Result<Admin, Error> {
    let unusable = |error| Error::AdminAddress { address, error };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let bound = listener.local_addr().map_err(unusable)?;
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(readiness)
        .route("/metrics", get(metrics).with_state(registry));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the admin server ended");
        }
    });
    Ok(Admin { address: bound })
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    match readiness.missing().as_slice() {
        [] => "ok\n".into_response(),
        missing => {
            let lines: String = missing.iter().map(|what| format!("waiting for {what}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
        }
    }
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
