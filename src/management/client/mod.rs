//! The calls of the Management API. Each attempt takes a token from the budget. A read is repeated here for a short while,
//! a write never: what its caller checked right before it (that it is still wanted, and by whom) holds for one attempt.

#[cfg(test)]
pub(super) mod tests;
mod transport;

use transport::Request;
pub(super) use transport::transport;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;

use super::auth::{Credential, Token, Tokens};
use super::pages::{self, Pages, Progress};
use super::types::{
    AccessibleOrganization, ApiError, App, AppEnvelope, CreateApp, ErrorKind, Images, Limits, Listed, PutSecret,
};
use super::types::{AccessibleOrganizationEnvelope, Regions, Secret, SecretEnvelope, UpdateApp};
use super::{AccessMode, ApiResponse, Budget, Leave, Metrics, Priority};

/// How a client talks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest time to a connection.
    pub connect_timeout: Duration,
    /// Longest time from the first byte sent to the last received.
    pub request_timeout: Duration,
    /// How long after a read was first sent it may be sent again.
    pub read_retry_timeout: Duration,
    /// Longest pause of an account, whatever the headers of an answer say.
    pub max_rate_limit_pause: Duration,
    /// Least time between the begins of two lists of apps.
    pub min_list_interval: Duration,
    /// How long what was read of an app is kept for others who can use it.
    pub keep_reads: Duration,
}

/// Whom a client talks to, and as whom.
#[derive(Clone, Debug)]
pub struct ClientConfig {
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
    read_retry_timeout: Duration,
    /// Whether the last call was answered: in an outage each object asks once a visit, and none repeats.
    answered: AtomicBool,
}

/// Leave to send one request, granted by the budget.
#[derive(Debug)]
pub struct Permit {
    leave: Leave,
    priority: Priority,
    stage: AccessMode,
    /// What the request carries to prove who we are.
    token: Option<Arc<Token>>,
}

/// How often a list is read anew that moved under the reader.
const ATTEMPTS_AT_A_LIST: u32 = 3;
/// A list of more pages than this (100,000 items) is none that a person made.
const MOST_PAGES: usize = 1000;

impl Client {
    /// A client for the Management API.
    ///
    /// # Errors
    /// When a URL is none, a certificate is none, or the HTTP client cannot be built.
    pub fn new(
        target: ClientConfig,
        budget: Arc<Budget>,
        settings: &Settings,
        metrics: Metrics,
    ) -> Result<Self, ApiError> {
        let ClientConfig { endpoint, organization, ca_bundle, credential } = target;
        let bad = |why: String| ApiError::local(ErrorKind::Invalid, why);
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
            .map_err(|error| match &ca_bundle {
                Some(_) => bad("caBundle holds something that is no certificate".to_owned()),
                None => bad(format!("cannot set up HTTP: {error}")),
            })?;
        let tokens = Tokens::new(credential, &http, &budget, &metrics)?;
        let (read_retry_timeout, answered) = (settings.read_retry_timeout, AtomicBool::new(true));
        Ok(Self { http, base, organization, tokens, budget, metrics, read_retry_timeout, answered })
    }

    /// Withdraws the requests that wait for their turn: another client takes the place of this one.
    pub fn retire(&self) {
        self.budget.retire();
    }

    /// Waits for leave to send one request. Writes take theirs first and are looked at once more before they are sent:
    /// while they waited for it, somebody may have changed their mind.
    ///
    /// # Errors
    /// When there is no token to send, or the process goes down. Nothing was sent to the API then.
    pub async fn permit(&self, priority: Priority, stage: AccessMode) -> Result<Permit, ApiError> {
        let token = self.tokens.token().await?;
        let leave = self.budget.token(priority, stage).await?;
        if let Some(token) = self.tokens.current(token) {
            return Ok(Permit { leave, priority, stage, token: Some(token) });
        }
        // The wait for a turn was longer than the token lived. It gives its place up: the next token may need one.
        drop(leave);
        let token = Some(self.tokens.token().await?);
        Ok(Permit { leave: self.budget.token(priority, stage).await?, priority, stage, token })
    }

    /// Leave to send a read that shows nobody's credential.
    async fn anonymous(&self, priority: Priority) -> Result<Permit, ApiError> {
        let stage = AccessMode::Read;
        Ok(Permit { leave: self.budget.token(priority, stage).await?, priority, stage, token: None })
    }

