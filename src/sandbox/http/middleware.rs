//! Middleware of all API requests: authentication, journal, body limit, rate limits and faults.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use jiff::Timestamp;

use crate::sandbox::api::paths;
use crate::sandbox::auth::identity::{RequestIdentity, target_organization};
use crate::sandbox::model::profile::Profile;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::traffic::faults::{DelayFault, FaultAction, FaultDelay, FaultStage, FaultTarget, NamedFault};
use crate::sandbox::traffic::journal::{EntryRecorder, ReceivedRequest, RequestState};
use crate::sandbox::traffic::rate_limits::RateLimitState;
use crate::sandbox::wire::error::{ErrorResponse, remove_error_code};
use crate::sandbox::wire::request_body::{MAX_BODY_BYTES, RequestBody};

/// Maximum number of bytes to read from an oversized body. A client that is still sending when the connection closes
/// sees a broken connection instead of the 413 response.
const MAX_READ_BYTES: usize = 8 * MAX_BODY_BYTES;

/// Response extension: close the connection instead of sending the response.
#[derive(Clone)]
pub(crate) struct CloseConnection;

/// Adds the middleware to all routes of `router`.
pub(crate) fn wrap(router: Router<Arc<Sandbox>>, sandbox: &Arc<Sandbox>) -> Router<Arc<Sandbox>> {
    router
        .layer(middleware::from_fn_with_state(Arc::clone(sandbox), handle))
        .layer(DefaultBodyLimit::max(MAX_READ_BYTES))
}

async fn handle(State(sandbox): State<Arc<Sandbox>>, mut request: Request, next: Next) -> Response {
    let identity = RequestIdentity::from_headers(request.headers(), &sandbox.state().credentials, Timestamp::now());
    let context = RequestContext::new(Arc::clone(&sandbox), &request, &identity);
    request.extensions_mut().insert(identity.clone());
    // The client disconnected while sending. The drop of `context` records the request as abandoned.
    let Some((request, body)) = buffer_body(request).await else { return close_connection() };
    let bytes = body.read().unwrap_or_default();
    context.recorder.record_body(paths::journal_body(context.target.route.as_deref(), bytes), bytes.len());
    let rate_limit = count_request(&sandbox, &request, &identity);
    if rate_limit.as_ref().is_some_and(|rate_limit| rate_limit.retry_after.is_some()) {
        return context.respond(add_rate_limit_headers(ErrorResponse::rate_limited(), rate_limit.as_ref()));
    }
    let context = match context.inject_fault(FaultStage::Before).await {
        Ok(context) => context,
        Err(response) => return response,
    };
    let mut response = next.run(request).await;
    if sandbox.config.switches.profile == Profile::Legacy {
        response = remove_error_code(response);
    }
    if !context.target.method.is_safe() && response.status().is_success() {
        context.recorder.record_applied();
    }
    match context.inject_fault(FaultStage::After).await {
        Ok(context) => context.respond(add_rate_limit_headers(response, rate_limit.as_ref())),
        Err(response) => response,
    }
}

/// Counts a request against the rate limits. `None`: no rate limit applies.
fn count_request(sandbox: &Sandbox, request: &Request, identity: &RequestIdentity) -> Option<RateLimitState> {
    let RequestIdentity::Authenticated(credential) = identity else { return None };
    if !credential.is_limited || !paths::is_rate_limited(request.uri().path()) {
        return None;
    }
    let organization = match target_organization(&sandbox.config, credential, request.headers()) {
        Ok((organization, _)) => organization,
        // The handler rejects an invalid organization header later. The request counts for the own organization of the
        // credential.
        Err(_) => sandbox.config.find_organization(&credential.organization)?,
    };
    Some(sandbox.request_limiter.count_request(credential, organization.id, Instant::now()))
}

fn add_rate_limit_headers(response: impl IntoResponse, rate_limit: Option<&RateLimitState>) -> Response {
    let mut response = response.into_response();
    if let Some(rate_limit) = rate_limit {
        rate_limit.write_headers(response.headers_mut(), Timestamp::now());
    }
    response
}

struct RequestContext {
    sandbox: Arc<Sandbox>,
    recorder: EntryRecorder,
    target: FaultTarget,
}

impl RequestContext {
    fn new(sandbox: Arc<Sandbox>, request: &Request, identity: &RequestIdentity) -> Self {
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let credential = identity.credential_name().map(str::to_owned);
        let received = ReceivedRequest {
            method: method.to_string(),
            path: request.uri().path().into(),
            query: request.uri().query().map(str::to_owned),
            route: route.clone(),
            credential: credential.clone(),
        };
        let target = FaultTarget { method, route, credential };
        Self { recorder: EntryRecorder::new(Arc::clone(&sandbox.journal), received), sandbox, target }
    }

    /// Executes the first matching fault rule. `Err` is the final response.
    async fn inject_fault(self, stage: FaultStage) -> Result<Self, Response> {
        let Some(fault) = self.sandbox.faults.trigger(stage, &self.target) else {
            return Ok(self);
        };
        let delay = match &fault.action {
            FaultAction::Named(NamedFault::Close) => None,
            FaultAction::Named(NamedFault::Hang) => Some(Duration::MAX),
            FaultAction::Delay(DelayFault { delay }) => Some(delay.to_duration()),
            FaultAction::Response(response) => response.delay.map(FaultDelay::to_duration),
        };
        if let Some(delay) = delay {
            self.recorder.record_held(match stage {
                FaultStage::Before => RequestState::Held,
                FaultStage::After => RequestState::AppliedHeld,
            });
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = fault.released.cancelled() => {}
                () = self.sandbox.shutdown.cancelled() => return Err(self.close()),
            }
        }
        match fault.action {
            FaultAction::Response(response) => Err(self.respond(response)),
            FaultAction::Named(NamedFault::Close) => Err(self.close()),
            FaultAction::Named(NamedFault::Hang) | FaultAction::Delay(_) => Ok(self),
        }
    }

    fn respond(self, response: impl IntoResponse) -> Response {
        let response = response.into_response();
        self.recorder.record_answered(response.status().as_u16());
        response
    }

    fn close(self) -> Response {
        self.recorder.record_closed();
        close_connection()
    }
}

fn close_connection() -> Response {
    Extension(CloseConnection).into_response()
}

/// Reads the whole body and adds it to the request as an extension, so that handlers never wait for the client. `None`:
/// the client disconnected.
async fn buffer_body(request: Request) -> Option<(Request, RequestBody)> {
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts.clone(), body);
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => RequestBody::from(body),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => RequestBody::TOO_LARGE,
        Err(_) => return None,
    };
    let mut request = Request::from_parts(parts, Body::empty());
    request.extensions_mut().insert(body.clone());
    Some((request, body))
}
