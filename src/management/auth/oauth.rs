//! Access tokens of an OAuth client (client credentials grant).
//!
//! The first request that needs a token fetches the token. Concurrent requests wait for the same fetch. A token is
//! renewed before its expiry, and replaced once if the API rejects the token.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::token::AccessToken;
use crate::management::http::{read_body, redirect_error, transport_error};
use crate::management::metrics::{ApiMetrics, RequestOutcome};
use crate::management::rate_limit::{AccessMode, Budget, Priority, RateLimitHeaders};
use crate::management::types::{ApiError, ErrorKind, ResponseText};

/// A token is renewed this long before its expiry, so that no token expires during a request.
const RENEWAL_MARGIN: Duration = Duration::from_secs(60);
/// Shortest lifetime of a token, even if the response contains a shorter one. The token is renewed after half of the
/// lifetime, so an account sends at most 4 token requests per minute. If the token expires earlier, the API rejects the
/// token, and the operator replaces the token.
const MIN_LIFETIME: Duration = Duration::from_secs(30);
/// Longest lifetime of a token, even if the response contains a longer one.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Lifetime of a token if the response contains no number of seconds.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
/// Delay between attempts to renew a token that is still valid.
const RENEWAL_RETRY_DELAY: Duration = Duration::from_secs(10);
/// Longest token response; a token has a few kilobytes at most.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Error codes of a token endpoint (RFC 6749, section 5.2).
const ERROR_CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];
/// Value of the metric label `route` for any token endpoint.
const ROUTE: &str = "/api/oauth/token";

/// Access tokens of one OAuth client.
#[derive(Debug)]
pub(crate) struct OAuthTokenSource {
    http: reqwest::Client,
    budget: Arc<Budget>,
    metrics: ApiMetrics,
    token_url: Url,
    id: String,
    secret: SecretString,
    /// Locked during a fetch, so that concurrent callers wait for one result.
    cache: Mutex<TokenCache>,
}

#[derive(Debug, Default)]
struct TokenCache {
    current: Option<CachedToken>,
    /// True if the API rejected the last token.
    last_rejected: bool,
    /// The last error, and the time at which the fetch ended.
    last_error: Option<(Instant, ApiError)>,
}

#[derive(Debug)]
struct CachedToken {
    token: Arc<AccessToken>,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Deserialize)]
struct TokenResponse {
    #[serde(deserialize_with = "secret")]
    access_token: SecretString,
    #[serde(default)]
    token_type: Option<String>,
    /// Seconds. Not decoded here, so that no value makes the token unusable.
    #[serde(default)]
    expires_in: Option<Box<RawValue>>,
}

/// Error body of a token endpoint.
#[derive(Deserialize)]
struct TokenError {
    error: String,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

impl OAuthTokenSource {
    pub(super) fn new(
        id: String,
        secret: SecretString,
        token_endpoint: &str,
        http: &reqwest::Client,
        budget: &Arc<Budget>,
        metrics: &ApiMetrics,
    ) -> Result<Self, ApiError> {
        let token_url = Url::parse(token_endpoint).map_err(|error| {
            ApiError::local(ErrorKind::Invalid, format!("spec.tokenEndpoint is not a valid URL: {error}"))
        })?;
        let (http, budget, metrics) = (http.clone(), Arc::clone(budget), metrics.clone());
        Ok(Self { http, budget, metrics, token_url, id, secret, cache: Mutex::default() })
    }

