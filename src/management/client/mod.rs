//! The calls of the Management API.
//!
//! Each attempt needs a permit of the request budget. The client retries a failed read for a short time, and never
//! retries a write: the checks that the caller made after it got the permit are valid for one attempt only.

mod config;
mod request;
#[cfg(test)]
mod tests;
mod transport;

pub use config::{ClientConfig, ManagementSettings};
pub use transport::RequestPermit;

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::Method;
use serde::de::{DeserializeOwned, IgnoredAny};

use self::request::ApiRequest;
use self::transport::Transport;
use super::metrics::ApiMetrics;
use super::pages::{ListProgress, PAGE_SIZE, PageTracker};
use super::rate_limit::{AccessMode, Budget, Priority};
use super::types::{AccessibleOrganization, ApiError, ApiResponse, App, AppEnvelope, CreateApp, CreatedApp};
use super::types::{
    ErrorKind, Images, Limits, ListPage, OrganizationEnvelope, PutSecret, Regions, RemoteSecret, SecretEnvelope,
    UpdateApp, quote_server_text,
};

/// Attempts to read a list that changes between its pages.
const MAX_LIST_ATTEMPTS: u32 = 3;
/// Pages of one list; 100,000 items are far more than an organization has.
const MAX_PAGES: usize = 1000;
/// Longest list in bytes of JSON, so that no server can fill the memory of the operator.
const MAX_LIST_BYTES: usize = 64 << 20;

