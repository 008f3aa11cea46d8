//! The organizations that a credential reaches (contract, section 12).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Access;
use super::parameters::{Page, Query};
use crate::sandbox::auth::identity::reach;
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::settings::config::Role;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::{ApiError, Body};

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Serialize, ToSchema)]
struct Organizations {
    orgs: Vec<Organization>,
}

#[derive(Serialize, ToSchema)]
struct Organization {
    id: u64,
    /// The handle, for the header `X-Org-Name`.
    name: String,
    /// The highest role of the user there; `owner` for a machine.
    role: Role,
}

/// Lists the organizations that the credential reaches, the same whichever of them the request names.
#[utoipa::path(
    get,
    path = "/v1/orgs",
    operation_id = "list_organizations",
    params(Page),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses(
        (status = 200, description = "Those that it reaches", body = Organizations),
        (status = 400, description = "A parameter breaks its rule", body = Body),
    ),
)]
async fn list(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    query: Query,
) -> Result<Json<Organizations>, ApiError> {
    access.require(APPS_READ)?;
    let page = query.page(sandbox.config.switches)?;
    let reach = reach(&sandbox.config, access.credential());
    let mut orgs: Vec<_> = reach
        .map(|(organization, role)| Organization { id: organization.id, name: organization.name.clone(), role })
        .collect();
    orgs.sort_unstable_by_key(|organization| organization.id);
    Ok(Json(Organizations { orgs: page.of(orgs) }))
}