    /// The current token, or a new one if the current token must be renewed.
    pub(super) async fn token(&self) -> Result<Arc<AccessToken>, ApiError> {
        let requested_at = Instant::now();
        let mut cache = self.cache.lock().await;
        if let Some(current) = cache.current.as_ref().filter(|current| Instant::now() < current.renew_at) {
            return Ok(Arc::clone(&current.token));
        }
        // A caller that waited for a failed fetch gets its error. Otherwise the waiting callers would fail one by one.
        if let Some((_, error)) = cache.last_error.as_ref().filter(|(ended_at, _)| *ended_at >= requested_at) {
            return Err(error.clone());
        }
        let started_at = Instant::now();
        match self.fetch().await {
            Ok((value, lifetime)) => {
                let token = AccessToken::new(value, cache.last_rejected);
                let renew_at = started_at + lifetime.saturating_sub(RENEWAL_MARGIN).max(lifetime / 2);
                let expires_at = started_at + lifetime;
                cache.current = Some(CachedToken { token: Arc::clone(&token), renew_at, expires_at });
                cache.last_rejected = false;
                Ok(token)
            }
            Err(error) => {
                let now = Instant::now();
                if let Some(current) = cache.current.as_mut().filter(|current| now < current.expires_at) {
                    current.renew_at = now + RENEWAL_RETRY_DELAY;
                    return Ok(Arc::clone(&current.token));
                }
                (cache.current, cache.last_error) = (None, Some((now, error.clone())));
                Err(error)
            }
        }
    }

    /// See [`super::TokenSource::revalidate`].
    pub(super) fn revalidate(&self, token: Arc<AccessToken>) -> Option<Arc<AccessToken>> {
        // The cache is locked during a renewal, which starts before the current token expires.
        let Ok(cache) = self.cache.try_lock() else { return Some(token) };
        let current = cache.current.as_ref().filter(|current| Instant::now() < current.expires_at);
        current.map(|current| Arc::clone(&current.token))
    }

    /// See [`super::TokenSource::report_rejected`].
    pub(super) async fn report_rejected(&self, token: &Arc<AccessToken>) -> bool {
        let mut cache = self.cache.lock().await;
        if !cache.current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.token, token)) {
            return true;
        }
        (cache.current, cache.last_rejected) = (None, true);
        // If the API rejects two tokens in a row, the client lacks access: a third token would not help.
        token.was_accepted() || !token.replaces_rejected
    }

    async fn fetch(&self) -> Result<(SecretString, Duration), ApiError> {
        let url = self.token_url.as_str();
        self.budget.check_token_pause(url)?;
        // Highest priority, because other requests wait for the token.
        let _permit = self.budget.acquire(Priority::Edit, AccessMode::Write).await?;
        // Another connection of the account may have received a pause in the meantime.
        self.budget.check_token_pause(url)?;
        let body = json!({
            "grant_type": "client_credentials", "client_id": self.id, "client_secret": self.secret.expose_secret(),
        });
        let request = self.http.post(self.token_url.clone()).header(header::ACCEPT, "application/json").json(&body);
        let (response, result) = exchange(request).await;
        let outcome = RequestOutcome::new(response.map(|(status, _)| status), result.as_ref().err());
        tracing::debug!(
            method = "POST",
            route = ROUTE,
            code = outcome.code,
            error_kind = outcome.error,
            "Sent token request"
        );
        self.metrics.record_request("POST", ROUTE, outcome);
        let named =
            |error: ApiError| ApiError { message: format!("POST {}: {}", self.display_url(), error.message), ..error };
        let error = match result {
            Ok(token) => return Ok(token),
            Err(error) => named(error),
        };
        if let Some((status, headers)) = response {
            self.budget.record_token_response(url, status, &headers, &error);
        }
        self.budget.check_token_pause(url)?;
        Err(error)
    }

    /// URL of the token endpoint in messages, so that users see a host that the operator derived from the API endpoint.
    /// The query is removed, because a query can contain a credential.
    fn display_url(&self) -> Url {
        let mut url = self.token_url.clone();
        url.set_query(None);
        url
    }
}

/// The error of a response without a token. The body may quote the client secret, so the message contains only the
/// status and a documented error code.
fn error_from_response(status: StatusCode, body: &str) -> ApiError {
    let body: Option<TokenError> = serde_json::from_str(body).ok();
    let code = body.and_then(|body| ERROR_CODES.into_iter().find(|known| *known == body.error));
    let kind = match status.as_u16() {
        400..=403 => ErrorKind::Unauthorized,
        429 => ErrorKind::RateLimited { retry_after: None },
        _ => ErrorKind::Connect,
    };
    let code = code.map(|code| format!(": {code}")).unwrap_or_default();
    ApiError::local(kind, format!("the token endpoint returned no access token: {status}{code}"))
}

