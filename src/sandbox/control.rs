//! `/sandbox/`: the journal, the faults and the state, for tests and demos. Not part of the Management API.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Refusal, time};
use super::faults::{Listed, Rule};

/// The longest that a request for the journal is held.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/sandbox/journal", get(journal))
        .route("/sandbox/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/sandbox/faults/{id}", delete(remove_fault))
        .route("/sandbox/state", get(state))
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    after: u64,
    /// Milliseconds.
    #[serde(default)]
    wait: u64,
}

async fn journal(State(shared): State<Shared>, Query(since): Query<Since>) -> Json<Value> {
    let wait = Duration::from_millis(since.wait).min(LONGEST_WAIT);
    let (entries, last) = shared.journal.after(since.after, wait).await;
    Json(json!({ "entries": entries, "last": last }))
}

async fn list_faults(State(shared): State<Shared>) -> Json<Vec<Listed>> {
    Json(shared.faults.list())
}

async fn add_fault(State(shared): State<Shared>, body: Bytes) -> Result<(StatusCode, Json<Value>), Refusal> {
    let rule: Rule =
        serde_json::from_slice(&body).map_err(|error| Refusal::bad_request(format!("Not a fault rule: {error}")))?;
    Ok((StatusCode::CREATED, Json(json!({ "id": shared.faults.add(rule) }))))
}

async fn remove_fault(State(shared): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let known = id.parse().is_ok_and(|id| shared.faults.remove(id));
    if known { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::not_found("No such fault rule")) }
}

async fn clear_faults(State(shared): State<Shared>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

async fn state(State(shared): State<Shared>) -> Json<Value> {
    let state = shared.state();
    let apps: Vec<Value> = state
        .apps
        .values()
        .map(|app| {
            let mut shown = app.detail();
            shown.insert("deleted_at".to_owned(), Value::from(app.deleted_at.map(time)));
            shown.insert("org".to_owned(), Value::from(app.organization.as_str()));
            Value::Object(shown)
        })
        .collect();
    Json(json!({ "organizations": shared.config.organizations, "apps": apps }))
}
