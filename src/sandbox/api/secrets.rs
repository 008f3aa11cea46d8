//! The secrets of an app (contract, section 10).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Access;
use super::parameters::{Page, PathId, Query, SecretName};
use crate::sandbox::auth::scopes::{SECRETS_READ, SECRETS_WRITE};
use crate::sandbox::model::secret::{Assignment, SetSecret, Shown};
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::{ApiError, Body};
use crate::sandbox::wire::request_body::Payload;

/// Below the path of the apps.
pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(list, set)).routes(routes!(read, delete))
}

/// All the secrets of an app, or a page of them.
#[derive(Serialize, ToSchema)]
struct Secrets {
    secrets: Vec<Shown>,
}

/// Lists the secrets of an app, by ascending id, without their values.
#[utoipa::path(
    get,
    path = "/{appId}/secrets",
    operation_id = "list_app_secrets",
    params(PathId, Page),
    security(("bearer" = [SECRETS_READ]), ("oauth" = [SECRETS_READ])),
    responses(
        (status = 200, description = "All of them, or a page", body = Secrets),
        (status = 400, description = "The id is no positive integer, or a parameter breaks its rule", body = Body),
        (status = 404, description = "No such app, or of another organization", body = Body),
    ),
)]
async fn list(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    id: PathId,
    query: Query,
) -> Result<Json<Secrets>, ApiError> {
    let caller = access.require(SECRETS_READ)?;
    let id = id.read()?;
    let switches = sandbox.config.switches;
    let kept = sandbox.kept();
    let app = kept.store.app(&caller, id)?;
    let page = query.page(switches)?;
    Ok(Json(Secrets { secrets: page.of(app.secrets.iter().map(|secret| secret.shown(switches))) }))
}

/// Shows a secret without its value.
#[utoipa::path(
    get,
    path = "/{appId}/secrets/{secretName}",
    operation_id = "get_app_secret",
    params(PathId, SecretName),
    security(("bearer" = [SECRETS_READ]), ("oauth" = [SECRETS_READ])),
    responses(
        (status = 200, description = "The secret", body = Shown),
        (status = 400, description = "The id is no positive integer, or the name no text", body = Body),
        (status = 404, description = "No such secret, or no such app, or of another organization", body = Body),
    ),
)]
async fn read(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    id: PathId,
    name: SecretName,
) -> Result<Json<Shown>, ApiError> {
    let caller = access.require(SECRETS_READ)?;
    let (id, name) = (id.read()?, name.read()?);
    let kept = sandbox.kept();
    Ok(Json(kept.store.app(&caller, id)?.secrets.get(name)?.shown(sandbox.config.switches)))
}

/// Sets a secret, whether there is one of that name or not.
#[utoipa::path(
    post,
    path = "/{appId}/secrets",
    operation_id = "set_app_secret",
    params(PathId),
    request_body = SetSecret,
    security(("bearer" = [SECRETS_WRITE]), ("oauth" = [SECRETS_WRITE])),
    responses(
        (status = 200, description = "The secret as it is now, without its value", body = Shown),
        (status = 400, description = "The id is no positive integer, or the body breaks a rule", body = Body),
        (status = 404, description = "No such app, or of another organization", body = Body),
    ),
)]
async fn set(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    id: PathId,
    body: Payload,
) -> Result<Json<Shown>, ApiError> {
    let caller = access.require(SECRETS_WRITE)?;
    let id = id.read()?;
    let wanted = || Assignment::read(body.read()?);
    sandbox.change(|kept| {
        let secret = kept.store.set_secret(&caller, id, wanted, Timestamp::now())?;
        Ok(Json(secret.shown_when_set(sandbox.config.switches)))
    })
}

/// Deletes a secret for good.
#[utoipa::path(
    delete,
    path = "/{appId}/secrets/{secretName}",
    operation_id = "delete_app_secret",
    params(PathId, SecretName),
    security(("bearer" = [SECRETS_WRITE]), ("oauth" = [SECRETS_WRITE])),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "The id is no positive integer, or the name no text", body = Body),
        (status = 404, description = "No such secret, or no such app, or of another organization", body = Body),
    ),
)]
async fn delete(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    id: PathId,
    name: SecretName,
) -> Result<StatusCode, ApiError> {
    let caller = access.require(SECRETS_WRITE)?;
    let (id, name) = (id.read()?, name.read()?);
    sandbox.change(|kept| kept.store.delete_secret(&caller, id, name).map(|()| StatusCode::NO_CONTENT))
}