    /// `GET /v1/regions`: where an app can be.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn regions(&self, priority: Priority) -> Result<ApiResponse<Regions>, ApiError> {
        let permit = self.permit(priority, AccessMode::Read).await?;
        self.call(Request::get("/v1/regions", ["regions"]), permit).await
    }

    /// `GET /v1/orgs`: the organizations that the credential reaches. Older versions of the API have no such call.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn organizations(
        &self,
        priority: Priority,
    ) -> Result<ApiResponse<Vec<AccessibleOrganization>>, ApiError> {
        let permit = self.permit(priority, AccessMode::Read).await?;
        let answer: ApiResponse<AccessibleOrganizationEnvelope> =
            self.call(Request::get("/v1/orgs", ["orgs"]), permit).await?;
        Ok(ApiResponse { value: answer.value.items(), started_at: answer.started_at })
    }

    /// `GET /v1/container-images`: what the platform runs apps with, by channel.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn images(&self, channel: &str, priority: Priority) -> Result<ApiResponse<Images>, ApiError> {
        let permit = self.permit(priority, AccessMode::Read).await?;
        let request = Request::get("/v1/container-images", ["container-images"]);
        self.call(request.query([("channel", channel.to_owned())]), permit).await
    }

    /// `GET /v1/limits`: what the plan allows. Older versions of the API have no such call.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn limits(&self, priority: Priority) -> Result<ApiResponse<Limits>, ApiError> {
        let permit = self.permit(priority, AccessMode::Read).await?;
        self.call(Request::get("/v1/limits", ["limits"]), permit).await
    }

    /// `GET /v1/health`, without a credential: whether the API is up at all.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn health(&self, priority: Priority) -> Result<ApiResponse<()>, ApiError> {
        let permit = self.anonymous(priority).await?;
        let answer = self.send(&Request::get("/v1/health", ["health"]), permit).await?;
        Ok(ApiResponse { value: (), started_at: answer.started_at })
    }

    /// `GET /v1/apps`, page by page: the complete list.
    ///
    /// # Errors
    /// Also [`ErrorKind::IncompleteList`], when the pages do not tell where the list ends.
    pub async fn apps(&self, priority: Priority) -> Result<ApiResponse<Vec<App>>, ApiError> {
        self.list::<AppEnvelope>(|| Request::get("/v1/apps", ["apps"]), priority).await
    }

    /// `GET /v1/apps/{appId}/secrets`, page by page: the complete list.
    ///
    /// # Errors
    /// Also [`ErrorKind::IncompleteList`], when the pages do not tell where the list ends.
    pub async fn secrets(&self, app: i64, priority: Priority) -> Result<ApiResponse<Vec<Secret>>, ApiError> {
        self.list::<SecretEnvelope>(|| secrets_of(Method::GET, app), priority).await
    }

    /// A complete list, read anew if it moved under the reader.
    async fn list<E: Listed + DeserializeOwned>(
        &self,
        request: impl Fn() -> Request,
        priority: Priority,
    ) -> Result<ApiResponse<Vec<E::Item>>, ApiError> {
        let mut attempt = 1;
        loop {
            let (list, end) = self.pages::<E>(&request, priority).await?;
            match end {
                Progress::Complete => return Ok(list),
                Progress::Moved if attempt < ATTEMPTS_AT_A_LIST => attempt += 1,
                _ => {
                    let seen = list.value.len();
                    let message =
                        format!("{}: {seen} items seen, and whether there are more cannot be told", request().name());
                    return Err(ApiError::local(ErrorKind::IncompleteList { seen }, message));
                }
            }
        }
    }

    /// The pages of a list, and how it ended.
    async fn pages<E: Listed + DeserializeOwned>(
        &self,
        request: impl Fn() -> Request,
        priority: Priority,
    ) -> Result<(ApiResponse<Vec<E::Item>>, Progress), ApiError> {
        let (mut pages, mut end) = (Pages::new(), Progress::More(0));
        let mut list = ApiResponse { value: Vec::new(), started_at: Timestamp::MAX };
        for _ in 0..MOST_PAGES {
            let Progress::More(offset) = end else { break };
            let query = [("limit", pages::LIMIT.to_string()), ("offset", offset.to_string())];
            let permit = self.permit(priority, AccessMode::Read).await?;
            let page: ApiResponse<E> = self.call(request().query(query), permit).await?;
            list.started_at = list.started_at.min(page.started_at);
            let items = page.value.items();
            let keys: Vec<E::Key> = items.iter().map(E::key).collect();
            list.value.extend(items.into_iter().filter(|item| !pages.has(&E::key(item))));
            end = pages.page(&keys);
        }
        Ok((list, end))
    }

    /// `GET /v1/apps/{appId}`.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn app(&self, id: i64, priority: Priority) -> Result<ApiResponse<App>, ApiError> {
        let permit = self.permit(priority, AccessMode::Read).await?;
        let answer = self.call(one_app(Method::GET, id), permit).await;
        about(answer, |app: &App| app.id == id)
    }

    /// `POST /v1/apps`. Not idempotent: after an answer that proves nothing the caller must look before trying again.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn create_app(&self, body: &CreateApp, permit: Permit) -> Result<ApiResponse<App>, ApiError> {
        let request = Request::new(Method::POST, "/v1/apps", ["apps"]).body(body)?;
        let answer = self.call(request, permit).await;
        about(answer, |app: &App| app.name.eq_ignore_ascii_case(&body.name))
    }

    /// `PUT /v1/apps/{appId}`: a merge.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn update_app(&self, id: i64, body: &UpdateApp, permit: Permit) -> Result<ApiResponse<App>, ApiError> {
        let answer = self.call(one_app(Method::PUT, id).body(body)?, permit).await;
        about(answer, |app: &App| app.id == id)
    }

    /// `POST /v1/apps/{appId}/secrets`: sets a secret, whether it is there or not.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`]. No message holds the value.
    pub async fn put_secret(
        &self,
        app: i64,
        body: &PutSecret,
        permit: Permit,
    ) -> Result<ApiResponse<Secret>, ApiError> {
        let request = secrets_of(Method::POST, app).secret(&body.value).body(body)?;
        let answer: ApiResponse<Secret> = self.call(request, permit).await?;
        if answer.value.name == body.name {
            return Ok(answer);
        }
        Err(ApiError::local(ErrorKind::InvalidResponse, format!("the answer about {} shows another secret", body.name)))
    }

    /// `DELETE /v1/apps/{appId}/secrets/{secretName}`.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn delete_secret(&self, app: i64, name: &str, permit: Permit) -> Result<ApiResponse<()>, ApiError> {
        let path = ["apps", &app.to_string(), "secrets", name];
        let request = Request::new(Method::DELETE, "/v1/apps/{appId}/secrets/{secretName}", path);
        let answer = self.send(&request, permit).await?;
        Ok(ApiResponse { value: (), started_at: answer.started_at })
    }

    /// `DELETE /v1/apps/{appId}`: the service keeps the app and hides it.
    ///
    /// # Errors
    /// As every call here: see [`ErrorKind`].
    pub async fn delete_app(&self, id: i64, permit: Permit) -> Result<ApiResponse<()>, ApiError> {
        let answer = self.send(&one_app(Method::DELETE, id), permit).await?;
        Ok(ApiResponse { value: (), started_at: answer.started_at })
    }
}

fn one_app(method: Method, id: i64) -> Request {
    Request::new(method, "/v1/apps/{appId}", ["apps", &id.to_string()])
}

fn secrets_of(method: Method, app: i64) -> Request {
    Request::new(method, "/v1/apps/{appId}/secrets", ["apps", &app.to_string(), "secrets"])
}

fn certificates(pem: &str) -> Result<Vec<reqwest::Certificate>, ApiError> {
    let found = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
    if found.is_empty() {
        return Err(ApiError::local(ErrorKind::Invalid, "caBundle does not hold certificates in PEM"));
    }
    Ok(found)
}

/// An answer about another app than was asked for says nothing of the one that was.
fn about(
    answer: Result<ApiResponse<App>, ApiError>,
    asked_for: impl Fn(&App) -> bool,
) -> Result<ApiResponse<App>, ApiError> {
    let answer = answer?;
    if answer.value.id > 0 && asked_for(&answer.value) {
        return Ok(answer);
    }
    let message = format!("the answer shows another app than was asked for: {}", answer.value.id);
    Err(ApiError::local(ErrorKind::InvalidResponse, message))
}
