//! Apps, which newer versions of the API call projects (contract, section 7).

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
use super::metrics;
use super::openapi;
use super::parameters::{Page, PathId, Query};
use super::secrets;
use crate::sandbox::auth::identity::Caller;
use crate::sandbox::auth::scopes::{APPS_DELETE, APPS_READ, APPS_WRITE, CONFIG_READ, CONFIG_WRITE};
use crate::sandbox::model::app::changes::Changes;
use crate::sandbox::model::app::record::App;
use crate::sandbox::model::app::requests::{CreateApp, UpdateApp};
use crate::sandbox::model::app::responses::{Detail, Summary};
use crate::sandbox::model::profile::Profile;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::{ApiError, Body};
use crate::sandbox::wire::request_body::Payload;

/// All the apps of an organization, or a page of them.
#[derive(Serialize, ToSchema)]
struct Apps {
    apps: Vec<Summary>,
}

/// [`Apps`] under their newer name.
#[derive(Serialize, ToSchema)]
struct Projects {
    projects: Vec<Summary>,
}

pub(super) fn apps(profile: Profile) -> OpenApiRouter<Arc<Sandbox>> {
    let metrics = match profile {
        Profile::Legacy => OpenApiRouter::new(),
        Profile::Current => metrics::router(),
    };
    OpenApiRouter::new().nest("/v1/apps", each().routes(routes!(list_apps)).merge(metrics))
}

/// The same under the newer name, which only the list shows.
pub(super) fn projects() -> OpenApiRouter<Arc<Sandbox>> {
    let mut projects = each().routes(routes!(list_projects)).merge(metrics::router());
    for operation in openapi::operations(projects.get_openapi_mut()) {
        operation.operation_id = operation.operation_id.take().map(|id| id.replace("_app", "_project"));
    }
    OpenApiRouter::new().nest("/v1/projects", projects)
}

/// What is the same under both names.
fn each() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(read, update, delete)).merge(secrets::router())
}

/// Lists the apps of the organization, by ascending id.
#[utoipa::path(
    get,
    path = "",
    params(Page),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "All of them, or a page", body = Apps), (status = 400, description = "A parameter breaks its rule", body = Body)),
)]
async fn list_apps(State(sandbox): State<Arc<Sandbox>>, access: Access, query: Query) -> Result<Json<Apps>, ApiError> {
    Ok(Json(Apps { apps: list(&sandbox, &access, &query)? }))
}

/// Lists the projects of the organization, by ascending id.
#[utoipa::path(
    get,
    path = "",
    params(Page),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "All of them, or a page", body = Projects), (status = 400, description = "A parameter breaks its rule", body = Body)),
)]
async fn list_projects(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    query: Query,
) -> Result<Json<Projects>, ApiError> {
    Ok(Json(Projects { projects: list(&sandbox, &access, &query)? }))
}

fn list(sandbox: &Sandbox, access: &Access, query: &Query) -> Result<Vec<Summary>, ApiError> {
    let caller = access.require(APPS_READ)?;
    let page = query.page(sandbox.config.switches)?;
    Ok(page.of(sandbox.kept().store.apps(&caller).map(App::summary)))
}

/// Creates an app, or brings back the deleted one of that name.
#[utoipa::path(
    post,
    path = "",
    operation_id = "create_app",
    request_body = CreateApp,
    security(("bearer" = [APPS_WRITE]), ("oauth" = [APPS_WRITE])),
    responses(
        (status = 201, description = "It is there", body = Detail),
        (status = 400, description = "The body breaks a rule", body = Body),
        (status = 409, description = "The name is taken", body = Body),
    ),
)]
async fn create(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    body: Payload,
) -> Result<(StatusCode, Json<Detail>), ApiError> {
    let caller = may_change(&sandbox, &access, &body)?;
    let switches = sandbox.config.switches;
    let (name, changes) = Changes::of_create(body.read()?, switches)?;
    sandbox.change(|kept| {
        let app = kept.store.create_app(&caller, name, changes, switches.reactivation, Timestamp::now())?;
        Ok((StatusCode::CREATED, detail(&sandbox, &access, app)))
    })
}

/// Shows an app.
#[utoipa::path(
    get,
    path = "/{appId}",
    operation_id = "get_app",
    params(PathId),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses(
        (status = 200, description = "The app", body = Detail),
        (status = 400, description = "The id is no positive integer", body = Body),
        (status = 404, description = "No such app, or of another organization", body = Body),
    ),
)]
async fn read(State(sandbox): State<Arc<Sandbox>>, access: Access, id: PathId) -> Result<Json<Detail>, ApiError> {
    let caller = access.require(APPS_READ)?;
    let id = id.read()?;
    Ok(detail(&sandbox, &access, sandbox.kept().store.app(&caller, id)?))
}

/// Changes an app; what the body does not name stays.
#[utoipa::path(
    put,
    path = "/{appId}",
    operation_id = "update_app",
    params(PathId),
    request_body = UpdateApp,
    security(("bearer" = [APPS_WRITE]), ("oauth" = [APPS_WRITE])),
    responses(
        (status = 200, description = "The app as it is now", body = Detail),
        (status = 400, description = "The id is no positive integer, or the body breaks a rule", body = Body),
        (status = 404, description = "No such app, or of another organization", body = Body),
        (status = 409, description = "The spicepod comes from a repository", body = Body),
    ),
)]
async fn update(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    id: PathId,
    body: Payload,
) -> Result<Json<Detail>, ApiError> {
    let caller = may_change(&sandbox, &access, &body)?;
    let id = id.read()?;
    sandbox.change(|kept| {
        let app = kept.store.update_app(&caller, id, &body, sandbox.config.switches)?;
        Ok(detail(&sandbox, &access, app))
    })
}

/// Deletes an app. Creating one of the same name brings it back.
#[utoipa::path(
    delete,
    path = "/{appId}",
    operation_id = "delete_app",
    params(PathId),
    security(("bearer" = [APPS_DELETE]), ("oauth" = [APPS_DELETE])),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "The id is no positive integer", body = Body),
        (status = 404, description = "No such app, or of another organization", body = Body),
    ),
)]
async fn delete(State(sandbox): State<Arc<Sandbox>>, access: Access, id: PathId) -> Result<StatusCode, ApiError> {
    let caller = access.require(APPS_DELETE)?;
    let id = id.read()?;
    sandbox.change(|kept| {
        kept.store.delete_app(&caller, id, Timestamp::now())?;
        Ok(StatusCode::NO_CONTENT)
    })
}

/// The scope that a body asks for, which may depend on what it names. One that is too large names nothing.
fn may_change(sandbox: &Sandbox, access: &Access, body: &Payload) -> Result<Caller, ApiError> {
    let caller = access.require(APPS_WRITE)?;
    if sandbox.config.switches.config_scopes && Changes::names_config(body.read().unwrap_or_default()) {
        access.require(CONFIG_WRITE)?;
    }
    Ok(caller)
}

fn detail(sandbox: &Sandbox, access: &Access, app: &App) -> Json<Detail> {
    let organization = sandbox.organization(app.organization).map_or("", |organization| &organization.name);
    let detail = app.detail_with_key(organization);
    let hidden = sandbox.config.switches.config_scopes && access.require(CONFIG_READ).is_err();
    Json(if hidden { detail.without_config() } else { detail })
}
