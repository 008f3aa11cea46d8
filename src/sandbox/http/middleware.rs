//! What happens to every API request around its handler: it is journaled, its body is read, rate
//! limits hold, and faults meet it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use jiff::Timestamp;

use crate::sandbox::api::paths;
use crate::sandbox::auth::identity::{RequestIdentity, target_organization};
use crate::sandbox::model::profile::Profile;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::traffic::faults::{DelayFault, FaultAction, FaultStage, NamedFault};
use crate::sandbox::traffic::journal::{EntryRecorder, ReceivedRequest, RequestState};
use crate::sandbox::traffic::rate_limits::RateLimitState;
use crate::sandbox::wire::error::{ErrorResponse, remove_error_code};
use crate::sandbox::wire::request_body::{MAX_BODY_BYTES, RequestBody};

/// So much of a body is read, also if it is too large: a client that is still sending when the connection closes sees a broken
/// connection instead of the answer.
const MAX_READ_BYTES: usize = 8 * MAX_BODY_BYTES;

/// Marks a response that must not be sent: the connection is closed instead.
#[derive(Clone)]
pub(crate) struct CloseConnection;

/// Puts the gateway in front of every route there is so far.
pub(crate) fn wrap(router: Router<Arc<Sandbox>>, sandbox: &Arc<Sandbox>) -> Router<Arc<Sandbox>> {
    router
        .layer(middleware::from_fn_with_state(Arc::clone(sandbox), handle))
        .layer(DefaultBodyLimit::max(MAX_READ_BYTES))
}

async fn handle(State(sandbox): State<Arc<Sandbox>>, mut request: Request, next: Next) -> Response {
    let identity = RequestIdentity::from_headers(request.headers(), &sandbox.state().credentials, Timestamp::now());
    let context = RequestContext::new(Arc::clone(&sandbox), &request, &identity);
    request.extensions_mut().insert(identity.clone());
    // A body that broke off: whoever sent it is gone, and dropping the context says so in the journal.
    let Some((request, payload)) = buffer_body(request).await else { return close_connection() };
    let body = payload.read().unwrap_or_default();
    context.recorder.record_body(paths::journal_body(context.route.as_deref(), body), body.len());
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
    if !context.method.is_safe() && response.status().is_success() {
        context.recorder.record_applied();
    }
    match context.inject_fault(FaultStage::After).await {
        Ok(context) => context.respond(add_rate_limit_headers(response, rate_limit.as_ref())),
        Err(instead) => instead,
    }
}

/// Counts a request against the rate limits. None: they are not for it.
fn count_request(sandbox: &Sandbox, request: &Request, identity: &RequestIdentity) -> Option<RateLimitState> {
    let RequestIdentity::Authenticated(credential) = identity else { return None };
    if !credential.is_limited || !paths::is_rate_limited(request.uri().path()) {
        return None;
    }
    // A header that names no organization within reach is refused after this: until then its own is meant.
    let own = || sandbox.config.organizations.iter().find(|known| known.is_called(&credential.organization));
    let named =
        target_organization(&sandbox.config, credential, request.headers()).ok().map(|(organization, _)| organization);
    let organization = named.or_else(own)?;
    Some(sandbox.request_limiter.count_request(credential, organization.id, Instant::now()))
}

fn add_rate_limit_headers(response: impl IntoResponse, rate_limit: Option<&RateLimitState>) -> Response {
    let mut response = response.into_response();
    if let Some(rate_limit) = rate_limit {
        rate_limit.write_headers(response.headers_mut(), Timestamp::now());
    }
    response
}

/// One request on its way through.
struct RequestContext {
    sandbox: Arc<Sandbox>,
    recorder: EntryRecorder,
    method: Method,
    route: Option<String>,
}

impl RequestContext {
    fn new(sandbox: Arc<Sandbox>, request: &Request, identity: &RequestIdentity) -> Self {
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let arrival = ReceivedRequest {
            method: method.to_string(),
            path: request.uri().path().into(),
            query: request.uri().query().map(str::to_owned),
            route: route.clone(),
            credential: identity.credential_name().map(str::to_owned),
        };
        Self { recorder: EntryRecorder::new(Arc::clone(&sandbox.journal), arrival), sandbox, method, route }
    }

    /// Lets the first fault of this stage happen, if there is one. The error is the end of the request.
    async fn inject_fault(self, stage: FaultStage) -> Result<Self, Response> {
        let Some(fault) = self.sandbox.faults.trigger(stage, &self.method, self.route.as_deref()) else {
            return Ok(self);
        };
        let hold = match &fault.action {
            FaultAction::Named(NamedFault::Close) => None,
            FaultAction::Named(NamedFault::Hang) => Some(None),
            FaultAction::Delay(DelayFault { delay }) => Some(Some(delay.to_duration())),
            FaultAction::Response(response) => response.delay.map(|delay| Some(delay.to_duration())),
        };
        if let Some(delay) = hold {
            self.recorder.record_held(match stage {
                FaultStage::Before => RequestState::Held,
                FaultStage::After => RequestState::AppliedHeld,
            });
            tokio::select! {
                () = wait_for(delay) => {}
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

/// For ever, if there is no end to it.
async fn wait_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn close_connection() -> Response {
    Extension(CloseConnection).into_response()
}

/// Reads the whole body and puts it beside the request, so that nothing behind this has to wait for the client. None: it
/// broke off.
async fn buffer_body(request: Request) -> Option<(Request, RequestBody)> {
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let payload = match Bytes::from_request(whole, &()).await {
        Ok(body) => RequestBody::from(body),
        Err(refusal) if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE => RequestBody::TOO_LARGE,
        Err(_) => return None,
    };
    let mut request = Request::from_parts(parts, Body::empty());
    request.extensions_mut().insert(payload.clone());
    Some((request, payload))
}
