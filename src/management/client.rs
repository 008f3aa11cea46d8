//! The calls of the Management API. Each attempt takes a token from the budget. A read is repeated here for a short while,
//! a write never: what its caller checked right before it (that it is still wanted, and by whom) holds for one attempt.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::auth::{Credential, Token, Tokens};
use super::budget::Limits as RateLimits;
use super::pages::{self, Pages, Progress};
use super::redact;
use super::retry;
use super::types::{App, AppEnvelope, CreateApp, Failure, FailureKind, Images, Limits, Listed, Reached};
use super::types::{ReachedEnvelope, Regions, UpdateApp};
use super::{Answer, Budget, Metrics, Priority, Stage};

/// How a client talks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest time to a connection.
    pub connect_timeout: Duration,
    /// Longest time from the first byte sent to the last received.
    pub request_timeout: Duration,
    /// How long after a read was first sent it may be sent again.
    pub retry_within: Duration,
    /// Longest pause of an account, whatever the headers of an answer say.
    pub longest_pause: Duration,
}

/// Whom a client talks to, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// Base URL of the API, without the `/v1`.
    pub endpoint: String,
    /// Handle of the organization to act on; without one it is the one that the credential was made for.
    pub organization: Option<String>,
    /// Certificates, in PEM, to trust besides those that are known anyhow.
    pub ca_bundle: Option<String>,
    /// What proves who we are.
    pub credential: Credential,
}

/// A connection to one account at one endpoint.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    organization: Option<String>,
    tokens: Tokens,
    budget: Arc<Budget>,
    metrics: Metrics,
    retry_within: Duration,
    /// Whether the last call was answered: in an outage each object asks once a visit, and none repeats.
    answered: AtomicBool,
}

/// Leave to send one request, granted by the budget.
#[derive(Debug)]
pub struct Permit {
    granted: Timestamp,
    priority: Priority,
    stage: Stage,
    /// What the request carries to prove who we are.
    token: Option<Arc<Token>>,
}

/// Names the organization that a request acts on (contract section 2.3).
const ORGANIZATION_HEADER: &str = "X-Org-Name";

/// An app list of more pages than this (100,000 apps) is no list that a person made.
const MOST_PAGES: usize = 1000;
/// A body longer than this is refused unread: the largest spicepod is 256 KiB, and a detail holds one.
const LARGEST_BODY: usize = 8 * 1024 * 1024;

impl Client {
    /// A client for the Management API.
    ///
    /// # Errors
    /// When a URL is none, a certificate is none, or the HTTP client cannot be built.
    pub fn new(target: Target, budget: Arc<Budget>, settings: &Settings, metrics: Metrics) -> Result<Self, Failure> {
        let Target { endpoint, organization, ca_bundle, credential } = target;
        let bad = |why: String| Failure::local(FailureKind::Invalid, why);
        let base = Url::parse(&endpoint).map_err(|error| bad(format!("endpoint is not a URL: {error}")))?;
        let certificates = ca_bundle.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let http = reqwest::Client::builder()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tls_certs_merge(certificates)
            .user_agent(concat!("spice-cloud-operator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| bad(format!("cannot set up HTTP: {error}")))?;
        let tokens = Tokens::new(credential, &http, &budget, &metrics)?;
        let (retry_within, answered) = (settings.retry_within, AtomicBool::new(true));
        Ok(Self { http, base, organization, tokens, budget, metrics, retry_within, answered })
    }

    /// Waits for leave to send one request. Writes take theirs first and are looked at once more before they are sent:
    /// while they waited for it, somebody may have changed their mind.
    ///
    /// # Errors
    /// When there is no token to send, or the process goes down. Nothing was sent to the API then.
    pub async fn permit(&self, priority: Priority, stage: Stage) -> Result<Permit, Failure> {
        let token = Some(self.tokens.token().await?);
        Ok(Permit { granted: self.budget.token(priority, stage).await?, priority, stage, token })
    }

    /// Leave to send a read that shows nobody's credential.
    async fn anonymous(&self, priority: Priority) -> Result<Permit, Failure> {
        let stage = Stage::Look;
        Ok(Permit { granted: self.budget.token(priority, stage).await?, priority, stage, token: None })
    }

    /// `GET /v1/regions`: where an app can be.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn regions(&self, priority: Priority) -> Result<Answer<Regions>, Failure> {
        let permit = self.permit(priority, Stage::Look).await?;
        self.call(Method::GET, "/v1/regions", &["regions"], &[], None::<&()>, permit).await
    }

    /// `GET /v1/orgs`: the organizations that the credential reaches. Older versions of the API have no such call.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn organizations(&self, priority: Priority) -> Result<Answer<Vec<Reached>>, Failure> {
        let permit = self.permit(priority, Stage::Look).await?;
        let answer: Answer<ReachedEnvelope> =
            self.call(Method::GET, "/v1/orgs", &["orgs"], &[], None::<&()>, permit).await?;
        Ok(Answer { value: answer.value.items(), begun: answer.begun })
    }

