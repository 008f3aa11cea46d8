//! What the platform runs apps with and on, and how much of it (contract, section 12).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::Sandbox;
use super::super::access::{APPS_READ, Access};
use super::super::error::{ApiError, Body};
use super::super::images::{ENTERPRISE, STABLE};
use super::super::placement::{CLUSTERS, endpoint_of};
use super::super::rules::{Profile, ResourceLimits, above_plan};
use super::parameters::{Page, Query};

/// How old the clusters are.
const SINCE: &str = "2026-01-02T03:04:05.000Z";

pub(super) fn router(profile: Profile) -> OpenApiRouter<Arc<Sandbox>> {
    let router = OpenApiRouter::new().routes(routes!(images));
    match profile {
        Profile::Seed => router,
        Profile::Current => router.routes(routes!(limits)).routes(routes!(clusters)),
    }
}

/// Where an image comes from.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Channel {
    Stable,
    /// Needs a subscription.
    Enterprise,
}

#[derive(Serialize, ToSchema)]
struct Images {
    images: Vec<Image>,
    /// The `tag` that is recommended.
    default: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Image {
    /// The repository and the tag.
    name: String,
    tag: &'static str,
    channel: Channel,
}

/// What the plan of the organization includes; -1 is without limit.
#[derive(Serialize, ToSchema)]
struct Limits {
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

/// Lists the images of a channel.
#[utoipa::path(
    get,
    path = "/v1/container-images",
    operation_id = "list_container_images",
    params(("channel" = inline(Option<Channel>), Query, description = "`stable` if absent"), Page),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The images", body = Images), (status = 400, description = "A parameter breaks its rule", body = Body)),
)]
async fn images(State(sandbox): State<Arc<Sandbox>>, access: Access, query: Query) -> Result<Json<Images>, ApiError> {
    let caller = access.require(APPS_READ)?;
    let asked = query.word("channel").map_err(|_| ApiError::parameter("channel must be stable or enterprise"))?;
    let page = query.page(sandbox.config.switches)?;
    let channel = asked.unwrap_or(Channel::Stable);
    let (repository, tags) = match channel {
        Channel::Stable => ("spiceai/spiceai", STABLE),
        Channel::Enterprise if caller.plan.enterprise_images => ("spiceai/spiceai-enterprise", ENTERPRISE),
        Channel::Enterprise => return Err(above_plan("Enterprise images need a subscription")),
    };
    let images = tags.map(|tag| Image { name: format!("{repository}:{tag}"), tag, channel });
    Ok(Json(Images { images: page.of(images), default: tags[0] }))
}

/// Shows the limits of the organization.
///
/// Only apps, replicas and resources hold here; the other numbers describe the runtime, which the sandbox does not have.
#[utoipa::path(
    get,
    path = "/v1/limits",
    operation_id = "get_limits",
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The limits", body = Limits)),
)]
async fn limits(State(sandbox): State<Arc<Sandbox>>, access: Access) -> Result<Json<Limits>, ApiError> {
    let plan = access.require(APPS_READ)?.plan;
    let apps = plan.max_apps.map_or(-1, |most| i64::try_from(most).unwrap_or(i64::MAX));
    let rates = sandbox.config.rate_limits;
    Ok(Json(Limits {
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
