//! A proxy in front of both APIs that counts what the operator does for one object, and can stop the env at any of it.
//!
//! A point is a Management API request about apps, or a Kubernetes write to the object under test; events, leases and
//! other objects pass. At the point that is chosen the request is held, either before it is applied or with its answer
//! withheld, and from then on nothing passes at all: whatever the operator does next, it did not do before it was killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, Response, StatusCode, header},
};
use kube::Client;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

use super::sandbox::When;

/// Bodies that pass are no larger; the largest spicepod is 256 KiB.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// A call of the operator for the object under test: method, route and the how manieth of these it is, from 1.
pub type FaultPoint = (String, usize);

/// What is counted, and where the env stops.
pub struct FaultPoints {
    name: String,
    inner: Mutex<Inner>,
    stopped: watch::Sender<bool>,
    /// Paths of the Kubernetes API that were read.
    reads: Mutex<Vec<String>>,
    /// Bearer tokens that came to the Management API, and what they are passed on as.
    bearers: Mutex<Bearers>,
}

#[derive(Default)]
struct Bearers {
    seen: BTreeSet<String>,
    passed_on_as: BTreeMap<String, String>,
}

#[derive(Default)]
struct Inner {
    counts: bool,
    occurrences: BTreeMap<String, usize>,
    points: Vec<FaultPoint>,
    cut: Option<(FaultPoint, When)>,
    /// Whether the cut was reached: what comes after it, while it is being applied, comes too late.
    closed: bool,
}

/// What becomes of a request.
enum Entry {
    Passes,
    Stops(When),
    IsHeld,
}

impl FaultPoints {
    /// A faults for the object of this name, with everything passing uncounted.
    pub fn new(name: &str) -> Arc<Self> {
        let stopped = watch::Sender::new(false);
        let (inner, reads, bearers) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { name: name.to_owned(), inner, stopped, reads, bearers })
    }

    /// Makes a token as good as another one, whose bearer the sandbox knows.
    pub fn accept(&self, token: &str, known: &str) {
        self.bearers().passed_on_as.insert(token.to_owned(), known.to_owned());
    }

    /// The paths of the Kubernetes API that were read so far.
    pub fn reads(&self) -> Vec<String> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The tokens that came to the Management API.
    pub fn tokens_seen(&self) -> BTreeSet<String> {
        self.bearers().seen.clone()
    }

    fn bearers(&self) -> MutexGuard<'_, Bearers> {
        self.bearers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the token of a request, and puts in the one it is as good as.
    fn translate(&self, headers: &mut HeaderMap) {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = token.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned) else { return };
        let mut bearers = self.bearers();
        let known = bearers.passed_on_as.get(&token).and_then(|known| format!("Bearer {known}").parse().ok());
        if let Some(known) = known {
            headers.insert(header::AUTHORIZATION, known);
        }
        bearers.seen.insert(token);
    }

    /// Counts from now on, and stops the env at a point.
    pub fn count(&self, cut: Option<(FaultPoint, When)>) {
        *self.inner() = Inner { counts: true, cut, ..Inner::default() };
    }

    /// Lets everything pass, uncounted. What was held stays so.
    pub fn open(&self) {
        *self.inner() = Inner::default();
        self.stopped.send_replace(false);
    }

    /// The points that were counted, in their order.
    pub fn points(&self) -> Vec<FaultPoint> {
        self.inner().points.clone()
    }

    /// Returns when the env has stopped.
    pub async fn stopped(&self) {
        // The sender is in `self`.
        self.stopped.subscribe().wait_for(|stopped| *stopped).await.ok();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the env stops with this request, and when.
    fn enters(&self, what: Option<String>) -> Entry {
        let mut inner = self.inner();
        let Some(what) = what.filter(|_| inner.counts) else { return Entry::Passes };
        if inner.closed {
            return Entry::IsHeld;
        }
        let occurrence = inner.occurrences.entry(what.clone()).or_default();
        *occurrence += 1;
        let point = (what, *occurrence);
        inner.points.push(point.clone());
        let when = inner.cut.as_ref().filter(|(cut, _)| *cut == point).map(|(_, when)| *when);
        inner.closed = when.is_some();
        when.map_or(Entry::Passes, Entry::Stops)
    }

    /// Stops the env. Never returns: who is told of a stop is killed.
    async fn stop<T>(&self) -> T {
        self.stopped.send_replace(true);
        pending().await
    }

    /// What a request is called, if it is a point.
    fn point_of(&self, to: &Upstream, method: &Method, path: &str) -> Option<String> {
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (to, words.as_slice()) {
            (Upstream::Management(..), ["v1", "apps" | "projects", rest @ ..]) => {
                let rest = rest.iter().map(|word| if word.parse::<u64>().is_ok() { "/{id}" } else { "/{part}" });
                Some(format!("{method} /v1/apps{}", rest.collect::<String>()))
            }
            (Upstream::Kubernetes(_), ["apis", "cloud.spice.ai", _, "namespaces", _, kind, name, rest @ ..])
                if method != Method::GET && *name == self.name =>
            {
                Some(format!("{method} {}", [&[*kind], rest].concat().join("/")))
            }
            _ => None,
        }
    }
}

