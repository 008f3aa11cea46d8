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
use crate::sandbox::auth::identity::{Identity, target};
use crate::sandbox::model::profile::Profile;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::traffic::faults::{Action, Late, Named, Stage};
use crate::sandbox::traffic::journal::{self, Arrival, Ticket};
use crate::sandbox::traffic::rate_limits::Standing;
use crate::sandbox::wire::error::{ApiError, without_code};
use crate::sandbox::wire::request_body::{MAX_BODY, Payload};

/// So much of a body is read, also if it is too large: a client that is still sending when the connection closes sees a broken
/// connection instead of the answer.
const MAX_READ: usize = 8 * MAX_BODY;

/// Marks a response that must not be sent: the connection is closed instead.
#[derive(Clone)]
pub(crate) struct CloseConnection;

/// Puts the gateway in front of every route there is so far.
pub(crate) fn guard(router: Router<Arc<Sandbox>>, sandbox: &Arc<Sandbox>) -> Router<Arc<Sandbox>> {
    router.layer(middleware::from_fn_with_state(Arc::clone(sandbox), pass)).layer(DefaultBodyLimit::max(MAX_READ))
}

async fn pass(State(sandbox): State<Arc<Sandbox>>, mut request: Request, next: Next) -> Response {
    let identity = Identity::of(request.headers(), &sandbox.kept().credentials, Timestamp::now());
    let visit = Visit::new(Arc::clone(&sandbox), &request, &identity);
    request.extensions_mut().insert(identity.clone());
    // A body that broke off: whoever sent it is gone, and dropping the visit says so in the journal.
    let Some((request, payload)) = read_body(request).await else { return close_connection() };
    let body = payload.read().unwrap_or_default();
    visit.ticket.body(paths::journaled(visit.route.as_deref(), body), body.len());
    let standing = count(&sandbox, &request, &identity);
    if standing.as_ref().is_some_and(|standing| standing.retry_after.is_some()) {
        return visit.answer(with_standing(ApiError::too_many(), standing.as_ref()));
    }
    let visit = match visit.meet(Stage::Before).await {
        Ok(visit) => visit,
        Err(response) => return response,
    };
    let mut response = next.run(request).await;
    if sandbox.config.switches.profile == Profile::Legacy {
        response = without_code(response);
    }
    if !visit.method.is_safe() && response.status().is_success() {
        visit.ticket.applied();
    }
    match visit.meet(Stage::After).await {
        Ok(visit) => visit.answer(with_standing(response, standing.as_ref())),
        Err(instead) => instead,
    }
}

/// Counts a request against the rate limits. None: they are not for it.
fn count(sandbox: &Sandbox, request: &Request, identity: &Identity) -> Option<Standing> {
    let Identity::Known(credential) = identity else { return None };
    if !credential.is_limited || !paths::is_limited(request.uri().path()) {
        return None;
    }
    // A header that names no organization within reach is refused after this: until then its own is meant.
    let own = || sandbox.config.organizations.iter().find(|known| known.is_called(&credential.organization));
    let named = target(&sandbox.config, credential, request.headers()).ok().map(|(organization, _)| organization);
    let organization = named.or_else(own)?;
    Some(sandbox.rates.count(credential, organization.id, Instant::now()))
}

fn with_standing(response: impl IntoResponse, standing: Option<&Standing>) -> Response {
    let mut response = response.into_response();
    if let Some(standing) = standing {
        standing.tell(response.headers_mut(), Timestamp::now());
    }
    response
}

/// One request on its way through.
struct Visit {
    sandbox: Arc<Sandbox>,
    ticket: Ticket,
    method: Method,
    route: Option<String>,
}

impl Visit {
    fn new(sandbox: Arc<Sandbox>, request: &Request, identity: &Identity) -> Self {
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let arrival = Arrival {
            method: method.to_string(),
            path: request.uri().path().into(),
            query: request.uri().query().map(str::to_owned),
            route: route.clone(),
            credential: identity.name().map(str::to_owned),
        };
        Self { ticket: Ticket::new(Arc::clone(&sandbox.journal), arrival), sandbox, method, route }
    }

    /// Lets the first fault of this stage happen, if there is one. The error is the end of the request.
    async fn meet(self, stage: Stage) -> Result<Self, Response> {
        let Some(fault) = self.sandbox.faults.take(stage, &self.method, self.route.as_deref()) else {
            return Ok(self);
        };
        let hold = match &fault.action {
            Action::Named(Named::Close) => None,
            Action::Named(Named::Hang) => Some(None),
            Action::Late(Late { delay }) => Some(Some(delay.duration())),
            Action::Answer(answer) => answer.delay.map(|delay| Some(delay.duration())),
        };
        if let Some(delay) = hold {
            self.ticket.held(match stage {
                Stage::Before => journal::State::Held,
                Stage::After => journal::State::AppliedHeld,
            });
            tokio::select! {
                () = pass_time(delay) => {}
                () = fault.released.cancelled() => {}
                () = self.sandbox.stopping.cancelled() => return Err(self.close()),
            }
        }
        match fault.action {
            Action::Answer(answer) => Err(self.answer(answer)),
            Action::Named(Named::Close) => Err(self.close()),
            Action::Named(Named::Hang) | Action::Late(_) => Ok(self),
        }
    }

    fn answer(self, response: impl IntoResponse) -> Response {
        let response = response.into_response();
        self.ticket.answered(response.status().as_u16());
        response
    }

    fn close(self) -> Response {
        self.ticket.closed();
        close_connection()
    }
}

/// For ever, if there is no end to it.
async fn pass_time(time: Option<Duration>) {
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
async fn read_body(request: Request) -> Option<(Request, Payload)> {
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let payload = match Bytes::from_request(whole, &()).await {
        Ok(body) => Payload::from(body),
        Err(refusal) if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE => Payload::TOO_LARGE,
        Err(_) => return None,
    };
    let mut request = Request::from_parts(parts, Body::empty());
    request.extensions_mut().insert(payload.clone());
    Some((request, payload))
}
