//! Regions of the platform.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::AuthenticatedRequest;
use super::parameters::{PageRange, QueryParameters};
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::model::placement::{DEFAULT_REGION, REGIONS, cname_of};
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(list_regions))
}

/// Environment of a region.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RegionEnvironment {
    Prod,
    Dev,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Regions)]
struct RegionListBody {
    regions: Vec<RegionBody>,
    /// The recommended `region`.
    default: &'static str,
}

/// A region. The keys are in camel case, unlike other bodies of the API.
#[derive(Serialize, ToSchema)]
#[schema(as = Region)]
#[serde(rename_all = "camelCase")]
struct RegionBody {
    name: &'static str,
    region: &'static str,
    provider: &'static str,
    provider_name: &'static str,
    is_default: bool,
    disabled: bool,
    /// Name of the data plane.
    cname: String,
}

/// Lists the regions. The sandbox has the same regions in both environments.
#[utoipa::path(
    get,
    path = "/v1/regions",
    operation_id = "list_regions",
    params(("env" = inline(Option<RegionEnvironment>), Query, description = "Environment of the regions"), PageRange),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The regions", body = RegionListBody)),
)]
async fn list_regions(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    query: QueryParameters,
) -> Result<Json<RegionListBody>, ErrorResponse> {
    request.require_scope(APPS_READ)?;
    query.parse_choice::<RegionEnvironment>("env", "prod or dev")?;
    let page = query.parse_page(sandbox.config.switches)?;
    let regions = REGIONS.iter().map(|region| RegionBody {
        name: region.name,
        region: region.id,
        provider: "aws",
        provider_name: "AWS",
        is_default: region.id == DEFAULT_REGION,
        disabled: false,
        cname: cname_of(region.id),
    });
    Ok(Json(RegionListBody { regions: page.slice(regions), default: DEFAULT_REGION }))
}
