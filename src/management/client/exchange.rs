//! One request on the wire: sent, sent again where that is allowed, and its answer judged.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::{Client, Permit};
use crate::management::auth::Token;
use crate::management::budget::Limits as RateLimits;
use crate::management::types::{Failure, FailureKind, SecretValue};
use crate::management::{Answer, Stage, metrics, redact, retry};

/// Names the organization that a request acts on (contract section 2.3).
const ORGANIZATION_HEADER: &str = "X-Org-Name";

/// A body longer than this is refused unread: the largest spicepod is 256 KiB, and a detail holds one.
const LARGEST_BODY: usize = 8 * 1024 * 1024;

/// One request, as it is sent each time that it is.
pub(super) struct Request {
    method: Method,
    /// The path as it is documented, for logs, metrics and messages.
    route: &'static str,
    /// The segments of the path after `/v1`.
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    /// What must not come back in any message, however short it is.
    secret: Option<String>,
}

impl Request {
    pub(super) fn new<const N: usize>(method: Method, route: &'static str, path: [&str; N]) -> Self {
        let path = path.map(str::to_owned).to_vec();
        Self { method, route, path, query: Vec::new(), body: None, secret: None }
    }

    pub(super) fn get<const N: usize>(route: &'static str, path: [&str; N]) -> Self {
        Self::new(Method::GET, route, path)
    }

    pub(super) fn query<const N: usize>(self, query: [(&'static str, String); N]) -> Self {
        Self { query: query.to_vec(), ..self }
    }

    pub(super) fn body(self, body: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_value(body).map_err(|error| {
            Failure::local(FailureKind::Invalid, format!("{}: cannot encode the body: {error}", self.name()))
        })?;
        Ok(Self { body: Some(body), ..self })
    }

    pub(super) fn secret(self, value: &SecretValue) -> Self {
        Self { secret: Some(value.expose().to_owned()), ..self }
    }

    fn is_read(&self) -> bool {
        self.method == Method::GET
    }

    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.route)
    }
}

