//! Listens, routes, and ends.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::gate::{self, CloseConnection};
use super::{Config, Shared, apps, control, reads};

/// A sandbox that listens. Ends when dropped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops listening and drops every connection, held ones too.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts a sandbox; it answers when this returns.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(config: Config) -> io::Result<Running> {
    let listener = TcpListener::bind(config.address).await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let task = tokio::spawn(accept(listener, router(Shared::new(config)), stop.clone()));
    Ok(Running { address, stop, task })
}

fn router(shared: Shared) -> Router {
    let mut api = Router::new().route("/v1/regions", get(reads::regions)).route("/v1/health", get(reads::health));
    // The rename of apps to projects left the old paths in force.
    for collection in ["/v1/apps", "/v1/projects"] {
        let one = format!("{collection}/{{appId}}");
        api = api
            .route(collection, get(apps::list).post(apps::create))
            .route(&one, get(apps::read).put(apps::update).delete(apps::delete));
    }
    api.method_not_allowed_fallback(reads::no_such_route)
        .fallback(reads::no_such_route)
        .layer(from_fn_with_state(shared.clone(), gate::pass))
        .merge(control::router())
        .with_state(shared)
}

async fn accept(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, router.clone()));
                }
                Err(error) => tracing::warn!(%error, "connection not accepted"),
            },
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Serves one connection by hand: a fault must be able to close it without a single byte of an answer.
async fn converse(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        let answer = router.call(request);
        async move {
            let Ok(response) = answer.await;
            match response.extensions().get::<CloseConnection>() {
                None => Ok(response),
                Some(CloseConnection) => Err(io::Error::other("closed by a fault rule")),
            }
        }
    });
    // How a connection ends is the caller's affair, and the journal has it.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}
