//! Authentication (contract section 2): the bearer token that a request carries, and where it comes from.
//!
//! A token of an OAuth client is asked for when first needed, once however many requests wait for it, again ahead of its
//! expiry, and once more when the API refuses it. Nothing in here may print a secret.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::types::{ApiError, ErrorKind};
use super::{AccessMode, Budget, Metrics, Priority, metrics, redact};

/// What proves to the API who we are.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A token as it is: a personal access token, or a session's.
    Token(SecretString),
    /// An OAuth client, which gets its tokens from a token endpoint.
    Client {
        /// Its id.
        id: String,
        /// Its secret.
        secret: SecretString,
        /// URL of the token endpoint.
        token_endpoint: String,
    },
}

/// A token ends this long before it expires, so that none expires under way.
const AHEAD: Duration = Duration::from_secs(60);
/// The longest lifetime that is believed; a token is renewed at the latest then.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Lifetime of a token whose answer names none.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How long a token that cannot be renewed yet is used on, as long as it lives.
const NEXT_RENEWAL: Duration = Duration::from_secs(10);
/// An answer with a token is a few kilobytes at most.
const LARGEST_ANSWER: usize = 64 * 1024;
/// Route of the token endpoint in metrics, whatever its URL is.
const ROUTE: &str = "/api/oauth/token";

/// One bearer token.
#[derive(Debug)]
pub(super) struct Token {
    value: SecretString,
    /// Whether it was asked for because the one before was refused.
    replacement: bool,
    accepted: AtomicBool,
}

impl Token {
    fn new(value: SecretString, replacement: bool) -> Arc<Self> {
        Arc::new(Self { value, replacement, accepted: AtomicBool::new(false) })
    }

    pub(super) fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// Notes that the API took it.
    pub(super) fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }
}

/// Where tokens come from.
#[derive(Debug)]
pub(super) struct Tokens(Source);

#[derive(Debug)]
enum Source {
    Fixed(Arc<Token>),
    Fetched(Box<Fetched>),
}

#[derive(Debug)]
struct Fetched {
    http: reqwest::Client,
    budget: Arc<Budget>,
    metrics: Metrics,
    url: Url,
    id: String,
    secret: SecretString,
    /// Held while a token is asked for, so that whoever needs one waits for the same answer.
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    held: Option<Held>,
    /// Whether the last token was refused by the API.
    refused: bool,
    /// The last failure, and when it was told.
    failed: Option<(Instant, ApiError)>,
}

#[derive(Debug)]
struct Held {
    token: Arc<Token>,
    renew: Instant,
    expires: Instant,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(deserialize_with = "secret")]
    access_token: SecretString,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

impl Tokens {
    pub(super) fn new(
        credential: Credential,
        http: &reqwest::Client,
        budget: &Arc<Budget>,
        metrics: &Metrics,
    ) -> Result<Self, ApiError> {
        let source = match credential {
            Credential::Token(token) => Source::Fixed(Token::new(token, false)),
            Credential::Client { id, secret, token_endpoint } => {
                let bad = |error| ApiError::local(ErrorKind::Invalid, format!("tokenEndpoint is not a URL: {error}"));
                Source::Fetched(Box::new(Fetched {
                    http: http.clone(),
                    budget: Arc::clone(budget),
                    metrics: metrics.clone(),
                    url: Url::parse(&token_endpoint).map_err(bad)?,
                    id,
                    secret,
                    slot: Mutex::default(),
                }))
            }
        };
        Ok(Self(source))
    }

    /// A token to send. It may take a request, which takes its share of the budget.
    pub(super) async fn token(&self) -> Result<Arc<Token>, ApiError> {
        match &self.0 {
            Source::Fixed(token) => Ok(Arc::clone(token)),
            Source::Fetched(fetched) => fetched.token().await,
        }
    }

    /// The token to send now by whoever got this one a while ago and cannot wait for another; none if there is none.
    pub(super) fn current(&self, token: Arc<Token>) -> Option<Arc<Token>> {
        let Source::Fetched(fetched) = &self.0 else { return Some(token) };
        // Whoever holds the slot asks for the next token, which is ahead of this one's end.
        let Ok(slot) = fetched.slot.try_lock() else { return Some(token) };
        slot.held.as_ref().filter(|held| Instant::now() < held.expires).map(|held| Arc::clone(&held.token))
    }

