//! What every request of the API passes: the journal, and the faults before and after it takes effect.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shared;
use super::answer::Refusal;
use super::auth;
use super::faults::{Action, Plain, Strike, When};
use super::journal::{self, Journal, Progress};

/// The largest body taken: a spicepod is 256 KiB at most.
const LARGEST_BODY: usize = 1024 * 1024;

/// Marks a response instead of which the connection is to be closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct CloseConnection;

pub(super) async fn pass(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, LARGEST_BODY).await else {
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body is too large").into_response();
    };
    let route = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let (method, mutates) = (parts.method.to_string(), parts.method != Method::GET);
    let mut record = Record::begin(
        &shared.journal,
        journal::Request {
            method: method.clone(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            route: route.clone(),
            credential: auth::bearer(&shared, &parts.headers).ok().map(|credential| credential.name.clone()),
            body: serde_json::from_slice(&bytes).ok(),
        },
    );
    if let Some(strike) = shared.faults.strike(When::Before, &method, route.as_deref())
        && let Some(response) = suffer(strike, Progress::Held, &record).await
    {
        return record.end(response);
    }
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    if mutates && response.status().is_success() {
        record.applied();
    }
    if let Some(strike) = shared.faults.strike(When::After, &method, route.as_deref())
        && let Some(response) = suffer(strike, Progress::AppliedHeld, &record).await
    {
        return record.end(response);
    }
    record.end(response)
}

/// Carries a fault out. Nothing means that the request goes on.
async fn suffer(strike: Strike, held: Progress, record: &Record) -> Option<Response> {
    match strike.action {
        Action::Answer { status, body, headers } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body = body.unwrap_or_else(|| json!({ "error": "A fault rule of the sandbox answers" }));
            let mut response = (status, Json(body)).into_response();
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    response.headers_mut().insert(name, value);
                }
            }
            Some(response)
        }
        Action::Plain(Plain::Close) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            response.extensions_mut().insert(CloseConnection);
            Some(response)
        }
        Action::Plain(Plain::Hang) => {
            record.progress(held);
            let mut release = strike.release;
            // Ends with an error when the rule goes, which is what is waited for.
            while release.changed().await.is_ok() {}
            None
        }
    }
}

/// A request's entry in the journal; says so if the request is dropped before its end.
struct Record {
    journal: Arc<Journal>,
    seq: u64,
    ended: bool,
}

impl Record {
    fn begin(journal: &Arc<Journal>, request: journal::Request) -> Self {
        Self { journal: Arc::clone(journal), seq: journal.add(request), ended: false }
    }

    fn progress(&self, state: Progress) {
        self.journal.update(self.seq, |entry| entry.state = state);
    }

    fn applied(&self) {
        self.journal.update(self.seq, |entry| entry.applied = true);
    }

    fn end(&mut self, response: Response) -> Response {
        let closes = response.extensions().get::<CloseConnection>().is_some();
        let status = (!closes).then(|| response.status().as_u16());
        let state = if closes { Progress::Closed } else { Progress::Answered };
        self.journal.update(self.seq, |entry| (entry.state, entry.status) = (state, status));
        self.ended = true;
        response
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            self.progress(Progress::Abandoned);
        }
    }
}
