//! Hostile Management API endpoint: chosen requests get chosen raw answers, and the proxy forwards all other requests.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::{Body, Bytes},
    http::{Response, header},
};
use futures::{StreamExt, stream};

use super::proxy::{FaultPoints, Proxy};

/// A page as from a company proxy or an identity provider.
pub const SIGN_IN_PAGE: &str = "<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>";

/// A raw answer.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    is_cut: bool,
}

impl RawAnswer {
    /// An answer with this status and body, without a content type.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), is_cut: false }
    }

    /// An HTML page.
    pub fn page(status: u16) -> Self {
        Self::new(status, SIGN_IN_PAGE).header("content-type", "text/html")
    }

    /// A redirect to this URL.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, "").header("location", location)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Closes the connection after the body, and promises one more byte.
    pub fn cut(self) -> Self {
        let length = (self.body.len() + 1).to_string();
        Self { is_cut: true, ..self.header(header::CONTENT_LENGTH.as_str(), &length) }
    }

    fn response(self) -> Response<Body> {
        let response = Response::builder().status(self.status);
        let response = self.headers.iter().fold(response, |response, (name, value)| response.header(name, value));
        let body = if self.is_cut {
            let end = stream::once(async {
                // The server sends the body before the error.
                tokio::task::yield_now().await;
                Err(io::Error::other("cut"))
            });
            Body::from_stream(stream::iter([Ok(self.body)]).chain(end))
        } else {
            Body::from(self.body)
        };
        response.body(body).unwrap_or_else(|error| Response::new(Body::from(error.to_string())))
    }
}

/// The chosen answers and all requests of a proxy.
#[derive(Default)]
pub struct RawAnswers(Mutex<State>);

#[derive(Default)]
struct State {
    answers: Vec<Rule>,
    requests: Vec<RecordedRequest>,
}

struct Rule {
    method: String,
    path: String,
    answer: RawAnswer,
    times: usize,
}

/// A request to the Management API.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Method and path, for example `GET /v1/apps/1001`.
    pub call: String,
    /// Request body.
    pub body: Bytes,
    /// Status of a raw answer; `None` if the request was forwarded.
    pub answered: Option<u16>,
}

impl RawAnswers {
    /// Answers the next `times` requests with this method and path. A `*` in the path stands for one segment.
    pub fn add(&self, method: &str, path: &str, answer: RawAnswer, times: usize) {
        self.lock().answers.push(Rule { method: method.to_owned(), path: path.to_owned(), answer, times });
    }

    /// Forwards all further requests.
    pub fn clear(&self) {
        self.lock().answers.clear();
    }

    /// Returns all requests so far.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().requests.clone()
    }

    /// Records a request. Returns the chosen answer, if any.
    pub fn record(&self, method: &str, path: &str, body: &Bytes) -> Option<Response<Body>> {
        let mut state = self.lock();
        let matching = |rule: &&mut Rule| rule.times > 0 && rule.method == method && matches_path(&rule.path, path);
        let rule = state.answers.iter_mut().find(matching);
        let answer = rule.map(|rule| {
            rule.times -= 1;
            rule.answer.clone()
        });
        let answered = answer.as_ref().map(|answer| answer.status);
        state.requests.push(RecordedRequest { call: format!("{method} {path}"), body: body.clone(), answered });
        answer.map(RawAnswer::response)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn matches_path(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(expected, found)| *expected == "*" || expected == found)
}

/// A running hostile endpoint. A drop stops the server.
pub struct HostileEndpoint {
    proxy: Proxy,
    faults: Arc<FaultPoints>,
}

impl HostileEndpoint {
    /// Starts an endpoint that forwards requests without a chosen answer to this URL.
    pub async fn start(upstream: &str) -> Result<Self, String> {
        let faults = FaultPoints::new("");
        Ok(Self { proxy: Proxy::for_management_api(&faults, upstream).await?, faults })
    }

    /// Returns the base URL without a trailing slash.
    pub fn url(&self) -> String {
        self.proxy.url()
    }

    /// Answers all further requests with this method and path. A `*` in the path stands for one segment.
    pub fn answer(&self, method: &str, path: &str, answer: RawAnswer) {
        self.answer_times(method, path, answer, usize::MAX);
    }

    /// Answers the next `times` requests with this method and path.
    pub fn answer_times(&self, method: &str, path: &str, answer: RawAnswer, times: usize) {
        self.faults.answers().add(method, path, answer, times);
    }

    /// Forwards all further requests.
    pub fn forward_all(&self) {
        self.faults.answers().clear();
    }

    /// Returns all requests so far.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.faults.answers().requests()
    }
}