/// Exchanges a token request for a token and its lifetime. Also returns the status code and the headers, if any. An error
/// without a usable response has the kind `Connect`, because nothing was sent to the API.
async fn exchange(
    request: reqwest::RequestBuilder,
) -> (Option<(StatusCode, RateLimitHeaders)>, Result<(SecretString, Duration), ApiError>) {
    let connect_error =
        |error: ApiError| ApiError::local(ErrorKind::Connect, format!("token endpoint: {}", error.message));
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return (None, Err(connect_error(transport_error(&error)))),
    };
    let status = response.status();
    let headers = RateLimitHeaders::parse(response.headers(), Timestamp::now());
    if let Some(error) = redirect_error(&response, "spec.tokenEndpoint", ResponseText::Hidden) {
        return (Some((status, headers)), Err(connect_error(error)));
    }
    match read_body(response, MAX_RESPONSE_BYTES).await {
        Ok(body) if status == StatusCode::OK => (Some((status, headers)), parse_token(&body)),
        Ok(body) => (Some((status, headers)), Err(error_from_response(status, &body))),
        Err(_) if status != StatusCode::OK => (Some((status, headers)), Err(error_from_response(status, ""))),
        Err(error) => (Some((status, headers)), Err(connect_error(error))),
    }
}

fn parse_token(text: &str) -> Result<(SecretString, Duration), ApiError> {
    let no_token =
        || ApiError::local(ErrorKind::Connect, "the response contains no bearer token. Correct spec.tokenEndpoint");
    let response: TokenResponse = serde_json::from_str(text).map_err(|_| no_token())?;
    let token = response.access_token.expose_secret();
    let is_header_value = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_header_value || !response.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(no_token());
    }
    let lifetime = response.expires_in.map_or(DEFAULT_LIFETIME, |value| lifetime(value.get()));
    Ok((response.access_token, lifetime))
}

/// Lifetime of a token from the JSON value of `expires_in`: a number, or a text with a number.
fn lifetime(expires_in: &str) -> Duration {
    let text: Option<String> = serde_json::from_str(expires_in).ok();
    let seconds: Option<f64> = text.as_deref().unwrap_or(expires_in).trim().parse().ok();
    let seconds = seconds.filter(|seconds| seconds.is_finite()).unwrap_or(DEFAULT_LIFETIME.as_secs_f64());
    Duration::from_secs_f64(seconds.clamp(MIN_LIFETIME.as_secs_f64(), MAX_LIFETIME.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifetime_of_a_token_is_a_number_of_seconds_within_limits() {
        for (expires_in, expected) in [
            ("7200", 7200),
            ("7200.0", 7200),
            (r#""7200""#, 7200),
            (r#"" 7200.0 ""#, 7200),
            ("0", 30),
            ("0.0", 30),
            (r#""0""#, 30),
            ("1", 30),
            ("-1", 30),
            (r#""-3600""#, 30),
            ("-1e300", 30),
            ("86401", 86_400),
            ("18446744073709551616", 86_400),
            ("1e300", 86_400),
            (r#""1e999""#, 3600),
            (r#""inf""#, 3600),
            (r#""NaN""#, 3600),
            (r#""soon""#, 3600),
            (r#""""#, 3600),
            ("null", 3600),
            ("true", 3600),
            ("[60]", 3600),
            (r#"{"seconds":60}"#, 3600),
            // A number that no 64-bit float can hold.
            ("1e999", 3600),
            ("-1e999", 3600),
        ] {
            let text = format!(r#"{{"access_token":"fake-token","token_type":"Bearer","expires_in":{expires_in}}}"#);
            let lifetime = parse_token(&text).map(|(_, lifetime)| lifetime);
            assert_eq!(lifetime, Ok(Duration::from_secs(expected)), "{expires_in}");
        }
        let absent = parse_token(r#"{"access_token":"fake-token"}"#).map(|(_, lifetime)| lifetime);
        assert_eq!(absent, Ok(DEFAULT_LIFETIME));
    }
}
