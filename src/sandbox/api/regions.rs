//! What the platform offers, and whether it is up (contract, section 12).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Access;
use super::parameters::{Page, Query};
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::model::placement::{DEFAULT_REGION, REGIONS, cname_of};
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::{ApiError, Body};

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(regions))
}

/// Which regions to list.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Environment {
    Prod,
    Dev,
}

#[derive(Serialize, ToSchema)]
struct Regions {
    regions: Vec<Region>,
    /// The `region` to use.
    default: &'static str,
}

/// Where apps run. Some keys are in camel case, unlike everywhere else.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Region {
    name: &'static str,
    region: &'static str,
    provider: &'static str,
    provider_name: &'static str,
    is_default: bool,
    disabled: bool,
    /// The name of the data plane.
    cname: String,
}

/// Lists the regions. Both environments have the same ones here.
#[utoipa::path(
    get,
    path = "/v1/regions",
    operation_id = "list_regions",
    params(("env" = inline(Option<Environment>), Query, description = "Which regions to list"), Page),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The regions", body = Regions), (status = 400, description = "A parameter breaks its rule", body = Body)),
)]
async fn regions(State(sandbox): State<Arc<Sandbox>>, access: Access, query: Query) -> Result<Json<Regions>, ApiError> {
    access.require(APPS_READ)?;
    match query.word("env") {
        Ok(None | Some(Environment::Prod | Environment::Dev)) => {}
        Err(_) => return Err(ApiError::parameter("env must be prod or dev")),
    }
    let page = query.page(sandbox.config.switches)?;
    let regions = REGIONS.iter().map(|region| Region {
        name: region.name,
        region: region.id,
        provider: "aws",
        provider_name: "AWS",
        is_default: region.id == DEFAULT_REGION,
        disabled: false,
        cname: cname_of(region.id),
    });
    Ok(Json(Regions { regions: page.of(regions), default: DEFAULT_REGION }))
}
