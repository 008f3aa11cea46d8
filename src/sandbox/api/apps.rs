//! Apps, also called projects.

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
use super::metrics;
use super::openapi;
use super::parameters::{PageRange, PathParameters, QueryParameters};
use super::secrets;
use crate::sandbox::auth::identity::Caller;
use crate::sandbox::auth::scopes::{APPS_DELETE, APPS_READ, APPS_WRITE, CONFIG_READ, CONFIG_WRITE};
use crate::sandbox::model::app::changes::AppChanges;
use crate::sandbox::model::app::record::StoredApp;
use crate::sandbox::model::app::requests::{CreateAppRequest, UpdateAppRequest};
use crate::sandbox::model::app::responses::{AppDetailBody, AppSummaryBody};
use crate::sandbox::model::profile::Profile;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::{ErrorBody, ErrorResponse};
use crate::sandbox::wire::request_body::RequestBody;

/// All apps of an organization, or one page.
#[derive(Serialize, ToSchema)]
#[schema(as = Apps)]
struct AppListBody {
    apps: Vec<AppSummaryBody>,
}

/// All projects of an organization, or one page.
#[derive(Serialize, ToSchema)]
#[schema(as = Projects)]
struct ProjectListBody {
    projects: Vec<AppSummaryBody>,
}

pub(super) fn apps_router(profile: Profile) -> OpenApiRouter<Arc<Sandbox>> {
    let metrics = match profile {
        Profile::Legacy => OpenApiRouter::new(),
        Profile::Current => metrics::router(),
    };
    OpenApiRouter::new().nest("/v1/apps", common_router().routes(routes!(list_apps)).merge(metrics))
}

/// Routes under `/v1/projects`. Only the list body differs from `/v1/apps`.
pub(super) fn projects_router() -> OpenApiRouter<Arc<Sandbox>> {
    let mut projects = common_router().routes(routes!(list_projects)).merge(metrics::router());
    for (_, operation) in openapi::operations(projects.get_openapi_mut()) {
        operation.operation_id = operation.operation_id.take().map(|id| id.replace("_app", "_project"));
    }
    OpenApiRouter::new().nest("/v1/projects", projects)
}

/// Routes that are equal under both prefixes.
fn common_router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new()
        .routes(routes!(create_app))
        .routes(routes!(get_app, update_app, delete_app))
        .merge(secrets::router())
}

/// Lists the apps of the organization in ascending order of ID.
#[utoipa::path(
    get,
    path = "",
    params(PageRange),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "All items, or one page", body = AppListBody)),
)]
async fn list_apps(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    query: QueryParameters,
) -> Result<Json<AppListBody>, ErrorResponse> {
    Ok(Json(AppListBody { apps: list_page(&sandbox, &request, &query)? }))
}

/// Lists the projects of the organization in ascending order of ID.
#[utoipa::path(
    get,
    path = "",
    params(PageRange),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "All items, or one page", body = ProjectListBody)),
)]
async fn list_projects(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    query: QueryParameters,
) -> Result<Json<ProjectListBody>, ErrorResponse> {
    Ok(Json(ProjectListBody { projects: list_page(&sandbox, &request, &query)? }))
}

fn list_page(
    sandbox: &Sandbox,
    request: &AuthenticatedRequest,
    query: &QueryParameters,
) -> Result<Vec<AppSummaryBody>, ErrorResponse> {
    let caller = request.require_scope(APPS_READ)?;
    let page = query.parse_page(sandbox.config.switches)?;
    Ok(page.slice(sandbox.state().store.visible_apps(&caller).map(StoredApp::to_summary)))
}

/// Creates an app, or reactivates the deleted app with the same name.
#[utoipa::path(
    post,
    path = "",
    operation_id = "create_app",
    request_body = CreateAppRequest,
    security(("bearer" = [APPS_WRITE]), ("oauth" = [APPS_WRITE])),
    responses(
        (status = 201, description = "The created or reactivated app", body = AppDetailBody),
        (status = 409, description = "A live app has this name", body = ErrorBody),
    ),
)]
async fn create_app(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    body: RequestBody,
) -> Result<(StatusCode, Json<AppDetailBody>), ErrorResponse> {
    let caller = require_write_scopes(&sandbox, &request, &body)?;
    let switches = sandbox.config.switches;
    let (name, changes) = AppChanges::from_create_body(body.read()?, switches)?;
    sandbox.update_state(|state| {
        let app = state.store.create_app(&caller, name, changes, switches.reactivation, Timestamp::now())?;
        Ok((StatusCode::CREATED, detail_body(&sandbox, &request, app)))
    })
}

/// Returns an app.
#[utoipa::path(
    get,
    path = "/{appId}",
    operation_id = "get_app",
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The app", body = AppDetailBody)),
)]
async fn get_app(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    path: PathParameters,
) -> Result<Json<AppDetailBody>, ErrorResponse> {
    let caller = request.require_scope(APPS_READ)?;
    let id = path.app_id()?;
    Ok(detail_body(&sandbox, &request, sandbox.state().store.find_app(&caller, id)?))
}

/// Updates an app. Absent fields stay unchanged.
#[utoipa::path(
    put,
    path = "/{appId}",
    operation_id = "update_app",
    request_body = UpdateAppRequest,
    security(("bearer" = [APPS_WRITE]), ("oauth" = [APPS_WRITE])),
    responses(
        (status = 200, description = "The updated app", body = AppDetailBody),
        (status = 409, description = "A repository provides the spicepod", body = ErrorBody),
    ),
)]
async fn update_app(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    path: PathParameters,
    body: RequestBody,
) -> Result<Json<AppDetailBody>, ErrorResponse> {
    let caller = require_write_scopes(&sandbox, &request, &body)?;
    let id = path.app_id()?;
    sandbox.update_state(|state| {
        let app = state.store.update_app(&caller, id, &body, sandbox.config.switches)?;
        Ok(detail_body(&sandbox, &request, app))
    })
}

/// Deletes an app. A create request with the same name reactivates the app.
#[utoipa::path(
    delete,
    path = "/{appId}",
    operation_id = "delete_app",
    security(("bearer" = [APPS_DELETE]), ("oauth" = [APPS_DELETE])),
    responses((status = 204, description = "Deleted")),
)]
async fn delete_app(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    path: PathParameters,
) -> Result<StatusCode, ErrorResponse> {
    let caller = request.require_scope(APPS_DELETE)?;
    let id = path.app_id()?;
    sandbox.update_state(|state| {
        state.store.delete_app(&caller, id, Timestamp::now())?;
        Ok(StatusCode::NO_CONTENT)
    })
}

/// Checks the scopes of a create or update, which can depend on the fields in the body. An oversized body has no
/// fields.
fn require_write_scopes(
    sandbox: &Sandbox,
    request: &AuthenticatedRequest,
    body: &RequestBody,
) -> Result<Caller, ErrorResponse> {
    let caller = request.require_scope(APPS_WRITE)?;
    if sandbox.config.switches.config_scopes && AppChanges::changes_config(body.read().unwrap_or_default()) {
        request.require_scope(CONFIG_WRITE)?;
    }
    Ok(caller)
}

fn detail_body(sandbox: &Sandbox, request: &AuthenticatedRequest, app: &StoredApp) -> Json<AppDetailBody> {
    let detail = app.to_detail_with_key(sandbox.organization_name(app.organization));
    let hidden = sandbox.config.switches.config_scopes && request.require_scope(CONFIG_READ).is_err();
    Json(if hidden { detail.without_config() } else { detail })
}