/// To where a proxy passes requests on.
#[derive(Clone)]
enum Upstream {
    /// Base URL of a Management API.
    Management(reqwest::Client, String),
    /// With the rights of the client, whatever the request came with.
    Kubernetes(Client),
}

/// A running proxy. Ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    task: AbortHandle,
}

impl Proxy {
    /// In front of the Management API at this URL.
    pub async fn of_management(faults: &Arc<FaultPoints>, url: &str) -> Result<Self, String> {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Self::start(faults, Upstream::Management(http.map_err(|e| e.to_string())?, url.to_owned())).await
    }

    /// In front of the Kubernetes API that this client reaches.
    pub async fn of_kubernetes(faults: &Arc<FaultPoints>, client: Client) -> Result<Self, String> {
        Self::start(faults, Upstream::Kubernetes(client)).await
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig that leads here. The proxy has the rights of its client, and needs no others.
    pub fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": self.url() } }],
            "users": [{ "name": "operator", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "operator" } }],
        })
    }

    async fn start(faults: &Arc<FaultPoints>, upstream: Upstream) -> Result<Self, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let router = Router::new().fallback(pass).with_state((faults.clone(), upstream));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.ok() }).abort_handle();
        Ok(Self { address, task })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State((faults, upstream)): State<(Arc<FaultPoints>, Upstream)>, mut request: Request) -> Response<Body> {
    if matches!(upstream, Upstream::Management(..)) {
        faults.translate(request.headers_mut());
    }
    if *faults.stopped.borrow() {
        return pending().await;
    }
    if matches!(upstream, Upstream::Kubernetes(_)) && request.method() == Method::GET {
        faults.reads.lock().unwrap_or_else(PoisonError::into_inner).push(request.uri().path().to_owned());
    }
    let point = faults.point_of(&upstream, request.method(), request.uri().path());
    match faults.enters(point) {
        Entry::Passes => forward(&upstream, request).await,
        Entry::IsHeld => pending().await,
        Entry::Stops(When::Before) => faults.stop().await,
        Entry::Stops(When::After) => {
            let answer = forward(&upstream, request).await;
            // To its end: it is applied.
            to_bytes(answer.into_body(), LARGEST_BODY).await.ok();
            faults.stop().await
        }
    }
}

async fn forward(upstream: &Upstream, request: Request) -> Response<Body> {
    let answer = async {
        let (mut parts, body) = request.into_parts();
        let body: Bytes = to_bytes(body, LARGEST_BODY).await.map_err(|e| e.to_string())?;
        for ours in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
            parts.headers.remove(ours);
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        match upstream {
            Upstream::Management(http, base) => {
                let request = http.request(parts.method, format!("{base}{path}")).headers(parts.headers).body(body);
                let answer: Response<reqwest::Body> = request.send().await.map_err(|e| format!("{e:?}"))?.into();
                Ok(answer.map(Body::new))
            }
            Upstream::Kubernetes(client) => {
                parts.headers.remove(header::AUTHORIZATION);
                parts.uri = path.parse().map_err(|e| format!("{path}: {e}"))?;
                let request = Request::from_parts(parts, kube::client::Body::from(body));
                Ok::<_, String>(client.send(request).await.map_err(|e| e.to_string())?.map(Body::new))
            }
        }
    };
    answer.await.unwrap_or_else(|error| {
        let mut answer = Response::new(Body::from(error));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        answer
    })
}
