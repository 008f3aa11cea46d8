//! `/sandbox/`: what a test, or a person, asks of the server itself. No credential is needed and nothing is journaled.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::sandbox::model::app::responses::Detail;
use crate::sandbox::model::secret::{self, Secret};
use crate::sandbox::settings::config::Credential;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::traffic::faults;
use crate::sandbox::wire::error::ApiError;
use crate::sandbox::wire::timestamps;

/// No wait is longer: a reader that wants more asks again.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Everything under `/sandbox`.
pub(crate) fn router() -> Router<Arc<Sandbox>> {
    Router::new()
        .route("/journal", get(journal))
        .route("/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/state", get(state))
        .route("/apps/{id}/connect", post(async |sandbox, id| connect(sandbox, id, true)))
        .route("/apps/{id}/disconnect", post(async |sandbox, id| connect(sandbox, id, false)))
        .route("/credentials", get(credentials))
        .route("/credentials/{name}/revoke", post(revoke))
        .route("/credentials/{name}/expire", post(expire))
        .route("/credentials/{name}/rotate", post(rotate))
        .fallback(async || ApiError::no_route())
        .method_not_allowed_fallback(async || ApiError::no_method())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalQuery {
    /// A revision.
    #[serde(default)]
    after: u64,
    /// Milliseconds.
    #[serde(default)]
    wait: u64,
}

async fn journal(
    State(sandbox): State<Arc<Sandbox>>,
    query: Result<Query<JournalQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|refusal| ApiError::parameter(refusal.body_text()))?;
    let wait = Duration::from_millis(query.wait).min(MAX_WAIT);
    let (entries, last) = tokio::select! {
        changed = sandbox.journal.since(query.after, wait) => changed,
        () = sandbox.stopping.cancelled() => sandbox.journal.since(query.after, Duration::ZERO).await,
    };
    Ok(Json(json!({ "entries": entries, "last": last })))
}

async fn list_faults(State(sandbox): State<Arc<Sandbox>>) -> Json<Vec<faults::Listed>> {
    Json(sandbox.faults.list())
}

async fn add_fault(State(sandbox): State<Arc<Sandbox>>, body: Bytes) -> Result<(StatusCode, Json<Value>), ApiError> {
    let spec: faults::Spec = serde_json::from_slice(&body).map_err(|error| ApiError::malformed(error.to_string()))?;
    if let Some(contradiction) = spec.contradiction() {
        return Err(ApiError::malformed(contradiction));
    }
    let id = sandbox.faults.add(spec).ok_or_else(|| ApiError::malformed("there are too many fault rules"))?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn remove_fault(State(sandbox): State<Arc<Sandbox>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let removed = id.parse().is_ok_and(|id| sandbox.faults.remove(id));
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::no_route()) }
}

async fn clear_faults(State(sandbox): State<Arc<Sandbox>>) -> StatusCode {
    sandbox.faults.clear();
    StatusCode::NO_CONTENT
}

/// Connects an app with a repository, or disconnects it.
fn connect(
    State(sandbox): State<Arc<Sandbox>>,
    Path(id): Path<String>,
    connected: bool,
) -> Result<StatusCode, ApiError> {
    let id = id.parse().map_err(|_| ApiError::no_route())?;
    sandbox.change(|kept| found(kept.store.connect(id, connected)))
}

/// Every credential as it is now, secrets included.
async fn credentials(State(sandbox): State<Arc<Sandbox>>) -> Json<Vec<Credential>> {
    Json(sandbox.kept().credentials.list())
}

async fn revoke(State(sandbox): State<Arc<Sandbox>>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    sandbox.change(|kept| found(kept.credentials.revoke(&name)))
}

async fn expire(State(sandbox): State<Arc<Sandbox>>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    sandbox.change(|kept| found(kept.credentials.expire(&name, Timestamp::now())))
}

async fn rotate(State(sandbox): State<Arc<Sandbox>>, Path(name): Path<String>) -> Result<Json<Credential>, ApiError> {
    sandbox.change(|kept| kept.credentials.rotate(&name).map(Json).ok_or_else(ApiError::no_route))
}

fn found(found: bool) -> Result<StatusCode, ApiError> {
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::no_route()) }
}

/// What is kept, deleted apps included; no API key and no other secret value, but the
/// digests of those that were set.
async fn state(State(sandbox): State<Arc<Sandbox>>) -> Json<Value> {
    let kept = sandbox.kept();
    let apps: Vec<_> = kept
        .store
        .everything()
        .map(|app| {
            let organization = sandbox.organization(app.organization).map_or("", |organization| &organization.name);
            KeptApp {
                app: app.detail(organization),
                secrets: app.secrets.iter().map(Secret::kept).collect(),
                deleted_at: app.deleted_at.map(timestamps::text),
                repository_connected: app.repository_connected,
            }
        })
        .collect();
    Json(json!({ "organizations": sandbox.config.organizations, "apps": apps }))
}

/// An app, with what the API does not show of it.
#[derive(Serialize)]
struct KeptApp {
    #[serde(flatten)]
    app: Detail,
    secrets: Vec<secret::Kept>,
    deleted_at: Option<String>,
    repository_connected: bool,
}
