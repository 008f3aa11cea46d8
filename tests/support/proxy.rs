//! Proxy in front of both APIs. It records the fault points of one object and can block the operator at a fault point.
//!
//! A fault point is a Management API request for apps, or a Kubernetes write to the object under test. Events, Leases
//! and other objects are not fault points. At the selected fault point, the proxy holds the request before the request
//! takes effect, or withholds the response. The proxy then blocks all further requests until
//! [`FaultPoints::end_recording`].

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, Response, StatusCode, header},
};
use kube::Client;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

use super::{hostile::RawAnswers, run_dir::RunDir, sandbox::When};

/// Maximum size of a forwarded body. The largest spicepod has 256 KiB.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// A request of the operator for the object under test: method with route, and the occurrence, from 1.
pub type FaultPoint = (String, usize);

/// Recorded fault points and the selected fault point.
pub struct FaultPoints {
    name: String,
    recording: Mutex<Recording>,
    stopped: watch::Sender<bool>,
    /// Paths of Kubernetes API reads.
    reads: Mutex<Vec<String>>,
    /// Bearer tokens of Management API requests, and their replacements.
    tokens: Mutex<Tokens>,
    /// Raw answers to Management API requests, and all these requests.
    answers: RawAnswers,
}

#[derive(Default)]
struct Tokens {
    seen: BTreeSet<String>,
    replacements: BTreeMap<String, String>,
}

#[derive(Default)]
struct Recording {
    enabled: bool,
    occurrences: BTreeMap<String, usize>,
    points: Vec<FaultPoint>,
    selected: Option<(FaultPoint, When)>,
    /// True if the selected fault point was reached. Later requests are blocked.
    reached: bool,
}

/// Handling of a request.
enum Handling {
    Forward,
    StopAt(When),
    Block,
}

impl FaultPoints {
    /// Creates a disabled recording for the object with this name.
    pub fn new(name: &str) -> Arc<Self> {
        let stopped = watch::Sender::new(false);
        let (recording, reads, tokens) = (Mutex::default(), Mutex::default(), Mutex::default());
        let answers = RawAnswers::default();
        Arc::new(Self { name: name.to_owned(), recording, stopped, reads, tokens, answers })
    }

    /// Replaces `token` with `valid`, a token of the sandbox, in forwarded requests.
    pub fn add_token(&self, token: &str, valid: &str) {
        self.tokens().replacements.insert(token.to_owned(), valid.to_owned());
    }

    /// Returns the paths of the Kubernetes API reads so far.
    pub fn reads(&self) -> Vec<String> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the raw answers to Management API requests.
    pub fn answers(&self) -> &RawAnswers {
        &self.answers
    }

    /// Returns the tokens of the Management API requests so far.
    pub fn seen_tokens(&self) -> BTreeSet<String> {
        self.tokens().seen.clone()
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the token of a request and inserts its replacement.
    fn replace_token(&self, headers: &mut HeaderMap) {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = token.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned) else { return };
        let mut tokens = self.tokens();
        let replacement = tokens.replacements.get(&token).and_then(|valid| format!("Bearer {valid}").parse().ok());
        if let Some(replacement) = replacement {
            headers.insert(header::AUTHORIZATION, replacement);
        }
        tokens.seen.insert(token);
    }

    /// Starts a recording. `selected` is the fault point at which the proxy blocks the operator.
    pub fn start_recording(&self, selected: Option<(FaultPoint, When)>) {
        *self.recording() = Recording { enabled: true, selected, ..Recording::default() };
    }

    /// Ends the recording and forwards all new requests. Held requests remain held.
    pub fn end_recording(&self) {
        *self.recording() = Recording::default();
        self.stopped.send_replace(false);
    }

    /// Returns the recorded fault points in order.
    pub fn points(&self) -> Vec<FaultPoint> {
        self.recording().points.clone()
    }