    /// Notes that the API refused a token. Says whether another is worth a try.
    pub(super) async fn refused(&self, token: &Arc<Token>) -> bool {
        let Source::Fetched(fetched) = &self.0 else { return false };
        let mut slot = fetched.slot.lock().await;
        if !slot.held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.token, token)) {
            return true;
        }
        (slot.held, slot.refused) = (None, true);
        // One refusal after another is about the client, and not about the token's age.
        token.accepted.load(Ordering::Relaxed) || !token.replacement
    }
}

impl Fetched {
    async fn token(&self) -> Result<Arc<Token>, ApiError> {
        let asked = Instant::now();
        let mut slot = self.slot.lock().await;
        if let Some(held) = slot.held.as_ref().filter(|held| Instant::now() < held.renew) {
            return Ok(Arc::clone(&held.token));
        }
        // Who waited for a request that failed has its answer too: a queue must not fail one by one.
        if let Some((_, error)) = slot.failed.as_ref().filter(|(told, _)| *told >= asked) {
            return Err(error.clone());
        }
        let started_at = Instant::now();
        match self.ask().await {
            Ok((value, lifetime)) => {
                let token = Token::new(value, slot.refused);
                let renew = started_at + lifetime.saturating_sub(AHEAD).max(lifetime / 2);
                slot.held = Some(Held { token: Arc::clone(&token), renew, expires: started_at + lifetime });
                slot.refused = false;
                Ok(token)
            }
            Err(error) => {
                let now = Instant::now();
                if let Some(held) = slot.held.as_mut().filter(|held| now < held.expires) {
                    held.renew = now + NEXT_RENEWAL;
                    return Ok(Arc::clone(&held.token));
                }
                (slot.held, slot.failed) = (None, Some((now, error.clone())));
                Err(error)
            }
        }
    }

    async fn ask(&self) -> Result<(SecretString, Duration), ApiError> {
        // All wait for it, so it goes first.
        let _leave = self.budget.token(Priority::Edit, AccessMode::Write).await?;
        let body = json!({
            "grant_type": "client_credentials", "client_id": self.id, "client_secret": self.secret.expose_secret(),
        });
        let request = self.http.post(self.url.clone()).header(header::ACCEPT, "application/json").json(&body);
        let (status, result) = match answer(request).await {
            Ok((status, text)) if status == StatusCode::OK => (Some(status), granted(&text)),
            Ok((status, text)) => (Some(status), Err(self.refusal(status, &text))),
            Err(error) => (None, Err(error)),
        };
        let outcome = metrics::outcome(status, &result);
        tracing::debug!(method = "POST", route = ROUTE, outcome, "token request");
        self.metrics.sent("POST", ROUTE, outcome);
        result.map_err(|error| ApiError { message: format!("POST {ROUTE}: {}", error.message), ..error })
    }

    fn refusal(&self, status: StatusCode, body: &str) -> ApiError {
        let (_, message, _) = redact::error_body(body, &[self.secret.expose_secret(), &self.id]);
        let kind = match status.as_u16() {
            400..=403 => ErrorKind::Unauthorized,
            429 => ErrorKind::RateLimited { retry_after: None },
            _ => ErrorKind::Connect,
        };
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        ApiError::local(kind, format!("no token for the OAuth client: {status}{message}"))
    }
}

/// Whatever goes wrong here, nothing was sent to the API: hence `Connect`.
async fn answer(request: reqwest::RequestBuilder) -> Result<(StatusCode, String), ApiError> {
    let lost = |error: &reqwest::Error| {
        let error = super::client::transport(error);
        ApiError { kind: ErrorKind::Connect, message: format!("token endpoint: {}", error.message), ..error }
    };
    let mut response = request.send().await.map_err(|error| lost(&error))?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
        if bytes.len() + chunk.len() > LARGEST_ANSWER {
            return Err(ApiError::local(ErrorKind::Connect, "the token endpoint's answer is longer than 64 KiB"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((response.status(), String::from_utf8_lossy(&bytes).into_owned()))
}

fn granted(text: &str) -> Result<(SecretString, Duration), ApiError> {
    let none = || ApiError::local(ErrorKind::Connect, "the token endpoint's answer holds no bearer token");
    let granted: Granted = serde_json::from_str(text).map_err(|_| none())?;
    let token = granted.access_token.expose_secret();
    let sendable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !sendable || !granted.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(none());
    }
    Ok((granted.access_token, granted.expires_in.map_or(LIFETIME, Duration::from_secs).min(LONGEST_LIFETIME)))
}