/// A client for one endpoint and one credential. Every call may fail with any [`ErrorKind`]; the calls document only
/// additional kinds.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// A client that uses this request budget.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a URL or a certificate is invalid, or the HTTP client cannot be created.
    pub fn new(
        config: ClientConfig,
        budget: Arc<Budget>,
        settings: &ManagementSettings,
        metrics: ApiMetrics,
    ) -> Result<Self, ApiError> {
        Ok(Self { transport: Transport::new(config, budget, settings, metrics)? })
    }

    /// Cancels queued requests. Call it when another client replaces this one.
    pub fn close(&self) {
        self.transport.close();
    }

    /// Waits for a permit to send one write. The caller checks the preconditions of the write after the wait, because
    /// the object may have changed in the meantime.
    ///
    /// # Errors
    /// If no access token is available, the account is paused for a long time, or the process shuts down. Nothing was
    /// sent to the API.
    pub async fn acquire_permit(&self, priority: Priority, mode: AccessMode) -> Result<RequestPermit, ApiError> {
        self.transport.acquire_permit(priority, mode).await
    }

    /// `GET /v1/regions`: the regions for apps.
    pub async fn regions(&self, priority: Priority) -> Result<ApiResponse<Regions>, ApiError> {
        self.read(ApiRequest::get("/v1/regions"), priority).await
    }

    /// `GET /v1/orgs`: the organizations that the credential can access. Older versions of the API lack this call.
    pub async fn organizations(
        &self,
        priority: Priority,
    ) -> Result<ApiResponse<Vec<AccessibleOrganization>>, ApiError> {
        let response = self.read(ApiRequest::get("/v1/orgs"), priority).await?;
        Ok(response.map(OrganizationEnvelope::items))
    }

    /// `GET /v1/container-images`: the runtime images of a channel.
    pub async fn images(&self, channel: &str, priority: Priority) -> Result<ApiResponse<Images>, ApiError> {
        let request = ApiRequest::get("/v1/container-images");
        self.read(request.query([("channel", channel.to_owned())]), priority).await
    }

    /// `GET /v1/limits`: the limits of the plan. Older versions of the API lack this call.
    pub async fn limits(&self, priority: Priority) -> Result<ApiResponse<Limits>, ApiError> {
        self.read(ApiRequest::get("/v1/limits"), priority).await
    }

    /// `GET /v1/health`, without a credential: whether the API is available.
    pub async fn health(&self, priority: Priority) -> Result<ApiResponse<()>, ApiError> {
        let permit = self.transport.acquire_anonymous_permit(priority).await?;
        let response: ApiResponse<IgnoredAny> = self.transport.call(ApiRequest::get("/v1/health"), permit).await?;
        Ok(response.map(drop))
    }

    /// `GET /v1/apps`, all pages: the complete list.
    ///
    /// # Errors
    /// [`ErrorKind::IncompleteList`] if the pages do not show where the list ends.
    pub async fn apps(&self, priority: Priority) -> Result<ApiResponse<Vec<App>>, ApiError> {
        self.list::<AppEnvelope>(|| ApiRequest::get("/v1/apps"), priority).await
    }

    /// `GET /v1/apps/{appId}/secrets`, all pages: the complete list.
    ///
    /// # Errors
    /// [`ErrorKind::IncompleteList`] if the pages do not show where the list ends.
    pub async fn secrets(&self, app: i64, priority: Priority) -> Result<ApiResponse<Vec<RemoteSecret>>, ApiError> {
        self.list::<SecretEnvelope>(|| secrets_request(Method::GET, app), priority).await
    }

    /// `GET /v1/apps/{appId}`.
    pub async fn app(&self, id: i64, priority: Priority) -> Result<ApiResponse<App>, ApiError> {
        let response = self.read(app_request(Method::GET, id), priority).await?;
        expect_subject(response, |app: &App| app.id == id)
    }

    /// `POST /v1/apps`, which is not idempotent. After an unknown outcome the caller must read the apps before another
    /// attempt.
    pub async fn create_app(
        &self,
        body: &CreateApp,
        permit: RequestPermit,
    ) -> Result<ApiResponse<CreatedApp>, ApiError> {
        let request = ApiRequest::new(Method::POST, "/v1/apps", []).body(body)?;
        let response = self.transport.send(&request, permit).await?;
        let server_started_at = response.value.server_started_at;
        let app = response.value.decode(&request)?;
        let created = expect_subject(response.map(|_| app), |app: &App| app.name.eq_ignore_ascii_case(&body.name))?;
        Ok(created.map(|app| CreatedApp { app, server_started_at }))
    }

    /// `PUT /v1/apps/{appId}`: changes the fields in the body.
    pub async fn update_app(
        &self,
        id: i64,
        body: &UpdateApp,
        permit: RequestPermit,
    ) -> Result<ApiResponse<App>, ApiError> {
        let response = self.transport.call(app_request(Method::PUT, id).body(body)?, permit).await?;
        expect_subject(response, |app: &App| app.id == id)
    }

    /// `POST /v1/apps/{appId}/secrets`: creates or replaces a secret.
    /// No error message contains a text of the response, which may quote the value.
    pub async fn put_secret(
        &self,
        app: i64,
        body: &PutSecret,
        permit: RequestPermit,
    ) -> Result<ApiResponse<RemoteSecret>, ApiError> {
        let request = secrets_request(Method::POST, app).with_secret().body(body)?;
        let response: ApiResponse<RemoteSecret> = self.transport.call(request, permit).await?;
        if response.value.name == body.name {
            return Ok(response);
        }
        let message = format!("the API returned another secret than {:?}", body.name);
        Err(ApiError::local(ErrorKind::InvalidResponse, message))
    }

    /// `DELETE /v1/apps/{appId}/secrets/{secretName}`.
    pub async fn delete_secret(
        &self,
        app: i64,
        name: &str,
        permit: RequestPermit,
    ) -> Result<ApiResponse<()>, ApiError> {
        let route = "/v1/apps/{appId}/secrets/{secretName}";
        let request = ApiRequest::new(Method::DELETE, route, [&app.to_string(), name]);
        Ok(self.transport.send(&request, permit).await?.map(drop))
    }

    /// `DELETE /v1/apps/{appId}`. The service hides the app; a create of the same name reactivates the app.
    pub async fn delete_app(&self, id: i64, permit: RequestPermit) -> Result<ApiResponse<()>, ApiError> {
        Ok(self.transport.send(&app_request(Method::DELETE, id), permit).await?.map(drop))
    }

    async fn read<T: DeserializeOwned>(
        &self,
        request: ApiRequest,
        priority: Priority,
    ) -> Result<ApiResponse<T>, ApiError> {
        let permit = self.transport.acquire_permit(priority, AccessMode::Read).await?;
        self.transport.call(request, permit).await
    }

    /// Reads a complete list. Starts again if the list changes between its pages.
    async fn list<P: ListPage + DeserializeOwned>(
        &self,
        request: impl Fn() -> ApiRequest,
        priority: Priority,
    ) -> Result<ApiResponse<Vec<P::Item>>, ApiError> {
        let mut attempt = 1;
        loop {
            let (list, progress) = self.read_pages::<P>(&request, priority).await?;
            match progress {
                ListProgress::Complete => return Ok(list),
                ListProgress::Changed if attempt < MAX_LIST_ATTEMPTS => attempt += 1,
                ListProgress::Changed | ListProgress::More(_) | ListProgress::Unknown => {
                    let items_seen = list.value.len();
                    let name = request().name();
                    let message =
                        format!("{name}: cannot determine whether the list is complete ({items_seen} items read)");
                    return Err(ApiError::local(ErrorKind::IncompleteList { items_seen }, message));
                }
            }
        }
    }

    /// Reads the pages of a list. Returns the items and the state of the list after the last page.
    async fn read_pages<P: ListPage + DeserializeOwned>(
        &self,
        request: impl Fn() -> ApiRequest,
        priority: Priority,
    ) -> Result<(ApiResponse<Vec<P::Item>>, ListProgress), ApiError> {
        let (mut pages, mut progress, mut bytes) = (PageTracker::new(), ListProgress::More(0), 0);
        let mut list = ApiResponse { value: Vec::new(), started_at: Timestamp::MAX };
        for _ in 0..MAX_PAGES {
            let ListProgress::More(offset) = progress else { break };
            let query = [("limit", PAGE_SIZE.to_string()), ("offset", offset.to_string())];
            let page = self.read_page::<P>(request().query(query), priority, &mut bytes).await?;
            list.started_at = list.started_at.min(page.started_at);
            let items = page.value.items();
            let keys: Vec<P::Key> = items.iter().map(P::key).collect();
            list.value.extend(items.into_iter().filter(|item| !pages.contains(&P::key(item))));
            progress = pages.add_page(&keys);
        }
        Ok((list, progress))
    }

    /// Reads a page of a list, and adds its length to `bytes`.
    async fn read_page<P: DeserializeOwned>(
        &self,
        request: ApiRequest,
        priority: Priority,
        bytes: &mut usize,
    ) -> Result<ApiResponse<P>, ApiError> {
        let permit = self.transport.acquire_permit(priority, AccessMode::Read).await?;
        let page = self.transport.send(&request, permit).await?;
        *bytes += page.value.len();
        if *bytes > MAX_LIST_BYTES {
            let message = format!("{}: the list is longer than {} MiB", request.name(), MAX_LIST_BYTES >> 20);
            return Err(ApiError::local(ErrorKind::InvalidResponse, message));
        }
        let value = page.value.decode(&request)?;
        Ok(page.map(|_| value))
    }
}

fn app_request(method: Method, id: i64) -> ApiRequest {
    ApiRequest::new(method, "/v1/apps/{appId}", [&id.to_string()])
}

fn secrets_request(method: Method, app: i64) -> ApiRequest {
    ApiRequest::new(method, "/v1/apps/{appId}/secrets", [&app.to_string()])
}

/// Rejects a response about another app than the requested one.
fn expect_subject(
    response: ApiResponse<App>,
    is_requested: impl Fn(&App) -> bool,
) -> Result<ApiResponse<App>, ApiError> {
    if response.value.id > 0 && is_requested(&response.value) {
        return Ok(response);
    }
    let App { id, name, .. } = &response.value;
    let message = format!("the API returned app {} ({id}), which was not requested", quote_server_text(name));
    Err(ApiError::local(ErrorKind::InvalidResponse, message))
}
