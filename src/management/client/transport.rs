//! Requests over HTTP: permits, authentication, retries of reads, and errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url, header};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::config::{ClientConfig, ManagementSettings};
use super::request::ApiRequest;
use crate::management::auth::{AccessToken, TokenSource};
use crate::management::http::{
    check_deleted, innermost_cause, read_body, redirect_error, transport_error, unusable_body,
};
use crate::management::metrics::{ApiMetrics, RequestOutcome};
use crate::management::rate_limit::{AccessMode, Budget, Priority, RateLimitHeaders, RateLimitPermit};
use crate::management::retry;
use crate::management::types::{ApiError, ApiResponse, ErrorKind, ResponseText, parse_ca_bundle};

/// Header with the handle of the organization that a request acts on.
const ORGANIZATION_HEADER: &str = "X-Org-Name";

/// Longest response body. The largest spicepod has 256 KiB, and an app contains one spicepod.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Permission to send one request, with the access token for the request.
#[derive(Debug)]
pub struct RequestPermit {
    rate_limit: RateLimitPermit,
    priority: Priority,
    mode: AccessMode,
    /// `None` for a request without a credential.
    token: Option<Arc<AccessToken>>,
}

/// The body of a successful response.
#[derive(Debug)]
pub(super) struct ResponseBody {
    text: String,
    /// Earliest time at which the server can have processed the request, by the server's clock.
    pub(super) server_started_at: Option<Timestamp>,
}

impl ResponseBody {
    /// Length of the body in bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Decodes the body of the response to `request`.
    pub(super) fn decode<T: DeserializeOwned>(&self, request: &ApiRequest) -> Result<T, ApiError> {
        serde_json::from_str(&self.text).map_err(|_| {
            let error = unusable_body(&self.text);
            ApiError { message: format!("{}: {}", request.name(), error.message), ..error }
        })
    }
}

/// The connection to one endpoint with one credential.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    base_url: Url,
    organization: Option<String>,
    tokens: TokenSource,
    budget: Arc<Budget>,
    metrics: ApiMetrics,
    read_retry_timeout: Duration,
    /// False after an outage error of the last call. During an outage each reconcile sends one request, without
    /// retries.
    is_available: AtomicBool,
}

