//! Limits of an organization.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::AuthenticatedRequest;
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::model::profile::ResourceLimits;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(get_limits))
}

/// Limits of the plan. -1 means unlimited.
#[derive(Serialize, ToSchema)]
#[schema(as = Limits)]
struct LimitsBody {
    apps: i64,
    replicas: u64,
    spicepods: i64,
    users: i64,
    api_rps: u64,
    request_timeout_secs: u64,
    sql_query_timeout_secs: u64,
    sql_concurrent_queries: u64,
    resources: Option<ResourceLimits>,
}

/// Returns the limits of the organization.
///
/// The sandbox enforces only apps, replicas and resources. The other numbers describe the runtime, which the sandbox
/// does not have.
#[utoipa::path(
    get,
    path = "/v1/limits",
    operation_id = "get_limits",
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The limits", body = LimitsBody)),
)]
async fn get_limits(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
) -> Result<Json<LimitsBody>, ErrorResponse> {
    let plan = request.require_scope(APPS_READ)?.plan;
    let apps = plan.max_apps.map_or(-1, |max| i64::try_from(max).unwrap_or(i64::MAX));
    let rates = sandbox.config.rate_limits;
    Ok(Json(LimitsBody {
        apps,
        replicas: plan.max_replicas,
        spicepods: apps,
        users: -1,
        api_rps: u64::from(rates.per_user) / rates.window.as_secs().max(1),
        request_timeout_secs: 300,
        sql_query_timeout_secs: 300,
        sql_concurrent_queries: 64,
        resources: plan.resources,
    }))
}
