//! Connections, from the listener to the end of the server.
//!
//! They are served by hyper itself: a fault closes a connection without an answer, which `axum::serve` has no way to say.

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

/// So many connections are served at once; more wait for their turn. Enough for a few thousand requests held at once.
const MAX_CONNECTIONS: usize = 4096;
/// So long a request in flight may go on after the server was told to stop. Held ones end at once, and no handler waits,
/// so only a client that is slow to send or to read is ever cut off.
const GRACE_PERIOD: Duration = Duration::from_secs(1);
/// How long to wait after a connection could not be accepted; most often there are no free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no certificate to speak TLS with.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The state file or the seed is of no use.
    #[error("{0}")]
    State(String),
}

/// A server that listens. Dropping it stops it.
pub struct RunningSandbox {
    address: SocketAddr,
    connection_info: ConnectionInfo,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl RunningSandbox {
    /// Where it listens, with the port it really has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.connection_info.url
    }

    /// How to use it.
    pub fn connection_info(&self) -> &ConnectionInfo {
        &self.connection_info
    }

    /// Stops it: held requests are closed, others get a moment to end. It is over when this returns.
    pub async fn shutdown(self) {
        drop(self.stop);
        // An error would mean that the task was aborted or panicked; either way it is over.
        let _ = self.task.await;
    }
}

/// Starts a server. It listens when this returns.
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

/// Serves connections until told to stop. Dropping the set cuts off what outlives the grace.
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
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE_PERIOD, ended).await.is_err() {
        tracing::debug!("connections outlived the grace and are cut off");
    }
}

async fn serve_connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, shutdown: CancellationToken) {
    // Without it small answers wait for the client's acknowledgement; a stream that refuses it still works.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve_http(stream, router, shutdown).await };
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        () = shutdown.cancelled() => return,
    };
    match accepted {
        Ok(stream) => serve_http(stream, router, shutdown).await,
        Err(error) => tracing::debug!(%error, "a client does not want to speak TLS with this server"),
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    shutdown: CancellationToken,
) {
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| close_if_marked(routes.call(request)));
    // No timer, so no limit on idle connections: one that closes just when a client reuses it looks like a fault that
    // nobody asked for.
    let mut serving = std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// hyper closes the connection of a service that fails, without sending anything.
async fn close_if_marked(
    pending: impl Future<Output = Result<Response, Infallible>>,
) -> Result<Response, ConnectionClosed> {
    let Ok(response) = pending.await;
    if response.extensions().get::<CloseConnection>().is_some() { Err(ConnectionClosed) } else { Ok(response) }
}

/// The error that closes a connection.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct ConnectionClosed;
