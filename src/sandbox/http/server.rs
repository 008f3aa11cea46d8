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
use crate::sandbox::http::tls::{Tls, TlsError};
use crate::sandbox::settings::config::{Announcement, Config};
use crate::sandbox::state::shared::Sandbox;

/// So many connections are served at once; more wait for their turn. Enough for a few thousand requests held at once.
const MAX_CONNECTIONS: usize = 4096;
/// So long a request in flight may go on after the server was told to stop. Held ones end at once, and no handler waits,
/// so only a client that is slow to send or to read is ever cut off.
const GRACE: Duration = Duration::from_secs(1);
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
pub struct Running {
    address: SocketAddr,
    announcement: Announcement,
    serving: JoinHandle<()>,
    stop: DropGuard,
}

impl Running {
    /// Where it listens, with the port it really has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.announcement.url
    }

    /// How to use it.
    pub fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// Stops it: held requests are closed, others get a moment to end. It is over when this returns.
    pub async fn shutdown(self) {
        drop(self.stop);
        // An error would mean that the task was aborted or panicked; either way it is over.
        let _ = self.serving.await;
    }
}

/// Starts a server. It listens when this returns.
pub async fn serve(config: Config) -> Result<Running, StartError> {
    let refused = |source| StartError::Listen { address: config.address, source };
    let listener = TcpListener::bind(config.address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let tls = config.tls.as_deref().map(|names| Tls::new(address.ip(), names)).transpose()?;
    let sandbox = Sandbox::new(&config).map_err(StartError::State)?;
    let router = middleware::guard(api::router(config.switches.profile), &sandbox)
        .nest("/sandbox", admin::router())
        .with_state(Arc::clone(&sandbox));
    let stopping = sandbox.stopping.clone();
    let announcement = Announcement {
        url: format!("{}://{address}", if tls.is_some() { "https" } else { "http" }),
        ca: tls.as_ref().map(|tls| tls.authority.clone()),
        organizations: config.organizations,
        credentials: sandbox.kept().credentials.list(),
    };
    let serving = tokio::spawn(accept(listener, tls.map(|tls| tls.acceptor), router, stopping.clone()));
    Ok(Running { address, announcement, serving, stop: stopping.drop_guard() })
}

/// Serves connections until told to stop. Dropping the set cuts off what outlives the grace.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, stopping: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopping.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, tls.clone(), router.clone(), stopping.clone()));
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
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::debug!("connections outlived the grace and are cut off");
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, stopping: CancellationToken) {
    // Without it small answers wait for the client's acknowledgement; a stream that refuses it still works.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return converse(stream, router, stopping).await };
    let greeted = tokio::select! {
        greeted = tls.accept(stream) => greeted,
        () = stopping.cancelled() => return,
    };
    match greeted {
        Ok(stream) => converse(stream, router, stopping).await,
        Err(error) => tracing::debug!(%error, "a client does not want to speak TLS with this server"),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    stopping: CancellationToken,
) {
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| answer_or_close(routes.call(request)));
    // No timer, so no limit on idle connections: one that closes just when a client reuses it looks like a fault that
    // nobody asked for.
    let mut serving = std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// hyper closes the connection of a service that fails, without sending anything.
async fn answer_or_close(answering: impl Future<Output = Result<Response, Infallible>>) -> Result<Response, Closed> {
    let Ok(response) = answering.await;
    if response.extensions().get::<CloseConnection>().is_some() { Err(Closed) } else { Ok(response) }
}

/// The error that closes a connection.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;
