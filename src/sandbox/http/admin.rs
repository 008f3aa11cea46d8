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

use crate::sandbox::model::app::responses::AppDetailBody;
use crate::sandbox::model::secret::{self, StoredSecret};
use crate::sandbox::settings::config::CredentialConfig;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::traffic::faults;
use crate::sandbox::wire::error::ErrorResponse;
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
        .route("/apps/{id}/connect", post(async |sandbox, id| set_repository_connected(sandbox, id, true)))
        .route("/apps/{id}/disconnect", post(async |sandbox, id| set_repository_connected(sandbox, id, false)))
        .route("/credentials", get(credentials))
        .route("/credentials/{name}/revoke", post(revoke))
        .route("/credentials/{name}/expire", post(expire))
        .route("/credentials/{name}/rotate", post(rotate))
        .fallback(async || ErrorResponse::route_not_found())
        .method_not_allowed_fallback(async || ErrorResponse::method_not_allowed())
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
) -> Result<Json<Value>, ErrorResponse> {
    let Query(query) = query.map_err(|refusal| ErrorResponse::invalid_parameter(refusal.body_text()))?;
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

/// Connects an app with a repository, or disconnects it.
fn set_repository_connected(
    State(sandbox): State<Arc<Sandbox>>,
    Path(id): Path<String>,
    connected: bool,
) -> Result<StatusCode, ErrorResponse> {
    let id = id.parse().map_err(|_| ErrorResponse::route_not_found())?;
    sandbox.update_state(|state| no_content_if_found(state.store.set_repository_connected(id, connected)))
}

/// Every credential as it is now, secrets included.
async fn credentials(State(sandbox): State<Arc<Sandbox>>) -> Json<Vec<CredentialConfig>> {
    Json(sandbox.state().credentials.list())
}

async fn revoke(State(sandbox): State<Arc<Sandbox>>, Path(name): Path<String>) -> Result<StatusCode, ErrorResponse> {
    sandbox.update_state(|state| no_content_if_found(state.credentials.revoke(&name)))
}

async fn expire(State(sandbox): State<Arc<Sandbox>>, Path(name): Path<String>) -> Result<StatusCode, ErrorResponse> {
    sandbox.update_state(|state| no_content_if_found(state.credentials.expire(&name, Timestamp::now())))
}

async fn rotate(
    State(sandbox): State<Arc<Sandbox>>,
    Path(name): Path<String>,
) -> Result<Json<CredentialConfig>, ErrorResponse> {
    sandbox.update_state(|state| state.credentials.rotate(&name).map(Json).ok_or_else(ErrorResponse::route_not_found))
}

fn no_content_if_found(is_found: bool) -> Result<StatusCode, ErrorResponse> {
    if is_found { Ok(StatusCode::NO_CONTENT) } else { Err(ErrorResponse::route_not_found()) }
}

/// What is kept, deleted apps included; no API key and no other secret value, but the
/// digests of those that were set.
async fn state(State(sandbox): State<Arc<Sandbox>>) -> Json<Value> {
    let state = sandbox.state();
    let apps: Vec<_> = state
        .store
        .all_apps()
        .map(|app| {
            let organization =
                sandbox.find_organization(app.organization).map_or("", |organization| &organization.name);
            AdminAppBody {
                app: app.to_detail(organization),
                secrets: app.secrets.iter().map(StoredSecret::to_admin_body).collect(),
                deleted_at: app.deleted_at.map(timestamps::format_millis),
                repository_connected: app.repository_connected,
            }
        })
        .collect();
    Json(json!({ "organizations": sandbox.config.organizations, "apps": apps }))
}

/// An app, with what the API does not show of it.
#[derive(Serialize)]
struct AdminAppBody {
    #[serde(flatten)]
    app: AppDetailBody,
    secrets: Vec<secret::AdminSecretBody>,
    deleted_at: Option<String>,
    repository_connected: bool,
}