    /// `GET /v1/container-images`: what the platform runs apps with, by channel.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn images(&self, channel: &str, priority: Priority) -> Result<Answer<Images>, Failure> {
        let permit = self.permit(priority, Stage::Look).await?;
        let query = [("channel", channel.to_owned())];
        self.call(Method::GET, "/v1/container-images", &["container-images"], &query, None::<&()>, permit).await
    }

    /// `GET /v1/limits`: what the plan allows. Older versions of the API have no such call.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn limits(&self, priority: Priority) -> Result<Answer<Limits>, Failure> {
        let permit = self.permit(priority, Stage::Look).await?;
        self.call(Method::GET, "/v1/limits", &["limits"], &[], None::<&()>, permit).await
    }

    /// `GET /v1/health`, without a credential: whether the API is up at all.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn health(&self, priority: Priority) -> Result<Answer<()>, Failure> {
        let permit = self.anonymous(priority).await?;
        let answer = self.send(Method::GET, "/v1/health", &["health"], &[], None::<&()>, permit).await?;
        Ok(Answer { value: (), begun: answer.begun })
    }

    /// `GET /v1/apps`, page by page: the complete list.
    ///
    /// # Errors
    /// Also [`FailureKind::IncompleteList`], when the pages do not tell where the list ends.
    pub async fn apps(&self, priority: Priority) -> Result<Answer<Vec<App>>, Failure> {
        let (mut pages, mut apps, mut offset, mut begun) = (Pages::default(), Vec::new(), 0, None);
        for _ in 0..MOST_PAGES {
            let query = [("limit", pages::LIMIT.to_string()), ("offset", offset.to_string())];
            let permit = self.permit(priority, Stage::Look).await?;
            let page: Answer<AppEnvelope> =
                self.call(Method::GET, "/v1/apps", &["apps"], &query, None::<&()>, permit).await?;
            let begun = *begun.get_or_insert(page.begun);
            let items = page.value.items();
            let ids = items.iter().map(AppEnvelope::id).collect();
            apps.extend(items.into_iter().filter(|app| !pages.has(app.id)));
            match pages.page(ids) {
                Progress::More(next) => offset = next,
                Progress::Complete => return Ok(Answer { value: apps, begun }),
                Progress::Unknown => break,
            }
        }
        let message = format!("GET /v1/apps: {} apps seen, and whether there are more cannot be told", apps.len());
        Err(Failure::local(FailureKind::IncompleteList, message))
    }

    /// `GET /v1/apps/{appId}`.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn app(&self, id: i64, priority: Priority) -> Result<Answer<App>, Failure> {
        let path = ["apps", &id.to_string()];
        let permit = self.permit(priority, Stage::Look).await?;
        let answer = self.call(Method::GET, "/v1/apps/{appId}", &path, &[], None::<&()>, permit).await;
        about(answer, |app: &App| app.id == id)
    }

    /// `POST /v1/apps`. Not idempotent: after an answer that proves nothing the caller must look before trying again.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn create_app(&self, body: &CreateApp, permit: Permit) -> Result<Answer<App>, Failure> {
        let answer = self.call(Method::POST, "/v1/apps", &["apps"], &[], Some(body), permit).await;
        about(answer, |app: &App| app.name.eq_ignore_ascii_case(&body.name))
    }

    /// `PUT /v1/apps/{appId}`: a merge.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn update_app(&self, id: i64, body: &UpdateApp, permit: Permit) -> Result<Answer<App>, Failure> {
        let path = ["apps", &id.to_string()];
        let answer = self.call(Method::PUT, "/v1/apps/{appId}", &path, &[], Some(body), permit).await;
        about(answer, |app: &App| app.id == id)
    }

    /// `DELETE /v1/apps/{appId}`: the service keeps the app and hides it.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn delete_app(&self, id: i64, permit: Permit) -> Result<Answer<()>, Failure> {
        let path = ["apps", &id.to_string()];
        let answer = self.send(Method::DELETE, "/v1/apps/{appId}", &path, &[], None::<&()>, permit).await?;
        Ok(Answer { value: (), begun: answer.begun })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &'static str,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
        permit: Permit,
    ) -> Result<Answer<T>, Failure> {
        let method_name = name_of(&method);
        let answer = self.send(method, route, path, query, body, permit).await?;
        let value = serde_json::from_str(&answer.value).map_err(|_| {
            let message =
                format!("{method_name} {route}: the answer is not what the Management API is documented to send");
            Failure::local(FailureKind::Unexpected, message)
        })?;
        Ok(Answer { value, begun: answer.begun })
    }

    /// Sends a request, a read again if need be, and returns the text of a good answer.
    async fn send(
        &self,
        method: Method,
        route: &'static str,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
        mut permit: Permit,
    ) -> Result<Answer<String>, Failure> {
        let (deadline, mut attempt) = (Instant::now() + self.retry_within, 1);
        loop {
            let (priority, stage, anonymous) = (permit.priority, permit.stage, permit.token.is_none());
            let failure = match self.send_accepted(method.clone(), route, path, query, body, permit).await {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let outage = retry::is_outage(&failure);
            let repeatable = method == Method::GET && (!outage || self.answered.load(Ordering::Relaxed));
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
    async fn send_accepted(
        &self,
        method: Method,
        route: &'static str,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
        permit: Permit,
    ) -> Result<Answer<String>, Failure> {
        let (token, priority) = (permit.token.clone(), permit.priority);
        let result = self.send_once(method.clone(), route, path, query, body, permit).await;
        if !self.worth_another_token(token, &result).await {
            return result;
        }
        if method != Method::GET {
            let words = "the access token was refused; trying again with a fresh one";
            return Err(Failure::local(FailureKind::Withdrawn, words));
        }
        let permit = self.permit(priority, Stage::Look).await?;
        let token = permit.token.clone();
        let result = self.send_once(method, route, path, query, body, permit).await;
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
    async fn send_once(
        &self,
        method: Method,
        route: &'static str,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
        permit: Permit,
    ) -> Result<Answer<String>, Failure> {
        let method_name = name_of(&method);
        let body = body.map(serde_json::to_value).transpose().map_err(|error| {
            Failure::local(FailureKind::Invalid, format!("{method_name} {route}: cannot encode the body: {error}"))
        })?;
        let mut request = self.http.request(method, self.url(path)?);
        request = request.header(header::ACCEPT, "application/json").query(query);
        if let Some(token) = &permit.token {
            request = request.bearer_auth(token.expose());
            request = self.organization.iter().fold(request, |request, name| request.header(ORGANIZATION_HEADER, name));
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let begun = permit.granted;
        let mut sent = body.as_ref().map(redact::strings_in).unwrap_or_default();
        sent.extend(permit.token.as_ref().map(|token| token.expose()));
        let result = self.exchange(request, &sent).await;
        let outcome = match &result {
            Ok((status, _)) => status.as_u16().to_string(),
            Err(failure) => failure.label().to_owned(),
        };
        tracing::debug!(method = method_name, route, outcome, "management api call");
        self.metrics.sent(method_name, route, outcome);
        match result {
            Ok((_, value)) => Ok(Answer { value, begun }),
            Err(failure) => Err(Failure { message: format!("{method_name} {route}: {}", failure.message), ..failure }),
        }
    }

    async fn exchange(&self, request: reqwest::RequestBuilder, sent: &[&str]) -> Result<(StatusCode, String), Failure> {
        let mut response = request.send().await.map_err(|error| transport(&error))?;
        let status = response.status();
        let limits = RateLimits::of(response.headers(), Timestamp::now());
        self.budget.heard(status, &limits);
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
            if bytes.len() + chunk.len() > LARGEST_BODY {
                return Err(Failure::local(FailureKind::Unexpected, "the answer is longer than 8 MiB"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status.is_success() {
            return Ok((status, text));
        }
        Err(refusal(status, limits.retry_after, &text, sent))
    }

    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        let unusable = || Failure::local(FailureKind::Invalid, "endpoint cannot be a base URL");
        url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().push("v1").extend(path);
        Ok(url)
    }
}

fn certificates(pem: &str) -> Result<Vec<reqwest::Certificate>, Failure> {
    let found = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
    if found.is_empty() {
        return Err(Failure::local(FailureKind::Invalid, "caBundle does not hold certificates in PEM"));
    }
    Ok(found)
}

/// An answer about another app than was asked for says nothing of the one that was.
fn about(answer: Result<Answer<App>, Failure>, asked_for: impl Fn(&App) -> bool) -> Result<Answer<App>, Failure> {
    let answer = answer?;
    if asked_for(&answer.value) {
        return Ok(answer);
    }
    let message = format!("the answer shows another app: {} ({})", answer.value.id, answer.value.name);
    Err(Failure::local(FailureKind::Unexpected, message))
}

fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "GET",
    }
}

pub(super) fn transport(error: &reqwest::Error) -> Failure {
    // The library's own text holds the URL and at times a header. The innermost cause is the system's, and holds neither.
    let mut innermost = error.source();
    while let Some(cause) = innermost.and_then(Error::source) {
        innermost = Some(cause);
    }
    let cause = innermost.map_or(String::new(), |cause| format!(": {cause}"));
    if error.is_connect() {
        return Failure::local(FailureKind::Connect, format!("cannot connect{cause}"));
    }
    if error.is_timeout() {
        return Failure::local(FailureKind::Interrupted, "no answer in time");
    }
    Failure::local(FailureKind::Interrupted, format!("the connection broke before the answer{cause}"))
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &str, sent: &[&str]) -> Failure {
    let (code, words, json) = redact::error_body(body, sent);
    let kind = match status.as_u16() {
        400 | 422 => FailureKind::Invalid,
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
