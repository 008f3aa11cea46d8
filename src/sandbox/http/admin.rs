//! The `/sandbox/` endpoints: control of the sandbox by tests and users. They require no credential and are not
//! recorded in the journal.

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

use crate::sandbox::model::app::responses::AppDetailBody;
use crate::sandbox::model::secret::{self, StoredSecret};
use crate::sandbox::settings::config::CredentialConfig;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::traffic::faults;
use crate::sandbox::wire::error::ErrorResponse;
use crate::sandbox::wire::timestamps;

/// Maximum wait of one journal request.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Routes under `/sandbox`.
pub(crate) fn router() -> Router<Arc<Sandbox>> {
    Router::new()
        .route("/journal", get(get_journal))
        .route("/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/state", get(get_state))
        .route("/apps/{id}/connect", post(async |sandbox, id| set_repository_connected(sandbox, id, true)))
        .route("/apps/{id}/disconnect", post(async |sandbox, id| set_repository_connected(sandbox, id, false)))
        .route("/credentials", get(list_credentials))
        .route("/credentials/{name}/revoke", post(revoke_credential))
        .route("/credentials/{name}/expire", post(expire_credential))
        .route("/credentials/{name}/rotate", post(rotate_credential))
        .fallback(async || ErrorResponse::route_not_found())
        .method_not_allowed_fallback(async || ErrorResponse::method_not_allowed())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalQuery {
    /// Revision.
    #[serde(default)]
    after: u64,
    /// Milliseconds.
    #[serde(default)]
    wait: u64,
}

async fn get_journal(
    State(sandbox): State<Arc<Sandbox>>,
    query: Result<Query<JournalQuery>, QueryRejection>,
) -> Result<Json<Value>, ErrorResponse> {
    let Query(query) = query.map_err(|rejection| ErrorResponse::invalid_parameter(rejection.body_text()))?;
    let wait = Duration::from_millis(query.wait).min(MAX_WAIT);
    let (entries, last) = tokio::select! {
        changed = sandbox.journal.changes_since(query.after, wait) => changed,
        () = sandbox.shutdown.cancelled() => sandbox.journal.changes_since(query.after, Duration::ZERO).await,
    };
    Ok(Json(json!({ "entries": entries, "last": last })))
}

async fn list_faults(State(sandbox): State<Arc<Sandbox>>) -> Json<Vec<faults::FaultRuleStatus>> {
    Json(sandbox.faults.list())
}

async fn add_fault(
    State(sandbox): State<Arc<Sandbox>>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ErrorResponse> {
    let rule: faults::FaultRule =
        serde_json::from_slice(&body).map_err(|error| ErrorResponse::malformed_body(error.to_string()))?;
    if let Some(contradiction) = rule.find_contradiction() {
        return Err(ErrorResponse::malformed_body(contradiction));
    }
    let id = sandbox.faults.add(rule).ok_or_else(|| ErrorResponse::malformed_body("there are too many fault rules"))?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn remove_fault(
    State(sandbox): State<Arc<Sandbox>>,
    Path(id): Path<String>,
) -> Result<StatusCode, ErrorResponse> {
    let removed = id.parse().is_ok_and(|id| sandbox.faults.remove(id));
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(ErrorResponse::route_not_found()) }
}

async fn clear_faults(State(sandbox): State<Arc<Sandbox>>) -> StatusCode {
    sandbox.faults.clear();
    StatusCode::NO_CONTENT
}

fn set_repository_connected(
    State(sandbox): State<Arc<Sandbox>>,
    Path(id): Path<String>,
    connected: bool,
) -> Result<StatusCode, ErrorResponse> {
    let id = id.parse().map_err(|_| ErrorResponse::route_not_found())?;
    sandbox.update_state(|state| no_content_if_found(state.store.set_repository_connected(id, connected)))
}

/// Returns all credentials, including secrets.
async fn list_credentials(State(sandbox): State<Arc<Sandbox>>) -> Json<Vec<CredentialConfig>> {
    Json(sandbox.state().credentials.list())
}

async fn revoke_credential(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ErrorResponse> {
    sandbox.update_state(|state| no_content_if_found(state.credentials.revoke(&name)))
}

async fn expire_credential(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ErrorResponse> {
    sandbox.update_state(|state| no_content_if_found(state.credentials.expire(&name, Timestamp::now())))
}

async fn rotate_credential(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
) -> Result<Json<CredentialConfig>, ErrorResponse> {
    sandbox.update_state(|state| state.credentials.rotate(&name).map(Json).ok_or_else(ErrorResponse::route_not_found))
}

fn no_content_if_found(is_found: bool) -> Result<StatusCode, ErrorResponse> {
    if is_found { Ok(StatusCode::NO_CONTENT) } else { Err(ErrorResponse::route_not_found()) }
}

/// Returns all apps, including deleted apps, and the digests of their secrets. Contains no API key and no secret value.
async fn get_state(State(sandbox): State<Arc<Sandbox>>) -> Json<Value> {
    let state = sandbox.state();
    let apps: Vec<_> = state
        .store
        .all_apps()
        .map(|app| AdminAppBody {
            app: app.to_detail(sandbox.organization_name(app.organization)),
            secrets: app.secrets.iter().map(StoredSecret::to_admin_body).collect(),
            deleted_at: app.deleted_at.map(timestamps::format_millis),
            repository_connected: app.repository_connected,
        })
        .collect();
    Json(json!({ "organizations": sandbox.config.organizations, "apps": apps }))
}

/// An app with fields that the API does not return.
#[derive(Serialize)]
struct AdminAppBody {
    #[serde(flatten)]
    app: AppDetailBody,
    secrets: Vec<secret::AdminSecretBody>,
    deleted_at: Option<String>,
    repository_connected: bool,
}
