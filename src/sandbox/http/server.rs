//! Listener and connections.
//!
//! The server uses hyper directly, because `axum::serve` cannot close a connection without a response.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::sandbox::api;
use crate::sandbox::http::admin;
use crate::sandbox::http::middleware;
use crate::sandbox::http::middleware::CloseConnection;
use crate::sandbox::http::tls::{ServerTls, TlsError};
use crate::sandbox::settings::config::{ConnectionInfo, SandboxConfig};
use crate::sandbox::state::shared::Sandbox;

/// Maximum number of open connections, enough for a few thousand delayed requests. Further connections wait.
const MAX_CONNECTIONS: usize = 4096;
/// Time limit for requests in flight at shutdown. Delayed requests end at once, so only slow clients exceed the limit.
const GRACE_PERIOD: Duration = Duration::from_secs(1);
/// Pause after a failed accept, which usually means that no file descriptors are free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Reason why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use or does not belong to this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Requested address.
        address: SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The TLS certificate could not be created.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The state file or the seed is invalid.
    #[error("{0}")]
    State(String),
}

/// A running server. A drop stops the server.
pub struct RunningSandbox {
    address: SocketAddr,
    connection_info: ConnectionInfo,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl RunningSandbox {
    /// Returns the listen address with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the base URL without a trailing slash.
    pub fn url(&self) -> &str {
        &self.connection_info.url
    }

    /// Returns the address and credentials.
    pub fn connection_info(&self) -> &ConnectionInfo {
        &self.connection_info
    }

    /// Stops the server. Closes delayed requests, and gives other requests time to finish. Returns when the server has
    /// stopped.
    pub async fn shutdown(self) {
        drop(self.stop);
        // An error means that the task was aborted or panicked. Either way the server has stopped.
        let _ = self.task.await;
    }
}

/// Starts a server. The server listens when this function returns.
pub async fn serve(config: SandboxConfig) -> Result<RunningSandbox, StartError> {
    let listen_error = |source| StartError::Listen { address: config.address, source };
    let listener = TcpListener::bind(config.address).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let tls = config.tls.as_deref().map(|names| ServerTls::new(address.ip(), names)).transpose()?;
    let sandbox = Sandbox::new(&config).map_err(StartError::State)?;
    let router = middleware::wrap(api::router(config.switches.profile), &sandbox)
        .nest("/sandbox", admin::router())
        .with_state(Arc::clone(&sandbox));
    let shutdown = sandbox.shutdown.clone();
    let connection_info = ConnectionInfo {
        url: format!("{}://{address}", if tls.is_some() { "https" } else { "http" }),
        ca: tls.as_ref().map(|tls| tls.authority.clone()),
        organizations: config.organizations,
        credentials: sandbox.state().credentials.list(),
    };
    let task = tokio::spawn(accept_connections(listener, tls.map(|tls| tls.acceptor), router, shutdown.clone()));
    Ok(RunningSandbox { address, connection_info, task, stop: shutdown.drop_guard() })
}

/// Accepts connections until shutdown. The drop of the set closes connections that exceed the grace period.
async fn accept_connections(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    shutdown: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, tls.clone(), router.clone(), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "Failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE_PERIOD, ended).await.is_err() {
        tracing::debug!("Closed connections that exceeded the grace period");
    }
}

async fn serve_connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, shutdown: CancellationToken) {
    // Without this option, small responses wait for acknowledgements of the client. A failure is harmless.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve_http(stream, router, shutdown).await };
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        () = shutdown.cancelled() => return,
    };
    match accepted {
        Ok(stream) => serve_http(stream, router, shutdown).await,
        Err(error) => tracing::debug!(%error, "TLS handshake failed"),
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    shutdown: CancellationToken,
) {
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| close_if_marked(routes.call(request)));
    // No idle timeout: a close during the reuse of an idle connection would look like an injected fault.
    let mut serving = std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "Connection closed early");
    }
}

/// Returns an error for a marked response, because hyper closes the connection of a failing service without a response.
async fn close_if_marked(
    pending: impl Future<Output = Result<Response, Infallible>>,
) -> Result<Response, ConnectionClosed> {
    let Ok(response) = pending.await;
    if response.extensions().get::<CloseConnection>().is_some() { Err(ConnectionClosed) } else { Ok(response) }
}

/// Error that makes hyper close the connection.
#[derive(Debug, thiserror::Error)]
#[error("connection closed by a fault rule")]
struct ConnectionClosed;
