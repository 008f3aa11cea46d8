//! Dedicated clusters.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Access;
use super::parameters::{Page, Query};
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::model::placement::{CLUSTERS, endpoint_of};
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::{ApiError, Body};

/// How old the clusters are.
const SINCE: &str = "2026-01-02T03:04:05.000Z";

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(clusters))
}

#[derive(Serialize, ToSchema)]
struct Clusters {
    clusters: Vec<Cluster>,
}

/// A dedicated cluster.
#[derive(Serialize, ToSchema)]
struct Cluster {
    /// What the `cluster_name` of an app may be.
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
    params(Page),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses(
        (status = 200, description = "The clusters", body = Clusters),
        (status = 400, description = "A parameter breaks its rule", body = Body),
    ),
)]
async fn clusters(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    query: Query,
) -> Result<Json<Clusters>, ApiError> {
    access.require(APPS_READ)?;
    let page = query.page(sandbox.config.switches)?;
    let clusters = CLUSTERS.iter().map(|cluster| Cluster {
        cluster_name: cluster.target,
        infra_cluster_name: cluster.infra,
        region: cluster.region,
        cloud_provider: "aws",
        endpoint: endpoint_of(cluster.target, cluster.region),
        created_at: SINCE,
        updated_at: SINCE,
    });
    Ok(Json(Clusters { clusters: page.of(clusters) }))
}
