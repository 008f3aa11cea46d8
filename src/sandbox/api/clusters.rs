//! Dedicated clusters.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::AuthenticatedRequest;
use super::parameters::{PageRange, QueryParameters};
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::model::placement::{CLUSTERS, cluster_endpoint};
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;

/// Creation time of all clusters.
const SINCE: &str = "2026-01-02T03:04:05.000Z";

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(list_clusters))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Clusters)]
struct ClusterListBody {
    clusters: Vec<ClusterBody>,
}

/// A dedicated cluster.
#[derive(Serialize, ToSchema)]
#[schema(as = Cluster)]
struct ClusterBody {
    /// Value for the `cluster_name` of an app.
    cluster_name: &'static str,
    infra_cluster_name: &'static str,
    region: &'static str,
    cloud_provider: &'static str,
    endpoint: String,
    #[schema(format = DateTime)]
    created_at: &'static str,
    #[schema(format = DateTime)]
    updated_at: &'static str,
}

/// Lists the dedicated clusters.
#[utoipa::path(
    get,
    path = "/v1/clusters",
    operation_id = "list_clusters",
    params(PageRange),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The clusters", body = ClusterListBody)),
)]
async fn list_clusters(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    query: QueryParameters,
) -> Result<Json<ClusterListBody>, ErrorResponse> {
    request.require_scope(APPS_READ)?;
    let page = query.parse_page(sandbox.config.switches)?;
    let clusters = CLUSTERS.iter().map(|cluster| ClusterBody {
        cluster_name: cluster.target,
        infra_cluster_name: cluster.infrastructure,
        region: cluster.region,
        cloud_provider: "aws",
        endpoint: cluster_endpoint(cluster.target, cluster.region),
        created_at: SINCE,
        updated_at: SINCE,
    });
    Ok(Json(ClusterListBody { clusters: page.slice(clusters) }))
}
