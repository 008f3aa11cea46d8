//! The calls of the Management API. Each attempt takes a token from the budget. A read is repeated here for a short while,
//! a write never: what its caller checked right before it (that it is still wanted, and by whom) holds for one attempt.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::budget::Limits;
use super::pages::{self, Pages, Progress};
use super::redact;
use super::retry;
use super::types::{App, AppEnvelope, CreateApp, Failure, FailureKind, Listed, Regions, UpdateApp};
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

/// A connection to one account at one endpoint.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
    budget: Budget,
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
}

/// An app list of more pages than this (100,000 apps) is no list that a person made.
const MOST_PAGES: usize = 1000;
/// A body longer than this is refused unread: the largest spicepod is 256 KiB, and a detail holds one.
const LARGEST_BODY: usize = 8 * 1024 * 1024;

impl Client {
    /// A client for the Management API at `endpoint` (without the `/v1`).
    ///
    /// # Errors
    /// When the endpoint is no URL or the HTTP client cannot be built.
    pub fn new(
        endpoint: &str,
        token: SecretString,
        budget: Budget,
        settings: &Settings,
        metrics: Metrics,
    ) -> Result<Self, Failure> {
        let bad = |why: String| Failure::local(FailureKind::Invalid, why);
        let base = Url::parse(endpoint).map_err(|error| bad(format!("endpoint is not a URL: {error}")))?;
        let http = reqwest::Client::builder()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("spice-cloud-operator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| bad(format!("cannot set up HTTP: {error}")))?;
        let (retry_within, answered) = (settings.retry_within, AtomicBool::new(true));
        Ok(Self { http, base, token, budget, metrics, retry_within, answered })
    }

    /// Waits for leave to send one request. Writes take theirs first and are looked at once more before they are sent:
    /// while they waited for it, somebody may have changed their mind.
    ///
    /// # Errors
    /// Only when the process goes down.
    pub async fn permit(&self, priority: Priority, stage: Stage) -> Result<Permit, Failure> {
        Ok(Permit { granted: self.budget.token(priority, stage).await?, priority, stage })
    }

    /// `GET /v1/regions`: also the cheapest read that tells whether the credential is accepted.
    ///
    /// # Errors
    /// As every call here: see [`FailureKind`].
    pub async fn regions(&self, priority: Priority) -> Result<Answer<Regions>, Failure> {
        let permit = self.permit(priority, Stage::Look).await?;
        self.call(Method::GET, "/v1/regions", &["regions"], &[], None::<&()>, permit).await
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
            let (priority, stage) = (permit.priority, permit.stage);
            let failure = match self.send_once(method.clone(), route, path, query, body, permit).await {
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
                        self.permit(priority, stage).await
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
        let mut request = self.http.request(method, self.url(path)?).bearer_auth(self.token.expose_secret());
        request = request.header(header::ACCEPT, "application/json").query(query);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let begun = permit.granted;
        let result = self.exchange(request, body.as_ref()).await;
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

    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        body: Option<&Value>,
    ) -> Result<(StatusCode, String), Failure> {
        let mut response = request.send().await.map_err(|error| transport(&error))?;
        let status = response.status();
        let limits = Limits::of(response.headers(), Timestamp::now());
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
        let mut sent = body.map(redact::strings_in).unwrap_or_default();
        sent.push(self.token.expose_secret());
        Err(refusal(status, limits.retry_after, &text, &sent))
    }

    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        let unusable = || Failure::local(FailureKind::Invalid, "endpoint cannot be a base URL");
        url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().push("v1").extend(path);
        Ok(url)
    }
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

fn transport(error: &reqwest::Error) -> Failure {
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