impl Client {
    /// Sends a request and decodes a good answer.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        request: Request,
        permit: Permit,
    ) -> Result<Answer<T>, Failure> {
        let answer = self.send(&request, permit).await?;
        let value = serde_json::from_str(&answer.value).map_err(|_| {
            let message =
                format!("{}: the answer is not what the Management API is documented to send", request.name());
            Failure::local(FailureKind::Unexpected, message)
        })?;
        Ok(Answer { value, begun: answer.begun })
    }

    /// Sends a request, a read again if need be, and returns the text of a good answer.
    pub(super) async fn send(&self, request: &Request, mut permit: Permit) -> Result<Answer<String>, Failure> {
        let (deadline, mut attempt) = (Instant::now() + self.retry_within, 1);
        loop {
            let (priority, stage, anonymous) = (permit.priority, permit.stage, permit.token.is_none());
            // Boxed: most visits wait for their turn, and need no room meanwhile for what they do once it has come.
            let failure = match Box::pin(self.send_accepted(request, permit)).await {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let outage = retry::is_outage(&failure);
            let repeatable = request.is_read() && (!outage || self.answered.load(Ordering::Relaxed));
            let wait = retry::wait(&failure, attempt, self.budget.paused()).filter(|_| repeatable);
            let next = match wait.filter(|wait| Instant::now() + *wait < deadline) {
                Some(wait) => {
                    tokio::time::timeout_at(deadline, async {
                        tokio::time::sleep(wait).await;
                        if anonymous { self.anonymous(priority).await } else { self.permit(priority, stage).await }
                    })
                    .await
                }
                None => Ok(Err(failure.clone())),
            };
            let Ok(Ok(next)) = next else {
                self.answered.store(!outage, Ordering::Relaxed);
                return Err(failure);
            };
            (permit, attempt) = (next, attempt + 1);
        }
    }

    /// Sends one request and returns the text of a good answer. A read whose token is refused is sent once more with a
    /// fresh one, where there can be one; a write is left to the next visit, because what it rests on grows old.
    async fn send_accepted(&self, request: &Request, permit: Permit) -> Result<Answer<String>, Failure> {
        let (token, priority) = (permit.token.clone(), permit.priority);
        let result = self.send_once(request, permit).await;
        if !self.worth_another_token(token, &result).await {
            return result;
        }
        if !request.is_read() {
            let words = "the access token was refused; trying again with a fresh one";
            return Err(Failure::local(FailureKind::Withdrawn, words));
        }
        let permit = self.permit(priority, Stage::Look).await?;
        let token = permit.token.clone();
        let result = self.send_once(request, permit).await;
        self.worth_another_token(token, &result).await;
        result
    }

    /// Notes whether a token was accepted. Says whether the request is worth another try with a fresh one.
    async fn worth_another_token(&self, token: Option<Arc<Token>>, result: &Result<Answer<String>, Failure>) -> bool {
        let Some(token) = token else { return false };
        match result {
            Err(failure) if failure.kind == FailureKind::Unauthorized => self.tokens.refused(&token).await,
            Ok(_) => {
                token.accept();
                false
            }
            Err(_) => false,
        }
    }

    /// Sends one request and returns the text of a good answer.
    async fn send_once(&self, request: &Request, permit: Permit) -> Result<Answer<String>, Failure> {
        let Request { method, route, path, query, body, secret } = request;
        let mut http = self.http.request(method.clone(), self.url(path)?);
        http = http.header(header::ACCEPT, "application/json").query(query);
        if let Some(token) = &permit.token {
            http = http.bearer_auth(token.expose());
            http = self.organization.iter().fold(http, |http, name| http.header(ORGANIZATION_HEADER, name));
        }
        if let Some(body) = body {
            http = http.json(body);
        }
        let mut sent = body.as_ref().map(redact::strings_in).unwrap_or_default();
        sent.extend(permit.token.as_ref().map(|token| token.expose()));
        let (status, result) = self.exchange(http, &sent).await;
        let outcome = metrics::outcome(status, &result);
        tracing::debug!(%method, route, outcome, "management api call");
        self.metrics.sent(method.as_str(), route, outcome);
        match result {
            Ok(value) => Ok(Answer { value, begun: permit.leave.granted }),
            Err(failure) if secret.as_ref().is_some_and(|secret| redact::tells(&failure.message, secret)) => {
                let message = format!("{}: refused, in words that hold what was sent", request.name());
                Err(Failure { message, ..failure })
            }
            Err(failure) => Err(Failure { message: format!("{}: {}", request.name(), failure.message), ..failure }),
        }
    }

    /// The status code of the answer, if there was one, and the text of a good answer.
    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        sent: &[&str],
    ) -> (Option<StatusCode>, Result<String, Failure>) {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return (None, Err(transport(&error))),
        };
        let status = response.status();
        let limits = RateLimits::of(response.headers(), Timestamp::now());
        self.budget.heard(status, &limits);
        let result = match text(response).await {
            Ok(text) if status.is_success() => Ok(text),
            Ok(text) => Err(refusal(status, limits.retry_after, &text, sent)),
            Err(failure) => Err(failure),
        };
        (Some(status), result)
    }

    fn url(&self, path: &[String]) -> Result<Url, Failure> {
        // These would lead to another path than is meant.
        if let Some(segment) = path.iter().find(|segment| ["", ".", ".."].contains(&segment.as_str())) {
            return Err(Failure::local(FailureKind::Invalid, format!("{segment:?} is no name")));
        }
        let mut url = self.base.clone();
        let unusable = || Failure::local(FailureKind::Invalid, "endpoint cannot be a base URL");
        url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().push("v1").extend(path);
        Ok(url)
    }
}

/// The body of an answer.
async fn text(mut response: reqwest::Response) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if bytes.len() + chunk.len() > LARGEST_BODY {
            return Err(Failure::local(FailureKind::Unexpected, "the answer is longer than 8 MiB"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(in crate::management) fn transport(error: &reqwest::Error) -> Failure {
    // The library's own text holds the URL and at times a header. The innermost cause is the system's, and holds neither.
    let mut innermost = error.source();
    while let Some(cause) = innermost.and_then(Error::source) {
        innermost = Some(cause);
    }
    let cause = innermost.map_or(String::new(), |cause| format!(": {cause}"));
    let host = error.url().and_then(reqwest::Url::host_str).unwrap_or("the service");
    if error.is_connect() {
        return Failure::local(FailureKind::Connect, format!("cannot connect to {host}{cause}"));
    }
    if error.is_timeout() {
        return Failure::local(FailureKind::Interrupted, format!("no answer of {host} in time"));
    }
    Failure::local(FailureKind::Interrupted, format!("the connection to {host} broke before the answer{cause}"))
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &str, sent: &[&str]) -> Failure {
    let (code, words, json) = redact::error_body(body, sent);
    let kind = match status.as_u16() {
        400 | 413 | 422 => FailureKind::Invalid,
        401 => FailureKind::Unauthorized,
        403 => FailureKind::Forbidden,
        404 => FailureKind::NotFound { json },
        409 => FailureKind::Conflict,
        429 => FailureKind::Throttled { retry_after },
        500..=599 => FailureKind::Server,
        _ => FailureKind::Unexpected,
    };
    let message = if words.is_empty() { format!("{status}") } else { format!("{status}: {words}") };
    Failure { kind, code, message }
}