impl Transport {
    pub(super) fn new(
        config: ClientConfig,
        budget: Arc<Budget>,
        settings: &ManagementSettings,
        metrics: ApiMetrics,
    ) -> Result<Self, ApiError> {
        let ClientConfig { endpoint, organization, ca_bundle, credential } = config;
        let invalid = |message: String| ApiError::local(ErrorKind::Invalid, message);
        let cannot_create =
            |error| invalid(format!("cannot create the HTTP client: {}", innermost_cause(&error).unwrap_or_default()));
        let base_url =
            Url::parse(&endpoint).map_err(|error| invalid(format!("spec.endpoint is not a valid URL: {error}")))?;
        let certificates = ca_bundle.as_deref().map(parse_ca_bundle).transpose().map_err(invalid)?.unwrap_or_default();
        let certificates: Result<Vec<_>, _> =
            certificates.iter().map(|certificate| reqwest::Certificate::from_der(certificate)).collect();
        let http = reqwest::Client::builder()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tls_certs_merge(certificates.map_err(cannot_create)?)
            .user_agent(concat!("spice-cloud-operator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(cannot_create)?;
        let tokens = TokenSource::new(credential, &http, &budget, &metrics)?;
        let (read_retry_timeout, is_available) = (settings.read_retry_timeout, AtomicBool::new(true));
        Ok(Self { http, base_url, organization, tokens, budget, metrics, read_retry_timeout, is_available })
    }

    pub(super) fn close(&self) {
        self.budget.close();
    }

    /// Waits for a permit. The wait may be longer than the lifetime of the access token; then the permit is returned
    /// and the request is queued again, because the fetch of a new token may need a permit as well.
    pub(super) async fn acquire_permit(&self, priority: Priority, mode: AccessMode) -> Result<RequestPermit, ApiError> {
        let token = self.tokens.token().await?;
        let rate_limit = self.budget.acquire(priority, mode).await?;
        if let Some(token) = self.tokens.revalidate(token) {
            return Ok(RequestPermit { rate_limit, priority, mode, token: Some(token) });
        }
        drop(rate_limit);
        let token = Some(self.tokens.token().await?);
        Ok(RequestPermit { rate_limit: self.budget.acquire(priority, mode).await?, priority, mode, token })
    }

    /// Waits for a permit for a read without a credential.
    pub(super) async fn acquire_anonymous_permit(&self, priority: Priority) -> Result<RequestPermit, ApiError> {
        let mode = AccessMode::Read;
        Ok(RequestPermit { rate_limit: self.budget.acquire(priority, mode).await?, priority, mode, token: None })
    }

    /// Sends a request and decodes the body of a successful response.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        request: ApiRequest,
        permit: RequestPermit,
    ) -> Result<ApiResponse<T>, ApiError> {
        let response = self.send(&request, permit).await?;
        let value = response.value.decode(&request)?;
        Ok(response.map(|_| value))
    }

    /// Sends a request and returns the body of a successful response. Retries a read until the retry timeout.
    pub(super) async fn send(
        &self,
        request: &ApiRequest,
        mut permit: RequestPermit,
    ) -> Result<ApiResponse<ResponseBody>, ApiError> {
        let (deadline, mut attempt) = (Instant::now() + self.read_retry_timeout, 1);
        loop {
            let (priority, mode, is_anonymous) = (permit.priority, permit.mode, permit.token.is_none());
            // Boxed: most reconciles wait for a permit, and their futures stay small without the state of the request.
            let error = match Box::pin(self.send_with_reauth(request, permit)).await {
                Ok(response) => {
                    self.is_available.store(true, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(error) => error,
            };
            let is_outage = retry::is_outage(&error);
            let may_retry = request.is_read() && (!is_outage || self.is_available.load(Ordering::Relaxed));
            let delay = retry::retry_delay(&error, attempt, self.budget.remaining_pause());
            let next_permit = match delay.filter(|delay| may_retry && Instant::now() + *delay < deadline) {
                Some(delay) => {
                    let acquire = async {
                        tokio::time::sleep(delay).await;
                        if is_anonymous {
                            self.acquire_anonymous_permit(priority).await
                        } else {
                            self.acquire_permit(priority, mode).await
                        }
                    };
                    tokio::time::timeout_at(deadline, acquire).await.ok().and_then(Result::ok)
                }
                None => None,
            };
            let Some(next_permit) = next_permit else {
                self.is_available.store(!is_outage, Ordering::Relaxed);
                return Err(error);
            };
            (permit, attempt) = (next_permit, attempt + 1);
        }
    }

    /// Sends a request. If the API rejects the access token, a read is sent once more with a new token. A write is
    /// cancelled, because the read that the write is based on may be too old by then.
    async fn send_with_reauth(
        &self,
        request: &ApiRequest,
        permit: RequestPermit,
    ) -> Result<ApiResponse<ResponseBody>, ApiError> {
        let (token, priority) = (permit.token.clone(), permit.priority);
        let result = self.send_once(request, permit).await;
        if !self.should_reauthenticate(token, &result).await {
            return result;
        }
        if !request.is_read() {
            let message = "The API rejected the access token; retrying with a new token";
            return Err(ApiError::local(ErrorKind::Cancelled, message));
        }
        let permit = self.acquire_permit(priority, AccessMode::Read).await?;
        let token = permit.token.clone();
        let result = self.send_once(request, permit).await;
        self.should_reauthenticate(token, &result).await;
        result
    }

    /// Records whether the API accepted the token. Returns whether a retry with a new token can succeed.
    async fn should_reauthenticate(
        &self,
        token: Option<Arc<AccessToken>>,
        result: &Result<ApiResponse<ResponseBody>, ApiError>,
    ) -> bool {
        let Some(token) = token else { return false };
        match result {
            Err(error) if error.kind == ErrorKind::Unauthorized => self.tokens.report_rejected(&token).await,
            Err(_) => false,
            Ok(_) => {
                token.mark_accepted();
                false
            }
        }
    }

    /// Sends a request once, records metrics, and adds the name of the request to an error.
    async fn send_once(
        &self,
        request: &ApiRequest,
        permit: RequestPermit,
    ) -> Result<ApiResponse<ResponseBody>, ApiError> {
        let ApiRequest { method, route, path, query, body, has_secret } = request;
        let mut http = self.http.request(method.clone(), self.url(path)?);
        http = http.header(header::ACCEPT, "application/json").query(query);
        if let Some(token) = &permit.token {
            http = http.bearer_auth(token.expose());
            http = self.organization.iter().fold(http, |http, name| http.header(ORGANIZATION_HEADER, name));
        }
        if let Some(body) = body {
            http = http.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        let token = permit.token.as_ref().map_or("", |token| token.expose());
        let text = if *has_secret { ResponseText::Hidden } else { ResponseText::WithoutToken(token) };
        let (status, result) = self.exchange(http, text).await;
        let result = match status {
            Some(status) if *method == Method::DELETE => {
                result.and_then(|body| check_deleted(status, &body.text).map(|()| body))
            }
            _ => result,
        };
        let outcome = RequestOutcome::new(status, result.as_ref().err());
        tracing::debug!(%method, route, code = outcome.code, error_kind = outcome.error, "Sent Management API request");
        self.metrics.record_request(method.as_str(), route, outcome);
        match result {
            Ok(value) => Ok(ApiResponse { value, started_at: permit.rate_limit.granted_at }),
            Err(error) => {
                let size = match status {
                    Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => credential_size(token),
                    _ => String::new(),
                };
                Err(ApiError { message: format!("{}: {}{size}", request.name(), error.message), ..error })
            }
        }
    }

    /// Exchanges one HTTP request for a response. Returns the status code, if any, and the body of a successful
    /// response.
    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        text: ResponseText<'_>,
    ) -> (Option<StatusCode>, Result<ResponseBody, ApiError>) {
        let sent_at = Instant::now();
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return (None, Err(transport_error(&error))),
        };
        let (status, duration) = (response.status(), sent_at.elapsed());
        let headers = RateLimitHeaders::parse(response.headers(), Timestamp::now());
        self.budget.record_response(status, &headers);
        if let Some(error) = redirect_error(&response, "spec.endpoint", text) {
            return (Some(status), Err(error));
        }
        let result = match read_body(response, MAX_BODY_BYTES).await {
            Ok(text) if status.is_success() => {
                let server_started_at = headers.date.and_then(|date| date.checked_sub(duration).ok());
                Ok(ResponseBody { text, server_started_at })
            }
            Ok(body) => Err(ApiError::from_response(status.as_u16(), headers.retry_after, &body, text)),
            // An answered 4xx is a refusal, also without its body.
            Err(_) if status.is_client_error() => {
                Err(ApiError::from_response(status.as_u16(), headers.retry_after, "", text))
            }
            Err(error) => Err(error),
        };
        (Some(status), result)
    }

    fn url(&self, path: &[String]) -> Result<Url, ApiError> {
        // These segments would change the path.
        if let Some(segment) = path.iter().find(|segment| ["", ".", ".."].contains(&segment.as_str())) {
            return Err(ApiError::local(ErrorKind::Invalid, format!("{segment:?} is not a valid name")));
        }
        let mut url = self.base_url.clone();
        let invalid = |()| ApiError::local(ErrorKind::Invalid, "spec.endpoint cannot be used as a base URL");
        url.path_segments_mut().map_err(invalid)?.pop_if_empty().extend(path);
        Ok(url)
    }
}

/// Addition to the message of a server that refuses the size of the headers.
fn credential_size(token: &str) -> String {
    format!(". The credential has {} bytes; replace a credential that is too long", token.len())
}
