//! Secrets of an app.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::AuthenticatedRequest;
use super::parameters::{PageRange, PathParameters, QueryParameters};
use crate::sandbox::auth::scopes::{SECRETS_READ, SECRETS_WRITE};
use crate::sandbox::model::secret::{SecretBody, SecretContent, SetSecretRequest};
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;
use crate::sandbox::wire::request_body::RequestBody;

/// Routes below the path of the apps.
pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(list_secrets, set_secret)).routes(routes!(get_secret, delete_secret))
}

/// All secrets of an app, or one page.
#[derive(Serialize, ToSchema)]
#[schema(as = Secrets)]
struct SecretListBody {
    secrets: Vec<SecretBody>,
}

/// Lists the secrets of an app in ascending order of ID, without values.
#[utoipa::path(
    get,
    path = "/{appId}/secrets",
    operation_id = "list_app_secrets",
    params(PageRange),
    security(("bearer" = [SECRETS_READ]), ("oauth" = [SECRETS_READ])),
    responses((status = 200, description = "All items, or one page", body = SecretListBody)),
)]
async fn list_secrets(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    path: PathParameters,
    query: QueryParameters,
) -> Result<Json<SecretListBody>, ErrorResponse> {
    let caller = request.require_scope(SECRETS_READ)?;
    let id = path.app_id()?;
    let switches = sandbox.config.switches;
    let state = sandbox.state();
    let app = state.store.find_app(&caller, id)?;
    let page = query.parse_page(switches)?;
    Ok(Json(SecretListBody { secrets: page.slice(app.secrets.iter().map(|secret| secret.to_body(switches))) }))
}

/// Returns a secret without its value.
#[utoipa::path(
    get,
    path = "/{appId}/secrets/{secretName}",
    operation_id = "get_app_secret",
    security(("bearer" = [SECRETS_READ]), ("oauth" = [SECRETS_READ])),
    responses((status = 200, description = "The secret", body = SecretBody)),
)]
async fn get_secret(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    path: PathParameters,
) -> Result<Json<SecretBody>, ErrorResponse> {
    let caller = request.require_scope(SECRETS_READ)?;
    let (id, name) = (path.app_id()?, path.secret_name()?);
    let state = sandbox.state();
    Ok(Json(state.store.find_app(&caller, id)?.secrets.get(name)?.to_body(sandbox.config.switches)))
}

/// Creates or updates a secret.
#[utoipa::path(
    post,
    path = "/{appId}/secrets",
    operation_id = "set_app_secret",
    request_body = SetSecretRequest,
    security(("bearer" = [SECRETS_WRITE]), ("oauth" = [SECRETS_WRITE])),
    responses((status = 200, description = "The secret without its value", body = SecretBody)),
)]
async fn set_secret(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    path: PathParameters,
    body: RequestBody,
) -> Result<Json<SecretBody>, ErrorResponse> {
    let caller = request.require_scope(SECRETS_WRITE)?;
    let id = path.app_id()?;
    let input = || SecretContent::from_body(body.read()?);
    sandbox.update_state(|state| {
        let secret = state.store.set_secret(&caller, id, input, Timestamp::now())?;
        Ok(Json(secret.to_write_body(sandbox.config.switches)))
    })
}

/// Permanently deletes a secret.
#[utoipa::path(
    delete,
    path = "/{appId}/secrets/{secretName}",
    operation_id = "delete_app_secret",
    security(("bearer" = [SECRETS_WRITE]), ("oauth" = [SECRETS_WRITE])),
    responses((status = 204, description = "Deleted")),
)]
async fn delete_secret(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    path: PathParameters,
) -> Result<StatusCode, ErrorResponse> {
    let caller = request.require_scope(SECRETS_WRITE)?;
    let (id, name) = (path.app_id()?, path.secret_name()?);
    sandbox.update_state(|state| state.store.delete_secret(&caller, id, name).map(|()| StatusCode::NO_CONTENT))
}