    /// Waits until the selected fault point is reached.
    pub async fn wait_until_reached(&self) {
        // The sender is a field of `self`, so the wait cannot fail.
        self.stopped.subscribe().wait_for(|stopped| *stopped).await.ok();
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and determines its handling. `call` is `None` for a request that is no fault point.
    fn record_request(&self, call: Option<String>) -> Handling {
        let mut recording = self.recording();
        let Some(call) = call.filter(|_| recording.enabled) else { return Handling::Forward };
        if recording.reached {
            return Handling::Block;
        }
        let occurrence = recording.occurrences.entry(call.clone()).or_default();
        *occurrence += 1;
        let point = (call, *occurrence);
        recording.points.push(point.clone());
        let when = recording.selected.as_ref().filter(|(selected, _)| *selected == point).map(|(_, when)| *when);
        recording.reached = when.is_some();
        when.map_or(Handling::Forward, Handling::StopAt)
    }

    /// Reports the selected fault point and holds the request forever. The test then kills the operator.
    async fn hold_request<T>(&self) -> T {
        self.stopped.send_replace(true);
        pending().await
    }

    /// Returns the method and route of a request that is a fault point.
    fn fault_point(&self, upstream: &Upstream, method: &Method, path: &str) -> Option<String> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (upstream, segments.as_slice()) {
            (Upstream::Management(..), ["v1", "apps" | "projects", rest @ ..]) => {
                let rest = rest.iter().map(|segment| if segment.parse::<u64>().is_ok() { "/{id}" } else { "/{part}" });
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

/// Target of forwarded requests.
#[derive(Clone)]
enum Upstream {
    /// Client and base URL of the Management API.
    Management(reqwest::Client, String),
    /// Client of the Kubernetes API. Its permissions replace the credentials of the request.
    Kubernetes(Client),
}

/// A running proxy. A drop stops the task.
pub struct Proxy {
    address: SocketAddr,
    task: AbortHandle,
}

impl Proxy {
    /// Starts a proxy for the Management API at this URL.
    pub async fn for_management_api(faults: &Arc<FaultPoints>, url: &str) -> Result<Self, String> {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Self::start(faults, Upstream::Management(http.map_err(|e| e.to_string())?, url.to_owned())).await
    }

    /// Starts a proxy for the Kubernetes API of this client.
    pub async fn for_kubernetes_api(faults: &Arc<FaultPoints>, client: Client) -> Result<Self, String> {
        Self::start(faults, Upstream::Kubernetes(client)).await
    }

    /// Returns the base URL without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig for the proxy. The file has no credentials, because the proxy uses those of its client.
    pub fn write_kubeconfig(&self, run: &RunDir) -> Result<PathBuf, String> {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": self.url() } }],
            "users": [{ "name": "operator", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "operator" } }],
        });
        run.write("proxy.kubeconfig", &kubeconfig.to_string())
    }

    async fn start(faults: &Arc<FaultPoints>, upstream: Upstream) -> Result<Self, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let router = Router::new().fallback(handle).with_state((faults.clone(), upstream));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.ok() }).abort_handle();
        Ok(Self { address, task })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(
    State((faults, upstream)): State<(Arc<FaultPoints>, Upstream)>,
    mut request: Request,
) -> Response<Body> {
    if matches!(upstream, Upstream::Management(..)) {
        faults.replace_token(request.headers_mut());
    }
    if *faults.stopped.borrow() {
        return pending().await;
    }
    if matches!(upstream, Upstream::Management(..)) {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, MAX_BODY).await.unwrap_or_default();
        if let Some(answer) = faults.answers.record(parts.method.as_str(), parts.uri.path(), &body) {
            return answer;
        }
        request = Request::from_parts(parts, Body::from(body));
    }
    if matches!(upstream, Upstream::Kubernetes(_)) && request.method() == Method::GET {
        faults.reads.lock().unwrap_or_else(PoisonError::into_inner).push(request.uri().path().to_owned());
    }
    let point = faults.fault_point(&upstream, request.method(), request.uri().path());
    match faults.record_request(point) {
        Handling::Forward => forward(&upstream, request).await,
        Handling::Block => pending().await,
        Handling::StopAt(When::Before) => faults.hold_request().await,
        Handling::StopAt(When::After) => {
            let response = forward(&upstream, request).await;
            // The request has taken effect at the end of the response.
            to_bytes(response.into_body(), MAX_BODY).await.ok();
            faults.hold_request().await
        }
    }
}

async fn forward(upstream: &Upstream, request: Request) -> Response<Body> {
    let response = async {
        let (mut parts, body) = request.into_parts();
        let body: Bytes = to_bytes(body, MAX_BODY).await.map_err(|e| e.to_string())?;
        for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        match upstream {
            Upstream::Management(http, base) => {
                let request = http.request(parts.method, format!("{base}{path}")).headers(parts.headers).body(body);
                let response: Response<reqwest::Body> = request.send().await.map_err(|e| format!("{e:?}"))?.into();
                Ok(response.map(Body::new))
            }
            Upstream::Kubernetes(client) => {
                parts.headers.remove(header::AUTHORIZATION);
                parts.uri = path.parse().map_err(|e| format!("{path}: {e}"))?;
                let request = Request::from_parts(parts, kube::client::Body::from(body));
                Ok::<_, String>(client.send(request).await.map_err(|e| e.to_string())?.map(Body::new))
            }
        }
    };
    response.await.unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(error));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}
