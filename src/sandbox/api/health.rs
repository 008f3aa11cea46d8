//! Health of the API.

use std::sync::Arc;

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paths::HEALTH_PATH;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::timestamps;

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(get_health))
}

/// Health of the API.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
struct HealthBody {
    status: &'static str,
    #[schema(format = DateTime)]
    timestamp: String,
}

/// Returns the health of the API.
#[utoipa::path(
    get,
    path = HEALTH_PATH,
    operation_id = "get_health",
    responses((status = 200, description = "The API is available", body = HealthBody)),
)]
async fn get_health() -> Json<HealthBody> {
    Json(HealthBody { status: "ok", timestamp: timestamps::format_now() })
}
