//! Resource usage of the instances of an app.
//!
//! The sandbox runs no apps, so the list of instances is empty and all counters are 0. A fault rule can return other
//! numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::AuthenticatedRequest;
use super::parameters::{PathParameters, QueryParameters};
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;

/// Routes below the path of the apps.
pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(get_metrics))
}

/// Resource usage of an app. With a window, counters are rates. Unknown values are absent.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = AppMetrics)]
struct AppMetricsBody {
    /// By instance name.
    metrics: BTreeMap<String, InstanceMetricsBody>,
    ingestion: IngestionMetricsBody,
    cluster: ClusterMetricsBody,
}

/// Resource usage of an instance.
#[derive(Serialize, ToSchema)]
#[schema(as = InstanceMetrics)]
struct InstanceMetricsBody {
    cpu_usage_percent: Option<f64>,
    memory_usage_bytes: Option<f64>,
    disk_read_bytes: Option<f64>,
    disk_read_operations: Option<f64>,
    disk_write_bytes: Option<f64>,
    disk_write_operations: Option<f64>,
}

/// Ingested data.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = IngestionMetrics)]
struct IngestionMetricsBody {
    rows_ingested: f64,
    bytes_ingested: f64,
}

/// State of a distributed app.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ClusterMetrics)]
struct ClusterMetricsBody {
    active_executors_count: f64,
}

/// Returns the resource usage of an app.
#[utoipa::path(
    get,
    path = "/{appId}/metrics",
    operation_id = "get_app_metrics",
    params(("window" = Option<String>, Query, description = "Time window for rates, such as `5m` or `1h30m`")),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "Resource usage", body = AppMetricsBody)),
)]
async fn get_metrics(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    path: PathParameters,
    query: QueryParameters,
) -> Result<Json<AppMetricsBody>, ErrorResponse> {
    let caller = request.require_scope(APPS_READ)?;
    let id = path.app_id()?;
    sandbox.state().store.find_app(&caller, id)?;
    if query.get("window").is_some_and(|window| !is_duration(window)) {
        return Err(ErrorResponse::invalid_parameter("window must be a duration such as 5m or 1h30m"));
    }
    Ok(Json(AppMetricsBody::default()))
}

/// Returns whether a text is a positive Prometheus duration: numbers with units, in descending order of units.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    let mut is_positive = false;
    for unit in ["y", "w", "d", "h", "m", "s", "ms"] {
        let behind = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let number = &rest[..rest.len() - behind.len()];
        let Some(behind) = behind.strip_prefix(unit).filter(|behind| !behind.starts_with('s')) else { continue };
        if number.is_empty() {
            return false;
        }
        is_positive |= number.bytes().any(|digit| digit != b'0');
        rest = behind;
    }
    rest.is_empty() && is_positive
}
