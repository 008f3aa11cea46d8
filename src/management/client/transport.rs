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
use crate::management::rate_limit::Limits as RateLimits;
use crate::management::types::{ApiError, ErrorKind, SecretValue};
use crate::management::{AccessMode, ApiResponse, metrics, redact, retry};

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

    pub(super) fn body(self, body: &impl Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_value(body).map_err(|error| {
            ApiError::local(ErrorKind::Invalid, format!("{}: cannot encode the body: {error}", self.name()))
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
    ) -> Result<ApiResponse<T>, ApiError> {
        let answer = self.send(&request, permit).await?;
        let value = serde_json::from_str(&answer.value).map_err(|_| {
            let message =
                format!("{}: the answer is not what the Management API is documented to send", request.name());
            ApiError::local(ErrorKind::InvalidResponse, message)
        })?;
        Ok(ApiResponse { value, started_at: answer.started_at })
    }

    /// Sends a request, a read again if need be, and returns the text of a good answer.
    pub(super) async fn send(&self, request: &Request, mut permit: Permit) -> Result<ApiResponse<String>, ApiError> {
        let (deadline, mut attempt) = (Instant::now() + self.read_retry_timeout, 1);
        loop {
            let (priority, stage, anonymous) = (permit.priority, permit.stage, permit.token.is_none());
            // Boxed: most visits wait for their turn, and need no room meanwhile for what they do once it has come.
            let error = match Box::pin(self.send_accepted(request, permit)).await {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let outage = retry::is_outage(&error);
            let repeatable = request.is_read() && (!outage || self.answered.load(Ordering::Relaxed));
            let wait = retry::wait(&error, attempt, self.budget.paused()).filter(|_| repeatable);
            let next = match wait.filter(|wait| Instant::now() + *wait < deadline) {
                Some(wait) => {
                    tokio::time::timeout_at(deadline, async {
                        tokio::time::sleep(wait).await;
                        if anonymous { self.anonymous(priority).await } else { self.permit(priority, stage).await }
                    })
                    .await
                }
                None => Ok(Err(error.clone())),
            };
            let Ok(Ok(next)) = next else {
                self.answered.store(!outage, Ordering::Relaxed);
                return Err(error);
            };
            (permit, attempt) = (next, attempt + 1);
        }
    }

    /// Sends one request and returns the text of a good answer. A read whose token is refused is sent once more with a
    /// fresh one, where there can be one; a write is left to the next visit, because what it rests on grows old.
    async fn send_accepted(&self, request: &Request, permit: Permit) -> Result<ApiResponse<String>, ApiError> {
        let (token, priority) = (permit.token.clone(), permit.priority);
        let result = self.send_once(request, permit).await;
        if !self.worth_another_token(token, &result).await {
            return result;
        }
        if !request.is_read() {
            let message = "the access token was refused; trying again with a fresh one";
            return Err(ApiError::local(ErrorKind::Cancelled, message));
        }
        let permit = self.permit(priority, AccessMode::Read).await?;
        let token = permit.token.clone();
        let result = self.send_once(request, permit).await;
        self.worth_another_token(token, &result).await;
        result
    }

    /// Notes whether a token was accepted. Says whether the request is worth another try with a fresh one.
    async fn worth_another_token(
        &self,
        token: Option<Arc<Token>>,
        result: &Result<ApiResponse<String>, ApiError>,
    ) -> bool {
        let Some(token) = token else { return false };
        match result {
            Err(error) if error.kind == ErrorKind::Unauthorized => self.tokens.refused(&token).await,
            Ok(_) => {
                token.accept();
                false
            }
            Err(_) => false,
        }
    }

    /// Sends one request and returns the text of a good answer.
    async fn send_once(&self, request: &Request, permit: Permit) -> Result<ApiResponse<String>, ApiError> {
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
            Ok(value) => Ok(ApiResponse { value, started_at: permit.leave.granted }),
            Err(error) if secret.as_ref().is_some_and(|secret| redact::tells(&error.message, secret)) => {
                let message = format!("{}: refused, in words that hold what was sent", request.name());
                Err(ApiError { message, ..error })
            }
            Err(error) => Err(ApiError { message: format!("{}: {}", request.name(), error.message), ..error }),
        }
    }

    /// The status code of the answer, if there was one, and the text of a good answer.
    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        sent: &[&str],
    ) -> (Option<StatusCode>, Result<String, ApiError>) {
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
            Err(error) => Err(error),
        };
        (Some(status), result)
    }

    fn url(&self, path: &[String]) -> Result<Url, ApiError> {
        // These would lead to another path than is meant.
        if let Some(segment) = path.iter().find(|segment| ["", ".", ".."].contains(&segment.as_str())) {
            return Err(ApiError::local(ErrorKind::Invalid, format!("{segment:?} is no name")));
        }
        let mut url = self.base.clone();
        let unusable = || ApiError::local(ErrorKind::Invalid, "endpoint cannot be a base URL");
        url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().push("v1").extend(path);
        Ok(url)
    }
}

/// The body of an answer.
async fn text(mut response: reqwest::Response) -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if bytes.len() + chunk.len() > LARGEST_BODY {
            return Err(ApiError::local(ErrorKind::InvalidResponse, "the answer is longer than 8 MiB"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(in crate::management) fn transport(error: &reqwest::Error) -> ApiError {
    // The library's own text holds the URL and at times a header. The innermost cause is the system's, and holds neither.
    let mut innermost = error.source();
    while let Some(cause) = innermost.and_then(Error::source) {
        innermost = Some(cause);
    }
    let cause = innermost.map_or(String::new(), |cause| format!(": {cause}"));
    let host = error.url().and_then(reqwest::Url::host_str).unwrap_or("the service");
    if error.is_connect() {
        return ApiError::local(ErrorKind::Connect, format!("cannot connect to {host}{cause}"));
    }
    if error.is_timeout() {
        return ApiError::local(ErrorKind::OutcomeUnknown, format!("no answer of {host} in time"));
    }
    ApiError::local(ErrorKind::OutcomeUnknown, format!("the connection to {host} broke before the answer{cause}"))
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &str, sent: &[&str]) -> ApiError {
    let (code, message, json) = redact::error_body(body, sent);
    let kind = match status.as_u16() {
        400 | 413 | 422 => ErrorKind::Invalid,
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound { json },
        409 => ErrorKind::Conflict,
        429 => ErrorKind::RateLimited { retry_after },
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::InvalidResponse,
    };
    let message = if message.is_empty() { format!("{status}") } else { format!("{status}: {message}") };
    ApiError { kind, code, message }
}
